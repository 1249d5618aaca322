"""Checkpoints on disk: writing, choosing, averaging, resuming, and locking the run folder."""
