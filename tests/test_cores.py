"""Free cores are counted from what others keep busy."""

from __future__ import annotations

import os
import time

import pytest

from nmt.device import cpu_cores
from nmt.device.cpu_cores import Reading, free_cores


def test_free_cores_lie_between_one_and_all() -> None:
    assert 1 <= free_cores() <= (os.cpu_count() or 1)


@pytest.mark.parametrize(("busy", "free"), [(0.0, 4), (1.2, 3), (3.0, 1), (99.0, 1)])
def test_busy_cores_are_not_free(busy: float, free: int, monkeypatch: pytest.MonkeyPatch) -> None:
    began = time.perf_counter() - 2.0
    monkeypatch.setattr(cpu_cores, "_first", Reading(began, 10.0))
    monkeypatch.setattr(Reading, "now", lambda: Reading(began + 2.0, 10.0 + 2.0 * busy))
    monkeypatch.setattr(cpu_cores, "_cgroup_cores", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(4)), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    assert free_cores() == free


def test_what_this_process_does_itself_keeps_no_core_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_cores, "_busy_seconds", time.process_time)  # nobody else on the machine
    monkeypatch.setattr(cpu_cores, "_first", Reading.now())
    while time.perf_counter() < cpu_cores._first.time + 0.2:
        pass
    assert free_cores() == min(len(os.sched_getaffinity(0)), cpu_cores._cgroup_cores())


def test_a_reading_of_long_ago_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_cores, "_first", Reading(time.perf_counter() - 60.0, 0.0))
    monkeypatch.setattr(cpu_cores, "_busy_seconds", lambda: 1e6 + time.process_time())
    assert free_cores() == min(len(os.sched_getaffinity(0)), cpu_cores._cgroup_cores())
