"""A resumed run with another validation text or stop metric discards earlier scores."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.command_line import assert_success, nmt, settings, write_pairs
from tests.support.tiny_runs import Tiny, digit_strings

FLAGS = settings(train__validate_every=1, train__keep_last=9, train__keep_best=9)
RESUME = [*FLAGS, "--resume", "--accept-changes", *settings(train__max_updates=4)]


def state_of(tiny: Tiny) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((tiny.run / "last" / "state.json").read_text())
    return content


def edit_state(tiny: Tiny, **values: Any) -> None:
    """Change state.json of the newest checkpoint; None removes a key. Delete its manifest."""
    file = tiny.run / "last" / "state.json"
    content = json.loads(file.read_text()) | values | {"manifest": None}
    remaining = {key: value for key, value in content.items() if value is not None}
    file.write_text(json.dumps(remaining))
    file.with_name("manifest.json").unlink(missing_ok=True)


def write_second_valid(tiny: Tiny) -> list[str]:
    write_pairs(tiny.folder / "other", [(text, text[::-1]) for text in digit_strings(7, seed=8)])
    return settings(data__valid=tiny.folder / "other")


@pytest.fixture
def scored_run(tiny: Tiny) -> Tiny:
    """Return a run with a best score that later scores do not reach."""
    assert_success(tiny.train(*FLAGS))
    edit_state(tiny, best_score=99.0, best_update=1, waited=1, scores={"1": 99.0, "2": 0.5})
    return tiny


@pytest.mark.parametrize("older_release", [False, True])
def test_resume_with_other_validation_text_resets_scores(
    scored_run: Tiny, older_release: bool
) -> None:
    if older_release:
        edit_state(scored_run, scored_on=None)
    result = assert_success(scored_run.train(*RESUME, *write_second_valid(scored_run)))
    assert (
        "the validation text or train.stop_metric changed: earlier scores no longer count, "
        "the best was 99.00 at update 1\n"
    ) in result.err
    state = state_of(scored_run)
    assert sorted(state["scores"]) == ["2", "3", "4"], "the resumed weights are scored first"
    assert state["best_score"] == max(state["scores"].values()) < 99
    best = scored_run.run / "checkpoints" / f"step_{state['best_update']:08d}"
    assert (scored_run.run / "best").resolve() == best.resolve()
    assert f"at update {state['best_update']}" in result.err.split("finished: ")[1]


def test_resume_with_other_stop_metric_resets_scores(scored_run: Tiny) -> None:
    assert_success(scored_run.train(*RESUME, *settings(train__stop_metric="loss")))
    state = state_of(scored_run)
    assert sorted(state["scores"]) == ["2", "3", "4"]
    assert 0 < state["best_score"] == min(state["scores"].values())


def test_resume_finished_run_scores_other_validation_text(scored_run: Tiny) -> None:
    """No further update is necessary. `nmt average --best` then uses the new scores."""
    flags = [*FLAGS, "--resume", "--accept-changes", *write_second_valid(scored_run)]
    assert_success(scored_run.train(*flags))
    state = state_of(scored_run)
    assert (state["update"], state["best_update"], list(state["scores"])) == (2, 2, ["2"])
    average = nmt("average", scored_run.run, "--best", 2, "-o", scored_run.folder / "average")
    assert average.code == 2
    assert "at least 2 validated checkpoints, got 1" in average.err


@pytest.mark.parametrize("older_release", [False, True])
def test_resume_with_moved_validation_text_keeps_scores(
    scored_run: Tiny, older_release: bool
) -> None:
    if older_release:
        edit_state(scored_run, scored_on=None)
    for side in ("in", "out"):
        (scored_run.folder / f"valid.{side}").rename(scored_run.folder / f"moved.{side}")
    moved = settings(data__valid=scored_run.folder / "moved")
    result = assert_success(scored_run.train(*RESUME, *moved))
    assert "no longer count" not in result.err
    state = state_of(scored_run)
    assert (state["best_score"], state["best_update"]) == (99.0, 1)
    assert sorted(state["scores"]) == ["1", "2", "3", "4"]
