"""SentencePiece tokenizers: training, encoding and decoding, validation, and storage in a run.

`tokenizer` encodes and decodes text, `sampling` draws random segmentations, `training` trains a
model, `storage` reads and writes the tokenizers of a run folder, and `validation` checks models
that come from elsewhere before they are loaded.
"""
