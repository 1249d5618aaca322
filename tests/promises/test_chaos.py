"""One round of each kind of scripts/chaos, and its detection of failures."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.support.promises import chaos
from tests.support.promises.small_run import SmallRun, make_small_run


@pytest.fixture(scope="module")
def references(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, SmallRun]:
    return chaos.run_references(tmp_path_factory.mktemp("small"))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(len(chaos.ROUNDS)))
def test_chaos_round_of_each_guarantee_loses_nothing(
    references: dict[bool, SmallRun], seed: int
) -> None:
    assert chaos.run_round(chaos.guarantee_of(seed), seed, references) == ""


def test_chaos_round_with_fault_reports_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = make_small_run(tmp_path)
    small.run.mkdir()
    (small.run / "best").symlink_to("checkpoints/step_00000008")

    def lose_link(run: SmallRun, rng: random.Random) -> None:
        run.run.mkdir()

    def raise_error(run: SmallRun, rng: random.Random) -> None:
        raise AssertionError("it hangs")

    references = {False: small, True: small}
    monkeypatch.setattr(chaos, "ROUNDS", {2: lose_link, 4: raise_error})
    message = chaos.run_round(2, 1, references)
    assert message == "differs from an uninterrupted run in best"
    assert chaos.run_round(4, 2, references) == "AssertionError: it hangs"
