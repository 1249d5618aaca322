"""How many CPU cores are free."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

MEASURED_SECONDS = 0.1


def free_cores() -> int:
    """Return the cores this process may use less those that others keep busy now, at least 1.

    One busy neighbour slows every parallel operation of a training step several times over, so
    threads are never more than the free cores. Linux only measures; elsewhere all cores count.
    """
    total = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    total = min(total or 1, _cgroup_cores())
    before = _busy_seconds()
    if before is None:
        return total
    time.sleep(MEASURED_SECONDS)
    after = _busy_seconds()
    busy = 0.0 if after is None else (after - before) / MEASURED_SECONDS
    cores_in_machine = os.cpu_count() or total
    return max(1, min(total, cores_in_machine - round(busy)))


def _cgroup_cores() -> int:
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, int(quota) // int(period))
    except (OSError, ValueError):
        return sys.maxsize


def _busy_seconds() -> float | None:
    """Return the seconds of processor time spent by all processes since boot, if known."""
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    except OSError:
        return None
    user, nice, system, _idle, _iowait, irq, softirq = (int(x) for x in fields[:7])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")
