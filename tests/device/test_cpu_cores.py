"""Free cores are the usable cores without those that other processes keep busy."""

from __future__ import annotations

import os
import time

import pytest

from nmt.device import cpu_cores
from nmt.device.cpu_cores import ClockReading, free_cores


def test_free_cores_is_between_one_and_all() -> None:
    assert 1 <= free_cores() <= (os.cpu_count() or 1)


@pytest.mark.parametrize(("busy_cores", "expected"), [(0.0, 4), (1.2, 3), (3.0, 1), (99.0, 1)])
def test_free_cores_excludes_busy_cores(
    busy_cores: float, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = time.perf_counter() - 2.0
    now = ClockReading(start + 2.0, 10.0 + 2.0 * busy_cores)
    monkeypatch.setattr(cpu_cores, "_reading_at_import", ClockReading(start, 10.0))
    monkeypatch.setattr(ClockReading, "now", lambda: now)
    monkeypatch.setattr(cpu_cores, "_cgroup_cores", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(4)), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    assert free_cores() == expected


def test_free_cores_ignores_own_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_cores, "_busy_seconds", time.process_time)  # no other process
    monkeypatch.setattr(cpu_cores, "_reading_at_import", ClockReading.now())
    while time.perf_counter() < cpu_cores._reading_at_import.time + 0.2:
        pass
    assert free_cores() == min(len(os.sched_getaffinity(0)), cpu_cores._cgroup_cores())


def test_free_cores_ignores_old_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    old_reading = ClockReading(time.perf_counter() - 60.0, 0.0)
    monkeypatch.setattr(cpu_cores, "_reading_at_import", old_reading)
    monkeypatch.setattr(cpu_cores, "MAX_READING_AGE", 10.0)
    monkeypatch.setattr(cpu_cores, "_busy_seconds", lambda: 1e6 + time.process_time())
    assert free_cores() == min(len(os.sched_getaffinity(0)), cpu_cores._cgroup_cores())
