"""Models of eole and OpenNMT-py: encoder-decoder Transformers with SentencePiece models."""
