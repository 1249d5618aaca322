"""Takes one worker of a job of torchrun away, by SIGKILL or SIGSTOP, and looks how it ends."""

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
"""In which a job must end: torchrun gives the others thirty, and all of it shares a machine."""
STORES = {"of torchrun": "0", "of the first worker": "1"}
"""Where the workers meet: values of TORCH_DISABLE_SHARE_RDZV_TCP_STORE."""


@dataclass(frozen=True)
class Loss:
    """Which worker is taken away, and how."""

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

    Raises AssertionError where it does not end in time.
    """
    said = small.run.with_suffix(".said")
    launch = ["--nproc-per-node", str(workers), "--max-restarts", str(restarts), "--no-python"]
    line = [*TORCHRUN, *launch, "--", *small.command()]
    more = loss.environment() if loss else {}
    with started(line, said, **more) as job:
        try:
            if loss:
                lose(small, rng, loss, job)
            code = job.wait(2 * END_SECONDS)
        finally:
            for process in rank_processes(job):  # each is in a session of its own
                os.kill(process, signal.SIGKILL)
    assert code == 0, said.read_text()
    return said.read_text()


def lose(small: SmallRun, rng: random.Random, loss: Loss, job: subprocess.Popen[bytes]) -> None:
    """Take the worker away after some checkpoint, and see that it is gone in time."""
    target_step = rng.randint(1, 25)
    assert wait_until(lambda: max(small.updates, default=0) >= target_step, job), "it ended before"
    time.sleep(rng.uniform(0, 0.05))
    lost = rank_processes(job)[loss.rank]
    os.kill(lost, loss.how)
    begin = time.monotonic()
    while lost in rank_processes(job):
        assert time.monotonic() < begin + END_SECONDS, f"rank {loss.rank} still holds the others"
        time.sleep(0.05)
