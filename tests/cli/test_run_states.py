"""`nmt runs` shows how a training ended; see also guarantee 16."""

from __future__ import annotations

from tests.support.command_line import assert_success, settings
from tests.support.tiny_runs import Tiny, read_run_state


def test_runs_failed_training_is_listed_until_overwritten(tiny: Tiny) -> None:
    flags = settings(train__optimizer="sgd", train__lr=1e38, train__clip_norm=0, train__warmup=0)
    result = tiny.train(*flags, *settings(train__max_updates=50))
    assert result.code == 2
    summary = read_run_state(tiny.run)
    assert summary["state"] == "failed"
    assert f"error: {summary['why']}\n" in result.err
    assert_success(tiny.train("--overwrite"))
    assert read_run_state(tiny.run)["state"] == "finished"


def test_runs_finished_run_after_refusal_stays_finished(tiny: Tiny) -> None:
    assert_success(tiny.train())
    assert tiny.train("--resume", *settings(model__d_hidden=16)).code == 2
    assert read_run_state(tiny.run) == {"state": "finished", "why": "max_updates 2 reached"}


def test_dry_run_releases_the_folder(tiny: Tiny) -> None:
    assert_success(tiny.train("--dry-run"))
    assert not tiny.run.exists()
    assert_success(tiny.train())
    assert read_run_state(tiny.run)["state"] == "finished"
