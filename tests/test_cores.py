"""Free cores are counted from what others keep busy."""

from __future__ import annotations

import os

import pytest

from nmt import cores
from nmt.cores import free_cores


def test_free_cores_lie_between_one_and_all() -> None:
    assert 1 <= free_cores() <= (os.cpu_count() or 1)


@pytest.mark.parametrize(("busy", "free"), [(0.0, 4), (1.2, 3), (3.0, 1), (99.0, 1)])
def test_busy_cores_are_not_free(busy: float, free: int, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 10.0 + busy * cores.MEASURED_SECONDS])
    monkeypatch.setattr(cores, "_busy_seconds", lambda: next(clock))
    monkeypatch.setattr(cores, "_cgroup_cores", lambda: 64)
    monkeypatch.setattr(cores.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(4)), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    assert free_cores() == free
