"""Guarantee 2: a run that is killed and restarted ends like an uninterrupted run."""

from __future__ import annotations

import random

import pytest

from tests.support.promises.process_killing import run_to_end, run_with_kills
from tests.support.promises.small_run import SmallRun, differences, final_state, make_small_run


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> SmallRun:
    """Return a run without interruptions."""
    small = make_small_run(tmp_path_factory.mktemp("small"))
    run_to_end(small)
    return small


def check_killed(uninterrupted: SmallRun, seed: int, kills: int) -> int:
    """Kill another run of the same config, compare the results, and return the number of kills."""
    killed = uninterrupted.with_name(f"killed_{seed}")
    count = run_with_kills(killed, random.Random(seed), kills)
    assert differences(final_state(uninterrupted.run), final_state(killed.run)) == [], (
        f"seed {seed}"
    )
    return count


def test_killed_run_ends_like_uninterrupted_run(uninterrupted: SmallRun) -> None:
    assert check_killed(uninterrupted, seed=1, kills=2) > 0


@pytest.mark.slow
def test_killed_run_hundred_kills_change_nothing(uninterrupted: SmallRun) -> None:
    killed = 0
    for seed in range(2, 200):
        killed += check_killed(uninterrupted, seed, kills=min(5, 100 - killed))
        if killed == 100:
            return
    pytest.fail(f"only {killed} kills came before the end of a run")


def test_state_comparison_detects_one_changed_moment(uninterrupted: SmallRun) -> None:
    """Otherwise the tests of equal states could not fail."""
    state, changed_state = final_state(uninterrupted.run), final_state(uninterrupted.run)
    for kind in ("train", "valid"):
        updates = [r["update"] for r in state["metrics.jsonl"] if r["kind"] == kind]
        assert updates == [8, 16, 24, 32, 40]
    last = "checkpoints/step_00000040/optimizer.safetensors"
    changed_state[last][next(name for name in changed_state[last] if name.endswith("exp_avg"))][1][
        0
    ] = 7.0
    assert differences(state, changed_state) == [last]
