"""Text, corpora, archives and downloads for tests of the data pipeline."""
