"""Listings find the runs in a folder and show them as a table or as JSON."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from nmt.core.run_dir import RunDir
from nmt.errors import RunError
from nmt.runs.listing import find_runs, format_json_lines, format_table, summarize_runs
from nmt.runs.summary import RunSummary
from tests.support.run_folders import PARAMETERS, write_finished, write_report, write_run


def run_names(folder: Path) -> set[str]:
    return {str(run.path.relative_to(folder)) for run in find_runs(folder)}


def test_find_runs_at_any_depth_but_not_nested(tmp_path: Path) -> None:
    for name in ("a", "deep/er/b", "a/ctranslate2", "a/checkpoints/c", ".hidden/d"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "config.yaml").touch()
    (tmp_path / "deep" / "exported").mkdir()
    for name in ("config.yaml", "export.json"):
        (tmp_path / "deep" / "exported" / name).touch()
    (tmp_path / "preparing").mkdir()
    (tmp_path / "preparing" / "train.lock").touch()
    assert run_names(tmp_path) == {"a", "deep/er/b", "preparing"}
    assert run_names(tmp_path / "a") == {"."}


def test_find_runs_follows_links_once(tmp_path: Path) -> None:
    runs, target = tmp_path / "runs", tmp_path / "target"
    runs.mkdir()
    target.mkdir()
    (target / "config.yaml").touch()
    (runs / "linked").symlink_to(target)
    (runs / "ring").symlink_to(runs)
    assert run_names(runs) == {"linked"}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rnus", r"rnus: no such folder \(did you mean 'runs'\?\); `nmt train CONFIG` makes"),
        ("no/where", "no/where: no such folder; "),
        ("file", "file: expected a folder, got a file"),
    ],
)
def test_find_runs_refuses_missing_folder(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=message):
        find_runs(tmp_path / name)


def test_summarize_runs_orders_by_last_change(tmp_path: Path) -> None:
    for name, time in (("a", 2000), ("b", 3000), ("c", 1000)):
        run = write_run(tmp_path / name)
        for path in (run.path, *run.path.iterdir()):
            os.utime(path, (time, time))
    assert [summary.run for summary in summarize_runs(tmp_path)] == ["c", "a", "b"]


def test_format_json_lines_contains_all_fields(tmp_path: Path) -> None:
    write_report(write_run(tmp_path / "a"), test=12.5)
    (tmp_path / "b\n\udcff").mkdir()
    (tmp_path / "b\n\udcff" / "config.yaml").touch()
    lines = format_json_lines(summarize_runs(tmp_path)).split("\n")
    assert lines[-1] == ""
    a, b = sorted(map(json.loads, lines[:-1]), key=lambda content: str(content["run"]))
    assert a["run"] == "a"
    assert (a["state"], a["update"], a["parameters"]) == ("stopped", 200, PARAMETERS)
    assert a["report"]["tests"]["test"]["bleu"] == 12.5
    assert b["run"] == "b" + "\N{REPLACEMENT CHARACTER}" * 2
    assert b["state"] == "damaged"
    format_table(summarize_runs(tmp_path), 80).encode()  # can be printed


def test_format_table_aligns_columns(tmp_path: Path) -> None:
    run = write_run(tmp_path / "one")
    write_finished(run)
    write_report(run, news=12.345, talks=7.0)
    header, row, *details = format_table(summarize_runs(tmp_path), 80).split("\n")
    cells = {name: header.index(name) + len(name) for name in ("best", "test BLEU", "time")}
    assert row.startswith("one  finished ")
    assert row[: cells["best"]].endswith("bleu 31.25")
    assert row[: cells["test BLEU"]].endswith("12.35")
    assert row[: cells["time"]].endswith("  41s")
    text = " ".join(line.strip() for line in details)
    assert all(len(line) <= 80 for line in details)
    for fact in (f"{PARAMETERS} parameters", "en-fr, 1,200 pairs", "news 12.35, talks 7.00"):
        assert fact in text
    assert text.endswith("max_updates 400 reached")


def test_format_table_shows_progress_of_running_run() -> None:
    running = RunSummary("a", "running", share_done=0.254, seconds_left=90.0)
    assert format_table([running], 80).split("\n")[-1] == "  25% done; ETA 1m30s"
    assert "done" not in format_table([replace(running, state="finished", seconds_left=None)], 80)


def test_format_table_shows_damaged_run(tmp_path: Path) -> None:
    write_run(tmp_path / "good")
    damaged = RunDir(tmp_path / "damaged")
    damaged.path.mkdir()
    damaged.config.write_text("data: [")
    table = format_table(summarize_runs(tmp_path), 80)
    assert "good     stopped" in table
    assert "damaged  damaged" in table
    assert f"{damaged.config}:1: " in table.replace("\n  ", " ")
