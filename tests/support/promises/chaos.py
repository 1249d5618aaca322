"""Promises 2, 4, 6, 8 and 11 under random trouble, one round after another; scripts/chaos runs it.

Each round is drawn from its seed alone: a small run is disturbed, taken up again until it is done,
and held against one that nobody disturbed.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.support.promises.process_killing import (
    PATIENCE_SECONDS,
    run_killed,
    run_whole,
    started,
    wait_for_a_moment,
)
from tests.support.promises.rank_failures import STORES, Loss, run_losing
from tests.support.promises.small_run import SmallRun, differences, final_state, make_small_run

FAULTY_DISK = [sys.executable, "-m", "tests.support.promises.faulty_disk_command_line"]
STEPS = 2400
"""The begins and ends of steps on the disk that a small run takes, about."""
STOPS = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGUSR1: 85}
"""The exit codes that are promised."""
Round = Callable[[SmallRun, random.Random], None]


def killed(small: SmallRun, rng: random.Random) -> None:
    """Kill the run a few times, wherever it is."""
    run_killed(small, rng, kills=3)


def killed_at_the_disk(small: SmallRun, rng: random.Random) -> None:
    """Kill the run before or after a disk operation, and again in the remaining part."""
    for _ in range(3):
        code, said = struck(small, "kill", rng)
        assert code in (0, -signal.SIGKILL), said
    run_whole(small)


def on_a_full_disk(small: SmallRun, rng: random.Random) -> None:
    """Fill the disk from some operation on, then free it again."""
    before = small.updates
    code, said = struck(small, "full", rng)
    assert code in (0, 2), said
    assert "Traceback" not in said, said
    assert code == 0 or "No space left on device" in said, said
    assert max(small.updates, default=0) >= max(before, default=0)
    strays = list(small.run.rglob(".*.tmp"))
    assert strays == [], said
    run_whole(small)


def struck(small: SmallRun, how: str, rng: random.Random) -> tuple[int, str]:
    """Run with a fault at a random operation; return the exit code and stderr."""
    said = small.run.with_suffix(".said")
    line = [*FAULTY_DISK, how, str(rng.randrange(STEPS)), *small.arguments()]
    with started(line, said) as process:
        return process.wait(PATIENCE_SECONDS), said.read_text()


def signalled(small: SmallRun, rng: random.Random) -> None:
    """Send a signal in training or in a validation; the run ends with its code, saved."""
    said = small.run.with_suffix(".said")
    number = rng.choice(list(STOPS))
    with started(small.command(), said) as process:
        if wait_for_a_moment(small, process, rng, in_training=True):
            process.send_signal(number)
        code = process.wait(PATIENCE_SECONDS)
    done = (small.run / "finished.json").exists()
    assert done or code == STOPS[number], f"{number.name}: exit code {code}\n{said.read_text()}"
    run_whole(small)


def losing_a_worker(small: SmallRun, rng: random.Random) -> None:
    """Kill or stop one of two workers; torchrun starts them again."""
    how = rng.choice([signal.SIGKILL, signal.SIGSTOP])
    loss = Loss(rng.randrange(2), how, rng.choice(list(STORES)))
    said = run_losing(small, rng, loss)
    assert f"failed (exitcode: -9) local_rank: {loss.rank} " in said, f"{loss}\n{said}"


ROUNDS: dict[int, Round] = {
    2: killed,
    4: killed_at_the_disk,
    6: on_a_full_disk,
    8: signalled,
    11: losing_a_worker,
}
"""By the promise; a round is that of its seed modulo their number."""


def promise_of(seed: int) -> int:
    return list(ROUNDS)[seed % len(ROUNDS)]


def undisturbed(folder: Path) -> dict[bool, SmallRun]:
    """Return runs that nobody disturbs: of one process, and of two."""
    small = make_small_run(folder)
    alone, together = small.named("alone"), small.named("together")
    run_whole(alone)
    run_losing(together, random.Random(), None)
    return {False: alone, True: together}


def trouble(promise: int, seed: int, references: dict[bool, SmallRun]) -> str:
    """Do one round; return what went wrong, or nothing."""
    like = references[promise == 11]
    small = like.named(f"seed_{seed}")
    try:
        ROUNDS[promise](small, random.Random(seed))
        wrong = differences(final_state(like.run), final_state(small.run))
    except Exception as error:  # any error must be reported with its seed
        return f"{type(error).__name__}: {error}"
    if wrong:
        return f"differs from a run that nobody disturbed in {', '.join(wrong)}"
    shutil.rmtree(small.run)
    return ""


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, required=True, help="no round begins after these")
    parser.add_argument("--seed", type=int, default=None, help="of the first round; then upwards")
    arguments = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if arguments.seed is None else arguments.seed
    folder = Path(tempfile.mkdtemp(prefix="nmt-chaos-"))
    begin = time.monotonic()
    references = undisturbed(folder)
    rounds = 0
    while rounds == 0 or time.monotonic() < begin + 60 * arguments.minutes:
        start, promise = time.monotonic(), promise_of(seed)
        wrong = trouble(promise, seed, references)
        took = time.monotonic() - start
        print(f"promise {promise:2}  seed {seed}  {took:3.0f} s  {wrong or 'ok'}", flush=True)
        if wrong:
            print(f"all of it is in {folder}; again: scripts/chaos --minutes 0 --seed {seed}")
            return 1
        rounds, seed = rounds + 1, seed + 1
    shutil.rmtree(folder)
    print(f"{rounds} rounds, nothing lost")
    return 0


if __name__ == "__main__":
    try:
        code = main()
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)
