"""Commands accept a run folder, or the config in it, in place of a config."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.command_line import Result, assert_success, nmt, settings
from tests.support.tiny_runs import Tiny

MORE = ["--resume", *settings(train__max_updates=3)]


@pytest.fixture
def trained_run(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> Tiny:
    assert_success(tiny.train())
    monkeypatch.chdir(tiny.folder)
    return tiny


def train(path: Path, *flags: str) -> Result:
    return nmt("train", path, "--device", "cpu", *flags)


@pytest.mark.parametrize("name", ["", "config.yaml"])
def test_train_with_a_run_folder_resumes_the_run(trained_run: Tiny, name: str) -> None:
    result = assert_success(train(trained_run.run / name, *MORE))
    assert "resumed after update 2\n" in result.err
    assert (trained_run.run / "last").resolve().name == "step_00000003"
    assert not (trained_run.folder / "runs").exists()


def test_train_with_a_run_folder_without_resume_is_refused(trained_run: Tiny) -> None:
    result = train(trained_run.run)
    assert result.code == 2
    assert (
        f"error: {trained_run.run}: expected a new run folder, got one with a run (--resume"
        in result.err
    )


def test_train_with_a_moved_run_folder_resumes_there(trained_run: Tiny) -> None:
    """The key `run` of its config may still name the earlier folder."""
    assert_success(train(trained_run.run, *MORE, *settings(run=trained_run.run)))
    moved = trained_run.folder / "moved"
    shutil.copytree(trained_run.run, moved, symlinks=True)
    for path in (moved, moved / "config.yaml"):
        assert_success(train(path, "--resume", *settings(train__max_updates=4)))
    assert (moved / "last").resolve().name == "step_00000004"
    assert (trained_run.run / "last").resolve().name == "step_00000003"


def test_train_with_run_flag_starts_another_run(trained_run: Tiny) -> None:
    assert_success(train(trained_run.run, "--run", str(trained_run.folder / "other")))
    assert (trained_run.folder / "other" / "last").resolve().name == "step_00000002"


def test_train_config_of_a_project_uses_default_run_folder(trained_run: Tiny) -> None:
    project = trained_run.folder / "project"
    project.mkdir()
    for file in (trained_run.config, trained_run.run / "config.yaml"):
        shutil.copy(file, project / "config.yaml")
        before = (project / "config.yaml").read_bytes()
        absolute = settings(
            data__train=f"[{trained_run.folder / 'train'}]",
            data__valid=trained_run.folder / "valid",
        )
        assert_success(train(project / "config.yaml", *absolute, "--overwrite"))
        assert (trained_run.folder / "runs" / "config" / "last").exists()
        assert [path.name for path in project.iterdir()] == ["config.yaml"]
        assert (project / "config.yaml").read_bytes() == before


def test_train_folder_without_run_is_refused(trained_run: Tiny) -> None:
    project = trained_run.folder / "project"
    project.mkdir()
    result = train(project)
    assert (result.code, result.err) == (
        2,
        f"error: {project}: expected a config (.yaml) or a run folder, got a folder without "
        "config.yaml\n",
    )
    shutil.copy(trained_run.config, project / "config.yaml")
    result = train(project)
    assert result.code == 2
    assert f"that nmt did not write (name the file, {project / 'config.yaml'})\n" in result.err


@pytest.mark.parametrize("command", ["tokenizer", "prepare"])
def test_stage_with_a_run_folder_uses_that_folder(trained_run: Tiny, command: str) -> None:
    result = assert_success(nmt(command, trained_run.run))
    assert "tokenizer: unchanged, kept" in result.err
    assert not (trained_run.folder / "runs").exists()


def test_check_clean_and_show_accept_a_run_folder(trained_run: Tiny) -> None:
    assert (
        nmt("check", trained_run.run).out == nmt("check", trained_run.run / "config.yaml").out != ""
    )
    output = assert_success(nmt("config", "show", trained_run.run)).out
    assert output == (trained_run.run / "config.yaml").read_text()
    clean = settings(data__clean="{copies: true}")
    assert_success(nmt("clean", trained_run.run, "-o", trained_run.folder / "cleaned", *clean))
    assert (trained_run.folder / "cleaned.in").is_file()
