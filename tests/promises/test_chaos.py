"""The rounds of scripts/chaos, one of each, and that it sees what they find."""

from __future__ import annotations

import random
from pathlib import Path

import chaos
import pytest
from smallrun import SmallRun, make_small_run


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, SmallRun]:
    return chaos.undisturbed(tmp_path_factory.mktemp("small"))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(len(chaos.ROUNDS)))
def test_chaos_round_loses_nothing(whole: dict[bool, SmallRun], seed: int) -> None:
    assert chaos.trouble(chaos.promise_of(seed), seed, whole) == ""


def test_chaos_round_reports_failures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = make_small_run(tmp_path)
    small.run.mkdir()
    (small.run / "best").symlink_to("checkpoints/step_00000008")

    def loses_a_link(other: SmallRun, rng: random.Random) -> None:
        other.run.mkdir()

    def breaks(other: SmallRun, rng: random.Random) -> None:
        raise AssertionError("it hangs")

    whole = {False: small, True: small}
    monkeypatch.setattr(chaos, "ROUNDS", {2: loses_a_link, 4: breaks})
    found = chaos.trouble(2, 1, whole)
    assert found == "differs from a run that nobody disturbed in best"
    assert chaos.trouble(4, 2, whole) == "AssertionError: it hangs"
