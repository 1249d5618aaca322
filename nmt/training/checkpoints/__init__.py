"""Checkpoints: save, load, rank, prune and average them, and resume or lock a run."""
