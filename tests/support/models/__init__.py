"""Tiny models, and a reference search that is simple enough to check by reading."""
