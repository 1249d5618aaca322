"""Memory of the device: peak use, available memory, and memory that the allocator keeps."""

from __future__ import annotations

import ctypes
import math
import os
import sys
from contextlib import suppress
from pathlib import Path

import torch

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Options of mallopt, from glibc's malloc.h."""


def keep_freed_memory() -> None:
    """Let glibc keep freed memory for the next tensor instead of returning it to the kernel.

    Each optimizer step frees and allocates tens of megabytes. The kernel zeroes every page that it
    hands out, which costs time.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if libc is not None and hasattr(libc, "mallopt"):  # musl has no mallopt
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def peak_memory(device: torch.device) -> int:
    """Return the largest number of bytes in use so far: on the GPU, or by this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    import resource  # not on Windows

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def available_memory(device: torch.device) -> float:
    """Return the bytes that each rank of this machine can still allocate on the CPU.

    This is the smaller of the free memory of the machine and the free part of the limit of the
    control group (version 2), divided by the ranks of the machine. It is inf if both are unknown,
    and for a GPU: CUDA raises an error if its memory is exhausted, whereas Linux kills the process.
    """
    if device.type != "cpu":
        return math.inf
    available = math.inf
    with suppress(OSError, ValueError):
        text = Path("/proc/meminfo").read_text().partition("MemAvailable:")[2]
        available = 1024.0 * int(text.partition("kB")[0])
    with suppress(OSError, ValueError):  # a control group without a limit says "max"
        group = Path("/sys/fs/cgroup")
        limit = int((group / "memory.max").read_text())
        used = int((group / "memory.current").read_text())
        statistics = (group / "memory.stat").read_text().partition("inactive_file ")[2]
        # `used` includes the cache of files, of which the kernel frees the inactive part on demand.
        inactive_file_cache = int(statistics.partition("\n")[0])
        available = min(available, limit - used + inactive_file_cache)
    local_ranks = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # set by torchrun
    return available / local_ranks
