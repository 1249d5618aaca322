"""Environment variables that torchrun sets for each process of a job."""

from __future__ import annotations

import os


def world_size() -> int:
    """Return the number of processes that torchrun started for this job, 1 without torchrun."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Return the number of this process in its job, 0 without torchrun."""
    return int(os.environ.get("RANK", "0"))
