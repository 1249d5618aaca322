"""Test guarantees 2, 4, 6, 8 and 11 with random faults in rounds; scripts/chaos runs it.

The seed determines a round: a small run is interrupted, resumed until it is finished, and compared
with an uninterrupted run.
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
    run_in_process_group,
    run_to_end,
    run_with_kills,
    wait_random_time,
)
from tests.support.promises.rank_failures import (
    STORES,
    RankFailure,
    run_ranks_to_end,
    run_with_rank_failure,
)
from tests.support.promises.small_run import SmallRun, differences, final_state, make_small_run

FAULTY_DISK = [sys.executable, "-m", "tests.support.promises.faulty_disk_command_line"]
STEPS = 2400
"""Approximate number of points, before and after disk operations, at which a fault can occur."""
STOPS = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGUSR1: 85}
"""The documented exit code of each signal."""
Round = Callable[[SmallRun, random.Random], None]


def kill_at_random_times(small: SmallRun, rng: random.Random) -> None:
    """Kill the run a few times at random points."""
    run_with_kills(small, rng, kills=3)


def kill_at_disk_operations(small: SmallRun, rng: random.Random) -> None:
    """Kill the run three times, each time before or after a disk operation."""
    for _ in range(3):
        code, output = run_with_disk_fault(small, "kill", rng)
        assert code in (0, -signal.SIGKILL), output
    run_to_end(small)


def fill_disk(small: SmallRun, rng: random.Random) -> None:
    """Fill the disk at a random operation, and free it for the next start."""
    before = small.updates
    code, output = run_with_disk_fault(small, "full", rng)
    assert code in (0, 2), output
    assert "Traceback" not in output, output
    assert code == 0 or "No space left on device" in output, output
    assert max(small.updates, default=0) >= max(before, default=0)
    temporary_files = list(small.run.rglob(".*.tmp"))
    assert temporary_files == [], output
    run_to_end(small)


def run_with_disk_fault(small: SmallRun, how: str, rng: random.Random) -> tuple[int, str]:
    """Run with a fault at a random operation; return the exit code and stderr."""
    stderr_file = small.run.with_suffix(".stderr")
    line = [*FAULTY_DISK, how, str(rng.randrange(STEPS)), *small.arguments()]
    with run_in_process_group(line, stderr_file) as process:
        return process.wait(PATIENCE_SECONDS), stderr_file.read_text()


def send_signal(small: SmallRun, rng: random.Random) -> None:
    """Send a signal during training or validation; the run saves and ends with its exit code."""
    output = small.run.with_suffix(".output")
    number = rng.choice(list(STOPS))
    with run_in_process_group(small.command(), output) as process:
        if wait_random_time(small, process, rng, in_training=True):
            process.send_signal(number)
        code = process.wait(PATIENCE_SECONDS)
    finished = (small.run / "finished.json").exists()
    assert finished or code == STOPS[number], (
        f"{number.name}: exit code {code}\n{output.read_text()}"
    )
    run_to_end(small)


def lose_rank(small: SmallRun, rng: random.Random) -> None:
    """Kill or stop one of two ranks; torchrun restarts both."""
    how = rng.choice([signal.SIGKILL, signal.SIGSTOP])
    failure = RankFailure(rng.randrange(2), how, rng.choice(list(STORES)))
    output = run_with_rank_failure(small, rng, failure)
    assert f"failed (exitcode: -9) local_rank: {failure.rank} " in output, f"{failure}\n{output}"


ROUNDS: dict[int, Round] = {
    2: kill_at_random_times,
    4: kill_at_disk_operations,
    6: fill_disk,
    8: send_signal,
    11: lose_rank,
}
"""Rounds by the number of the guarantee; the seed selects one, modulo their number."""


def guarantee_of(seed: int) -> int:
    return list(ROUNDS)[seed % len(ROUNDS)]


def run_references(folder: Path) -> dict[bool, SmallRun]:
    """Return uninterrupted runs: of one process (False) and of two ranks (True)."""
    small = make_small_run(folder)
    alone, together = small.with_name("alone"), small.with_name("together")
    run_to_end(alone)
    run_ranks_to_end(together)
    return {False: alone, True: together}


def run_round(guarantee: int, seed: int, references: dict[bool, SmallRun]) -> str:
    """Run one round; return a description of the failure, or an empty text."""
    reference = references[guarantee == 11]
    small = reference.with_name(f"seed_{seed}")
    try:
        ROUNDS[guarantee](small, random.Random(seed))
        failure = differences(final_state(reference.run), final_state(small.run))
    except Exception as error:  # any error must be reported with its seed
        return f"{type(error).__name__}: {error}"
    if failure:
        return f"differs from an uninterrupted run in {', '.join(failure)}"
    shutil.rmtree(small.run)
    return ""


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/chaos", description=__doc__)
    parser.add_argument(
        "--minutes", type=float, required=True, help="time after which no round begins"
    )
    parser.add_argument("--seed", type=int, default=None, help="seed of the first round")
    arguments = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if arguments.seed is None else arguments.seed
    folder = Path(tempfile.mkdtemp(prefix="nmt-chaos-"))
    begin = time.monotonic()
    references = run_references(folder)
    rounds = 0
    while rounds == 0 or time.monotonic() < begin + 60 * arguments.minutes:
        start, guarantee = time.monotonic(), guarantee_of(seed)
        failure = run_round(guarantee, seed, references)
        seconds = time.monotonic() - start
        print(
            f"guarantee {guarantee:2}  seed {seed}  {seconds:3.0f} s  {failure or 'ok'}", flush=True
        )
        if failure:
            print(
                f"The run folder is in {folder}. Repeat the round: "
                f"scripts/chaos --minutes 0 --seed {seed}"
            )
            return 1
        rounds, seed = rounds + 1, seed + 1
    shutil.rmtree(folder)
    print(f"{rounds} rounds, no failure")
    return 0


if __name__ == "__main__":
    try:
        code = main()
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)
