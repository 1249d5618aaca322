"""Kill a training process with its process group, and restart it until the run is finished."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.command_line import assert_success, nmt
from tests.support.promises.small_run import SmallRun, environment

STARTING_SECONDS = 3.0
"""Typical duration of a start, so that a kill after it hits training."""
PATIENCE_SECONDS = 120.0
"""A process that takes longer hangs."""


@contextmanager
def run_in_process_group(
    line: list[str], output: Path, **variables: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a process in a new group, and kill the group after the block.

    The file `output` receives its output. `variables` extends its environment.
    """
    with open(output, "ab") as stream:
        process = subprocess.Popen(
            line,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=environment(**variables),
            start_new_session=True,
        )
    try:
        yield process
    finally:
        kill_group(process)


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and its children, and wait for their end."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> bool:
    """Wait for a condition; return False if the process ended first."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if process.poll() is not None:
            return False
        assert time.monotonic() < deadline, "the process hangs"
        time.sleep(0.002)
    return True


def run_to_end(small: SmallRun) -> None:
    """Start or resume a run in this process, and check that it is finished."""
    assert_success(nmt(*small.arguments()))


def run_with_kills(small: SmallRun, rng: random.Random, kills: int) -> int:
    """Kill a run at most `kills` times, then finish it; return the number of kills.

    Most kills follow a checkpoint by some milliseconds. The others are at any time of a start.
    """
    output = small.run.with_suffix(".output")
    for killed in range(kills):
        with run_in_process_group(small.command(), output) as process:
            in_training = killed == 0 or rng.random() < 0.75
            if not wait_random_time(small, process, rng, in_training):
                assert process.returncode == 0, output.read_text()
                return killed
    run_to_end(small)
    return kills


def wait_random_time(
    small: SmallRun, process: subprocess.Popen[bytes], rng: random.Random, in_training: bool
) -> bool:
    """Wait for a random time in a process; return False if it ended first."""
    if in_training:
        target_step = max(small.updates, default=0) + rng.randint(1, 9)
        if not wait_until(lambda: max(small.updates, default=0) >= target_step, process):
            return False
    pause = rng.uniform(0, 0.05 if in_training else STARTING_SECONDS)
    end = time.monotonic() + pause
    return wait_until(lambda: time.monotonic() > end, process)
