"""Kill or stop one rank of a torchrun job, and check how the job ends."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass

from tests.support.promises.process_killing import started, wait_until
from tests.support.promises.small_run import SmallRun
from tests.support.torchrun_jobs import rank_processes

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
TIMEOUT_SECONDS = 5
"""Silence after which a rank counts as stopped."""
END_SECONDS = TIMEOUT_SECONDS + 60
"""Time in which a job must end. It includes 30 s that torchrun grants the other ranks."""
STORES = {"of torchrun": "0", "of the first worker": "1"}
"""The process that hosts the store of the rendezvous: TORCH_DISABLE_SHARE_RDZV_TCP_STORE."""


@dataclass(frozen=True)
class Loss:
    """The rank to lose, and the signal that it gets."""

    rank: int
    how: signal.Signals
    store: str = "of torchrun"

    def environment(self) -> dict[str, str]:
        """Return the environment of the ranks."""
        return {
            "NMT_WORKER_TIMEOUT": str(TIMEOUT_SECONDS),
            "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": STORES[self.store],
        }


def run_losing(
    small: SmallRun, rng: random.Random, loss: Loss | None, workers: int = 2, restarts: int = 1
) -> str:
    """Run a job and lose one rank at a random time in training; return its stderr.

    Raises AssertionError if the job does not end in time.
    """
    output = small.run.with_suffix(".output")
    launch = ["--nproc-per-node", str(workers), "--max-restarts", str(restarts), "--no-python"]
    line = [*TORCHRUN, *launch, "--", *small.command()]
    more = loss.environment() if loss else {}
    with started(line, output, **more) as job:
        try:
            if loss:
                lose(small, rng, loss, job)
            code = job.wait(2 * END_SECONDS)
        finally:
            for process in rank_processes(job):  # each rank has its own session
                os.kill(process, signal.SIGKILL)
    assert code == 0, output.read_text()
    return output.read_text()


def lose(small: SmallRun, rng: random.Random, loss: Loss, job: subprocess.Popen[bytes]) -> None:
    """Send the signal to the rank after a random checkpoint, and wait until the rank ends."""
    target_step = rng.randint(1, 25)
    assert wait_until(lambda: max(small.updates, default=0) >= target_step, job), (
        "the job ended before the loss"
    )
    time.sleep(rng.uniform(0, 0.05))
    pid = rank_processes(job)[loss.rank]
    os.kill(pid, loss.how)
    begin = time.monotonic()
    while pid in rank_processes(job):
        assert time.monotonic() < begin + END_SECONDS, f"rank {loss.rank} is still there"
        time.sleep(0.05)
