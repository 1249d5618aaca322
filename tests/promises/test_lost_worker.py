"""Guarantee 11: a lost rank ends the job with its name, and a restart completes the run."""

from __future__ import annotations

import random
import signal
from pathlib import Path

import pytest
from torch.distributed import HashStore

from nmt.core.distributed import process_group
from tests.support.promises.rank_failures import (
    STORES,
    RankFailure,
    run_ranks_to_end,
    run_with_rank_failure,
)
from tests.support.promises.small_run import SmallRun, differences, final_state, make_small_run

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> SmallRun:
    """Return a run of two ranks without interruptions."""
    small = make_small_run(tmp_path_factory.mktemp("small"))
    run_ranks_to_end(small)
    return small


def check_lost(uninterrupted: SmallRun, failure: RankFailure, seed: int = 1) -> None:
    """Lose a rank: the error names it, and the restarted run ends with the same state."""
    small = uninterrupted.with_name(
        f"lost_{failure.rank}_{failure.how.name}_{STORES[failure.store]}_{seed}"
    )
    stderr = run_with_rank_failure(small, random.Random(seed), failure)
    error = f"error: rank {1 - failure.rank}: rank {failure.rank}: expected a heartbeat every 1 s"
    assert (error in stderr) == (failure.how == signal.SIGSTOP)
    assert f"failed (exitcode: -9) local_rank: {failure.rank} " in stderr
    assert "resumed after update" in stderr
    assert differences(final_state(uninterrupted.run), final_state(small.run)) == [], (
        f"seed {seed}\n{stderr}"
    )


def test_torchrun_stopped_main_rank_is_named_and_restarted(uninterrupted: SmallRun) -> None:
    check_lost(uninterrupted, RankFailure(0, signal.SIGSTOP, "first rank"))


@pytest.mark.parametrize(("num_agents", "is_shared"), [("1", False), ("2", True)])
def test_torchrun_restart_uses_new_rendezvous(
    monkeypatch: pytest.MonkeyPatch, num_agents: str, is_shared: bool
) -> None:
    """A restart needs new addresses, unless several torchrun agents count their own restarts."""
    store = HashStore()
    monkeypatch.setenv("GROUP_WORLD_SIZE", num_agents)
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")
    process_group.attempt_store(store).set("address", "gone")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert process_group.attempt_store(store).check(["address"]) == is_shared


@pytest.mark.slow
@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL])
@pytest.mark.parametrize("rank", [0, 1])
def test_torchrun_lost_rank_run_completes_equal(
    uninterrupted: SmallRun, rank: int, how: signal.Signals, store: str
) -> None:
    check_lost(uninterrupted, RankFailure(rank, how, store), seed=2)
