"""Memory of the device: used at most, still available, and kept by the allocator."""

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
    """Return the bytes that each local rank can still allocate on the CPU; inf if unknown.

    The limit of the control group counts, too. For a GPU the result is inf: CUDA raises an error
    if its memory is exhausted, whereas Linux kills the process.
    """
    available = math.inf
    if device.type != "cpu":
        return available
    with suppress(OSError, ValueError):
        text = Path("/proc/meminfo").read_text().partition("MemAvailable:")[2]
        available = 1024.0 * int(text.partition("kB")[0])
    with suppress(OSError, ValueError):  # a control group without a limit says "max"
        group = Path("/sys/fs/cgroup")
        limit, used = (int((group / f"memory.{name}").read_text()) for name in ("max", "current"))
        statistics = (group / "memory.stat").read_text().partition("inactive_file ")[2]
        inactive_file = int(statistics.partition("\n")[0])
        available = min(available, limit - used + inactive_file)
    return available / int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
