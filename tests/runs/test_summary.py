"""Summaries of runs in each state, and of damaged runs."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from nmt.core import files
from nmt.core.run_dir import RunDir
from nmt.runs.summary import count_parameters, summarize_run
from tests.support.paths import FROZEN_V1
from tests.support.run_folders import (
    CONFIG,
    PARAMETERS,
    write_finished,
    write_metrics,
    write_report,
    write_run,
)


def test_summary_of_stopped_run_has_progress_and_best(tmp_path: Path) -> None:
    summary = summarize_run(write_run(tmp_path / "run"), "run")
    assert summary.problems == []
    assert (summary.state, summary.why) == ("stopped", "--resume continues after update 200")
    assert (summary.update, summary.epoch, summary.seconds) == (200, 5, 20)
    assert summary.share_done == 0.5, "200 of 400 updates are more than 5 of 50 epochs"
    assert summary.seconds_left is None, "it is not running"
    assert summary.model.startswith("rnn: gru, attention luong")
    assert summary.parameters == PARAMETERS
    assert (summary.src, summary.tgt, summary.pairs) == ("en", "fr", 1200)
    assert (summary.metric, summary.best, summary.best_update) == ("bleu", 31.25, 200)
    assert summary.tokens_per_second == (1100 + 1150) / 2, "the median of 1050, 1100, 1150, 1200"


def test_summary_of_running_run_has_eta(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", updates=100)
    with files.hold_lock(run.lock, "process 7 on x"):
        summary = summarize_run(run, "run")
    assert (summary.state, summary.share_done) == ("running", 0.25)
    assert summary.seconds_left == 30, "the first quarter took 10 seconds"
    assert summarize_run(run, "run").state == "stopped"


@pytest.mark.parametrize(
    ("limits", "share"),
    [
        ("max_epochs: 10", 0.5),
        ("max_hours: 0.05, max_epochs: 10000", 20 / 180),
        ("patience: 3", None),
    ],
)
def test_summary_share_done_uses_nearest_limit(
    tmp_path: Path, limits: str, share: float | None
) -> None:
    head = CONFIG.split("train: {")[0]
    run = write_run(tmp_path / "run", config=f"{head}train: {{{limits}}}\n")
    assert summarize_run(run, "run").share_done == (None if share is None else pytest.approx(share))


def test_summary_of_killed_run_names_process(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    run.lock.write_text("process 7 on x")
    summary = summarize_run(run, "run")
    assert summary.state == "stopped"
    assert summary.why == "process 7 on x was killed, --resume continues after update 200"


def test_summary_of_locked_run_without_config_is_preparing(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    with files.hold_lock(run.lock, "process 7 on x"):
        summary = summarize_run(run, "run")
        assert (summary.state, summary.why, summary.problems) == ("running", "preparing", [])
    run.lock.write_text("process 7 on x")
    summary = summarize_run(run, "run")
    assert (summary.state, summary.why) == ("stopped", "process 7 on x was killed")


def test_summary_of_finished_or_failed_run_names_reason(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", updates=400)
    write_finished(run)
    summary = summarize_run(run, "run")
    assert (summary.state, summary.why) == ("finished", "max_updates 400 reached")
    assert (summary.update, summary.seconds) == (400, 41)
    with files.hold_lock(run.lock, "x"):
        assert summarize_run(run, "run").why == "trained, being tested"
    run.failed.write_text(json.dumps({"error": "OSError: no space left"}))
    summary = summarize_run(run, "run")
    assert (summary.state, summary.why) == ("failed", "OSError: no space left")


def test_summary_without_checkpoint_is_prepared(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    shutil.rmtree(run.checkpoints)
    files.remove(run.metrics)
    summary = summarize_run(run, "run")
    assert (summary.state, summary.update, summary.parameters) == ("prepared", 0, None)


def test_summary_without_lock_support_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    run = write_run(tmp_path / "run")
    monkeypatch.setattr(files.fcntl, "flock", no_locks)
    assert summarize_run(run, "run").state == "stopped", "there is no lock file to begin with"
    with files.hold_lock(run.lock, "x"):
        assert summarize_run(run, "run").state == "unknown"


def test_summary_report_ignores_unknown_content(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    write_report(run, test=12.5, long=30.0)
    report = summarize_run(run, "run").report
    assert {name: scores.bleu for name, scores in report.tests.items()} == {
        "test": 12.5,
        "long": 30,
    }
    assert (report.tests["test"].chrf, report.tests["test"].lines) == (50, 3)
    assert report.tests["long"].signatures.keys() == {"bleu", "chrf", "ter"}
    partial_set = '{"systems": {"r": {"scores": {"bleu": null, "new": [1]}}}}'
    run.report.write_text(f'{{"test_sets": {{"a": {partial_set}, "b": 7}}, "systems": []}}')
    summary = summarize_run(run, "run")
    assert summary.problems == []
    assert {name: scores.bleu for name, scores in summary.report.tests.items()} == {
        "a": None,
        "b": None,
    }


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-3])


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (lambda run: run.config.write_text("data: ["), "config.yaml"),
        (lambda run: run.config.write_text("a: 1\nb: 2\n"), "(and "),
        (lambda run: run.config.write_bytes(b"\xff\xfe"), "expected UTF-8"),
        (lambda run: truncate(run.finished), "finished.json: expected JSON"),
        (lambda run: run.report.write_text("{"), "report.json: expected JSON"),
        (lambda run: truncate(run.last / "state.json"), "state.json: expected JSON"),
        (
            lambda run: truncate(run.corpus / "train" / "0" / "meta.json"),
            "meta.json: expected JSON",
        ),
        (lambda run: (run.corpus / "train" / "0" / "meta.json").unlink(), "meta.json: no such"),
        (lambda run: truncate(run.last / "model.safetensors"), "expected a safetensors file"),
        (lambda run: shutil.rmtree(run.checkpoints), "holds no checkpoint"),
        (lambda run: files.remove(run.best.resolve() / "model.safetensors"), "no checkpoint"),
        (lambda run: run.metrics.write_text("\n\n\n\n"), "got damaged ones: line 1, 2, 3"),
        (lambda run: (files.remove(run.metrics), run.metrics.mkdir()), "metrics.jsonl: Is a dir"),
    ],
)
def test_summary_of_damaged_run_lists_problems(
    tmp_path: Path, damage: Callable[[RunDir], object], word: str
) -> None:
    run = write_run(tmp_path / "run")
    write_finished(run)
    assert summarize_run(run, "run").problems == []
    damage(run)
    summary = summarize_run(run, "run")
    assert summary.state == "damaged"
    assert any(word in problem for problem in summary.problems), summary.problems


def test_summary_of_unreadable_run_lists_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(run: RunDir) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied", str(run.metrics))

    run = write_run(tmp_path / "run")
    monkeypatch.setattr(RunDir, "has_begun", refuse)
    summary = summarize_run(run, "run")
    assert (summary.state, summary.problems) == ("damaged", [f"{run.metrics}: Permission denied"])


def test_summary_invalid_values_are_none(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    (run.last / "state.json").write_text('{"update": "9", "best_score": NaN, "best_update": [1]}')
    write_metrics(run, [])
    summary = summarize_run(run, "run")
    assert (summary.update, summary.best, summary.best_update) == (0, None, None)


def test_summary_of_first_release_run_has_no_problems() -> None:
    summary = summarize_run(RunDir(FROZEN_V1), "v1")
    assert (summary.state, summary.problems) == ("finished", [])
    assert (summary.update, summary.metric, summary.pairs) == (300, "bleu", None)
    assert summary.parameters
    assert summary.best is not None


def test_count_parameters_reads_weights(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    assert count_parameters(run.best) == PARAMETERS
    assert count_parameters(tmp_path) is None


def test_summary_of_averaged_run_has_state_average(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    run.metrics.unlink()
    run.average.write_text('{"checkpoints": []}')
    summary = summarize_run(run, "run")
    assert (summary.state, summary.why, summary.share_done) == ("average", "", None)
