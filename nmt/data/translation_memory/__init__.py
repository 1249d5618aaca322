"""Translation memories: TMX and XLIFF files as streams of segment pairs, and TMX output."""
