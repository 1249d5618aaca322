"""Observe a training run: its log, metrics, FLOP counts, loss spikes and experiment trackers."""
