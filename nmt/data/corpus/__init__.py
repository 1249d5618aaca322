"""From raw text sets to a tokenized corpus on disk: reading, filtering, splitting, tokenizing.

The two stages before training are here: `tokenizer_stage` and `corpus_stage`.
"""
