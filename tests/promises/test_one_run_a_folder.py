"""Guarantee 16: two runs cannot share a folder; the lock of a dead process blocks nobody."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nmt.core import files
from tests.support.command_line import NMT, assert_success, environment, settings
from tests.support.tiny_runs import Tiny, make_tiny, read_run_state

LONG = settings(train__max_updates=100_000, train__patience="null", train__save_every=1)


@pytest.fixture
def training(tmp_path: Path) -> Iterator[tuple[Tiny, int]]:
    """Yield a run that another process trains and has saved, and the id of that process."""
    tiny = make_tiny(tmp_path)
    command = [*NMT, "train", tiny.config, "--run", tiny.run, "--device", "cpu", *LONG]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environment()) as child:
        deadline = time.monotonic() + 60
        while not (tiny.run / "last").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield tiny, child.pid
        child.kill()


def test_run_lock_second_run_is_refused_stale_lock_ignored(training: tuple[Tiny, int]) -> None:
    tiny, child = training
    for flags in ([], ["--resume"], ["--overwrite"]):
        result = tiny.train(*flags)
        assert result.code == 2
        assert f"error: {tiny.run}: process {child} on " in result.err
        assert "is training in this folder; wait for its end, or name another" in result.err
    assert read_run_state(tiny.run)["state"] == "running"
    os.kill(child, signal.SIGSTOP)
    assert tiny.train("--overwrite").code == 2, "a stopped process still holds the lock"
    os.kill(child, signal.SIGKILL)
    lock = tiny.run / "train.lock"
    wait_until_free(lock)
    assert f"process {child} " in lock.read_text(), "a killed process does not remove its lock file"
    summary = read_run_state(tiny.run)
    assert summary["state"] == "stopped"
    assert summary["why"].startswith(f"process {child} on ")
    assert "was killed, --resume continues after update " in summary["why"]
    update = int((tiny.run / "last").resolve().name.removeprefix("step_"))
    assert_success(tiny.train("--resume", *settings(train__max_updates=update + 2)))
    assert not lock.exists()
    assert read_run_state(tiny.run)["state"] == "finished"


def wait_until_free(lock: Path) -> None:
    deadline = time.monotonic() + 30
    while files.is_locked(lock):
        assert time.monotonic() < deadline
        time.sleep(0.01)
