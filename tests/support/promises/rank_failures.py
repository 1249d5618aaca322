"""Kill or stop one rank of a torchrun job, and check how the job ends."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass

from tests.support.promises.process_killing import (
    PATIENCE_SECONDS,
    run_in_process_group,
    wait_until,
)
from tests.support.promises.small_run import SmallRun
from tests.support.torchrun_jobs import rank_processes

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
TIMEOUT_SECONDS = 5
"""Silence after which a rank counts as stopped."""
END_SECONDS = TIMEOUT_SECONDS + 60
"""Time in which a job must end. It includes 30 s that torchrun grants the other ranks."""
STORES = {"torchrun": "0", "first rank": "1"}
"""The process that hosts the store of the rendezvous: TORCH_DISABLE_SHARE_RDZV_TCP_STORE."""


@dataclass(frozen=True)
class RankFailure:
    """The rank that fails, and the signal that it receives."""

    rank: int
    how: signal.Signals
    store: str = "torchrun"

    def environment(self) -> dict[str, str]:
        """Return the environment of the ranks."""
        return {
            "NMT_WORKER_TIMEOUT": str(TIMEOUT_SECONDS),
            "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": STORES[self.store],
        }


def run_with_rank_failure(small: SmallRun, rng: random.Random, failure: RankFailure) -> str:
    """Run a job in which one rank fails at a random time in training; return its stderr.

    Raises AssertionError if the job does not end in time.
    """
    output = small.run.with_suffix(".output")
    launch = ["--nproc-per-node", "2", "--max-restarts", "1", "--no-python"]
    line = [*TORCHRUN, *launch, "--", *small.command()]
    with run_in_process_group(line, output, **failure.environment()) as job:
        try:
            fail_rank(small, rng, failure, job)
            code = job.wait(2 * END_SECONDS)
        finally:
            for process in rank_processes(job):  # each rank has its own session
                os.kill(process, signal.SIGKILL)
    assert code == 0, output.read_text()
    return output.read_text()


def run_ranks_to_end(small: SmallRun) -> None:
    """Run a job of two ranks without failures."""
    line = [sys.executable, "-m", "tests.support.forked_ranks", "2", *small.arguments()]
    output = small.run.with_suffix(".output")
    with run_in_process_group(line, output) as job:
        assert job.wait(PATIENCE_SECONDS) == 0, output.read_text()


def fail_rank(
    small: SmallRun, rng: random.Random, failure: RankFailure, job: subprocess.Popen[bytes]
) -> None:
    """Send the signal to the rank after a random checkpoint, and wait until the rank ends."""
    target_step = rng.randint(1, 25)
    assert wait_until(lambda: max(small.updates, default=0) >= target_step, job), (
        "the job ended before the failure"
    )
    time.sleep(rng.uniform(0, 0.05))
    pid = rank_processes(job)[failure.rank]
    os.kill(pid, failure.how)
    begin = time.monotonic()
    while pid in rank_processes(job):
        assert time.monotonic() < begin + END_SECONDS, f"rank {failure.rank} still runs"
        time.sleep(0.05)
