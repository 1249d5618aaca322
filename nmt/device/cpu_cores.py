"""Count the CPU cores that are free."""

from __future__ import annotations

import math
import os
import sys
import time
from pathlib import Path
from typing import NamedTuple

MEASURED_SECONDS = 0.1
LONG_AGO_SECONDS = 10.0
"""A reading so old tells nothing of now."""
SHAPES_KEPT = "64"
TORCH_VARIABLES = {
    "GOMP_SPINCOUNT": "3000",
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": SHAPES_KEPT,
    "LRU_CACHE_CAPACITY": SHAPES_KEPT,
}
"""What torch's libraries read as they are loaded, where the user's environment says nothing.

Threads that wait for each other soon sleep instead of spinning on (libgomp): as fast on free cores,
several times faster on shared ones. Matrix products are compiled for each shape and kept, by
oneDNN and by torch 1,024 each; 64 are about those of an update, save a third to a half of the
memory after some batches, and cost no speed (benchmarks/LOG.md).
"""


class Reading(NamedTuple):
    """What the clocks said at one moment, in seconds."""

    time: float
    others: float
    """Processor time spent by all other processes since boot; NaN where that is not known."""

    @classmethod
    def now(cls) -> Reading:
        """Read the clocks."""
        return cls(time.perf_counter(), _busy_seconds() - time.process_time())


def free_cores() -> int:
    """Return the cores this process may use less those that others keep busy now, at least 1.

    One busy neighbour slows every parallel operation of a training step several times over, so
    threads are never more than the free cores. Linux only measures; elsewhere all cores count.
    """
    total = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    total = min(total or 1, _cgroup_cores())
    before = _first
    if time.perf_counter() - before.time > LONG_AGO_SECONDS:
        before = Reading.now()
    if math.isnan(before.others):
        return total
    time.sleep(max(0.0, before.time + MEASURED_SECONDS - time.perf_counter()))
    after = Reading.now()
    busy = (after.others - before.others) / (after.time - before.time)
    cores_in_machine = os.cpu_count() or total
    return max(1, min(total, cores_in_machine - round(busy)))


def _cgroup_cores() -> int:
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, int(quota) // int(period))
    except (OSError, ValueError):
        return sys.maxsize


def _busy_seconds() -> float:
    """Return the seconds of processor time spent by all processes since boot, NaN if unknown."""
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    except OSError:
        return math.nan
    user, nice, system, _idle, _iowait, irq, softirq = (int(x) for x in fields[:7])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


_first = Reading.now()
"""When the program began: importing torch takes longer than a measurement needs."""
