"""Observe a training run: metrics, FLOP counts, loss spikes and experiment trackers."""
