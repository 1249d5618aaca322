"""Communication between the processes (ranks) of one torchrun job, and detection of lost ranks."""
