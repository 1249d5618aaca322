"""Environment variables that torchrun sets for each process of a job."""

from __future__ import annotations

import os


def world_size() -> int:
    """Return the number of processes that torchrun started for this job, 1 without torchrun."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Return the number of this process in its job, 0 without torchrun."""
    return int(os.environ.get("RANK", "0"))


def single_process_environment() -> dict[str, str]:
    """Return the environment for a child that is no part of the job, with the GPU of this rank."""
    prefixes = ("TORCHELASTIC_", "ROLE_", "GROUP_", "MASTER_")
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(prefixes) and name not in names
    }
    if "LOCAL_RANK" in os.environ:
        local_rank = os.environ["LOCAL_RANK"]
        devices = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        is_listed = int(local_rank) < len(devices) and devices[0]
        environment["CUDA_VISIBLE_DEVICES"] = devices[int(local_rank)] if is_listed else local_rank
    return environment
