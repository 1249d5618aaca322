"""Raw text: reading files, normalization, word and sentence boundaries, language identification.

Modules here see single lines or files of lines. Sentence pairs are processed in `nmt.data.corpus`.
"""
