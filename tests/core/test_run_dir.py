"""The files of a run folder, and finding a run."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from nmt.core.run_dir import FORMAT_VERSION, RunDir, newest_finished_run, open_run, read_json
from nmt.errors import RunError


def make_run(path: Path, finished_at: int | None = None) -> RunDir:
    run = RunDir(path)
    path.mkdir(parents=True)
    run.config.write_text("")
    if finished_at is not None:
        run.finished.write_text("{}")
        os.utime(run.finished, (finished_at, finished_at))
    return run


def test_run_dir_missing_folder_is_not_created(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    assert not run.is_run()
    assert not run.has_begun()
    assert list(tmp_path.iterdir()) == []


def test_run_dir_paths_are_distinct_and_in_the_folder(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    paths = [*filter(None, vars(run).values()), run.checkpoint(1), run.validation_output(1)]
    assert all(path.is_relative_to(run.path) for path in paths)
    assert len(set(paths)) == len(paths)


def test_checkpoint_names_sort_by_step(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    steps = [5, 40, 300, 12_000, 1_000_000]
    assert run.checkpoint(12_000) == tmp_path / "checkpoints" / "step_00012000"
    for path_of_step in (run.checkpoint, run.validation_output):
        assert sorted(map(path_of_step, reversed(steps))) == list(map(path_of_step, steps))


def test_open_run_existing_run_is_returned(tmp_path: Path) -> None:
    make_run(tmp_path / "a")
    assert open_run(tmp_path / "a").path == tmp_path / "a"


def test_open_run_missing_folder_suggests_the_nearest(tmp_path: Path) -> None:
    make_run(tmp_path / "multi30k")
    with pytest.raises(RunError, match=r"mutli30k: no such run folder \(did you mean 'multi30k'"):
        open_run(tmp_path / "mutli30k")


def test_open_run_missing_parent_folder_suggests_nothing(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no such run folder$"):
        open_run(tmp_path / "nowhere" / "run")


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_open_run_not_a_run_names_the_command_for_one(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "thing"
    path.mkdir() if kind == "folder" else path.write_text("")
    with pytest.raises(RunError, match=r"thing: is not a run folder.*`nmt train CONFIG` makes one"):
        open_run(path)


def test_newest_finished_run_returns_last_finished(tmp_path: Path) -> None:
    make_run(tmp_path / "a", finished_at=2000)
    make_run(tmp_path / "b", finished_at=3000)
    make_run(tmp_path / "c", finished_at=1000)
    make_run(tmp_path / "d")
    (tmp_path / "a file").write_text("")
    assert newest_finished_run(tmp_path).path == tmp_path / "b"


@pytest.mark.parametrize("kind", ["no folder", "empty", "unfinished"])
def test_newest_finished_run_without_any_suggests_training(tmp_path: Path, kind: str) -> None:
    root = tmp_path / "runs"
    if kind != "no folder":
        root.mkdir()
    if kind == "unfinished":
        make_run(root / "a")
    with pytest.raises(RunError, match=r"no finished run under .*runs/: train one"):
        newest_finished_run(root)


def test_read_json_returns_the_content(tmp_path: Path) -> None:
    content = {"format_version": FORMAT_VERSION, "a": [1, None, "é"]}
    (tmp_path / "a.json").write_text(json.dumps(content))
    assert read_json(tmp_path / "a.json") == content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1', "expected JSON, got a damaged file"),
        (b"", "expected JSON, got a damaged file"),
        (b'{"a": "\xff"}', "expected JSON, got a damaged file"),
        (b"[1]", "expected a JSON object, got \\[1\\]"),
        (b"null", "expected a JSON object"),
        (b'{"format_version": %d}' % (FORMAT_VERSION + 1), "written by a newer nmt"),
        (b'{"format_version": "1"}', "format_version"),
        (b'{"format_version": null}', "format_version"),
    ],
)
def test_read_json_damaged_or_newer_file_is_named(
    tmp_path: Path, content: bytes, message: str
) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(RunError, match=message) as caught:
        read_json(tmp_path / "a.json")
    assert str(caught.value).startswith(f"{tmp_path / 'a.json'}: ")


def test_read_json_missing_file_reports_incomplete_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"state\.json: no such file; the run folder is incomplete"):
        read_json(tmp_path / "state.json")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("config.yaml", False),
        ("tokenizer.model", False),
        ("checkpoints/.step_00000001.9.nmt.tmp/x", False),
        ("metrics.jsonl", True),
        ("checkpoints/step_00000001/state.json", True),
        ("checkpoints/damaged_step_00000001/state.json", True),
    ],
)
def test_has_begun_requires_metrics_or_a_checkpoint(
    tmp_path: Path, name: str, expected: bool
) -> None:
    file = tmp_path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("")
    assert RunDir(tmp_path).has_begun() is expected
