"""Encoder-decoder architectures behind one interface, and what changes a loaded model."""
