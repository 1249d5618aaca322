"""Count the free CPU cores, and set variables for torch's libraries before torch is imported."""

from __future__ import annotations

import math
import os
import sys
import time
from pathlib import Path
from typing import NamedTuple

MEASUREMENT_SECONDS = 0.1
"""Minimum time between two readings of the clocks."""
MAX_READING_AGE = 10.0
"""Seconds after which a reading no longer describes the current load."""
CACHED_SHAPES = "64"
TORCH_VARIABLES = {
    "GOMP_SPINCOUNT": "3000",
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": CACHED_SHAPES,
    "LRU_CACHE_CAPACITY": CACHED_SHAPES,
}
"""Environment variables that torch's libraries read when they are loaded; the user's values win.

GOMP_SPINCOUNT: waiting threads of libgomp sleep early instead of spinning. That is as fast on free
cores and several times faster on shared cores.

The others: oneDNN and torch compile a matrix product for each shape and cache 1,024 products each.
One optimizer step needs about 64. This limit saves a third to a half of the memory after some
batches, and costs no speed (benchmarks/LOG.md).
"""


class ClockReading(NamedTuple):
    """Clocks of the machine at one moment."""

    time: float
    """Wall-clock time in seconds."""
    other_processes: float
    """Seconds of CPU time of all other processes since boot; NaN if unknown."""

    @classmethod
    def now(cls) -> ClockReading:
        """Read the clocks."""
        return cls(time.perf_counter(), _busy_seconds() - time.process_time())


def free_cores() -> int:
    """Return the cores that this process may use, less those that others keep busy; at least 1.

    One busy core slows every parallel operation of a training step several times, so the number of
    threads never exceeds the free cores. Only Linux reports the load; elsewhere all cores count.
    """
    total = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    total = min(total or 1, _cgroup_cores())
    before = _reading_at_import
    if time.perf_counter() - before.time > MAX_READING_AGE:
        before = ClockReading.now()
    if math.isnan(before.other_processes):
        return total
    time.sleep(max(0.0, before.time + MEASUREMENT_SECONDS - time.perf_counter()))
    after = ClockReading.now()
    busy_cores = (after.other_processes - before.other_processes) / (after.time - before.time)
    cores_in_machine = os.cpu_count() or total
    return max(1, min(total, cores_in_machine - round(busy_cores)))


def _cgroup_cores() -> int:
    """Return the CPU limit of the control group; the largest integer without a limit."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, int(quota) // int(period))
    except (OSError, ValueError):
        return sys.maxsize


def _busy_seconds() -> float:
    """Return the seconds of CPU time of all processes since boot; NaN if unknown."""
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    except OSError:
        return math.nan
    user, nice, system, _idle, _iowait, irq, softirq = (int(x) for x in fields[:7])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


# Read at import on purpose: the command line imports this module first, and then spends longer on
# importing torch than a measurement takes. Otherwise, every command would wait for one.
_reading_at_import = ClockReading.now()
