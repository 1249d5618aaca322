"""SentencePiece models: training, validation before use, encoding, sampled segmentations."""
