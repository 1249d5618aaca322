"""Raw text: files of lines, normalization, sentence boundaries and languages."""
