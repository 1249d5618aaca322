"""Commands find the model if `best` and `last` are links, files or copies, or are missing."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import nmt as package
from nmt.core.run_dir import RunDir
from nmt.training.checkpoints.checkpoint import describe_damage
from tests.support.command_line import assert_success, nmt, settings
from tests.support.tiny_runs import Tiny, make_tiny

FLAGS = settings(train__max_updates=4, train__validate_every=2, train__keep_last=2)
MORE = settings(train__max_updates=6, train__validate_every=2, train__keep_last=2)


@pytest.fixture(scope="module")
def trained_run(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """Train a run to its end; copy it before you change it."""
    tiny = make_tiny(tmp_path_factory.mktemp("trained"))
    assert_success(tiny.train(*FLAGS))
    return tiny


@pytest.fixture(scope="module")
def resumed_run(trained_run: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the run after two more updates."""
    run = tmp_path_factory.mktemp("resumed") / "run"
    shutil.copytree(trained_run.run, run, symlinks=True)
    assert_success(trained_run.train("--resume", *MORE, run=run))
    return run


def with_pointer_files(run: Path) -> None:
    for name in ("best", "last"):
        target = (run / name).readlink()
        (run / name).unlink()
        (run / name).write_text(f"{target}\n")


def with_copies(run: Path) -> None:
    for name in ("best", "last"):
        target = (run / name).resolve()
        (run / name).unlink()
        shutil.copytree(target, run / name)


def with_copies_only(run: Path) -> None:
    with_copies(run)
    shutil.rmtree(run / "checkpoints")


def without_pointers(run: Path) -> None:
    for name in ("best", "last"):
        (run / name).unlink()


@pytest.fixture(params=[with_pointer_files, with_copies, with_copies_only, without_pointers])
def copied_run(request: pytest.FixtureRequest, trained_run: Tiny, tmp_path: Path) -> Tiny:
    """Return a copy of the run with pointers as other file systems or programs write them."""
    run = tmp_path / "copy"
    shutil.copytree(trained_run.run, run, symlinks=True)
    change_pointers: Callable[[Path], None] = request.param
    change_pointers(run)
    return Tiny(trained_run.folder, trained_run.config, run)


def test_commands_with_pointers_of_any_kind_find_the_model(
    copied_run: Tiny, trained_run: Tiny
) -> None:
    text, test = (
        "1 2 3\n",
        ["--src", trained_run.folder / "valid.in", "--ref", trained_run.folder / "valid.out"],
    )
    expected = assert_success(nmt("translate", "-m", trained_run.run, stdin=text)).out
    assert assert_success(nmt("translate", "-m", copied_run.run, stdin=text)).out == expected
    assert package.load(copied_run.run).translate(["1 2 3"]) == [expected[:-1]]
    expected_scores = assert_success(
        nmt("score", "-m", trained_run.run, *pair_flags(trained_run))
    ).out
    assert (
        assert_success(nmt("score", "-m", copied_run.run, *pair_flags(trained_run))).out
        == expected_scores
    )
    best = (trained_run.run / "best").resolve().name
    report = copied_run.folder / "report.json"
    assert_success(nmt("evaluate", copied_run.run, *test, "-o", report))
    assert f'"{best}"' in report.read_text()
    [line] = assert_success(nmt("runs", copied_run.run, "--json")).lines
    assert '"state": "finished"' in line
    assert_success(nmt("average", copied_run.run, "-o", copied_run.run.parent / "mean"))


@pytest.mark.parametrize("name", ["best", "last"])
def test_evaluate_of_a_pointer_uses_its_checkpoint(
    copied_run: Tiny, trained_run: Tiny, name: str
) -> None:
    if not (copied_run.run / name).exists():
        pytest.skip("this copy has no pointers")
    report = copied_run.run.parent / "report.json"
    test = ["--src", trained_run.folder / "valid.in", "--ref", trained_run.folder / "valid.out"]
    assert_success(nmt("evaluate", copied_run.run / name, *test, "-o", report))
    assert f'"{(trained_run.run / name).resolve().name}"' in report.read_text()


def pair_flags(tiny: Tiny) -> list[object]:
    return ["--src", tiny.folder / "valid.in", "--tgt", tiny.folder / "valid.out"]


def test_resume_with_pointers_of_any_kind_continues(copied_run: Tiny, resumed_run: Path) -> None:
    assert_success(copied_run.train("--resume", *MORE))
    for name in ("best", "last"):
        assert (copied_run.run / name).is_symlink()
        assert (copied_run.run / name).resolve().name == (resumed_run / name).resolve().name
        for part in ("model", "optimizer"):
            file = f"{part}.safetensors"
            assert (copied_run.run / name / file).read_bytes() == (
                resumed_run / name / file
            ).read_bytes()


def test_resume_with_a_copy_that_differs_deletes_nothing(trained_run: Tiny, tmp_path: Path) -> None:
    run = tmp_path / "copy"
    shutil.copytree(trained_run.run, run, symlinks=False)
    shutil.copytree(
        trained_run.run / "checkpoints" / "step_00000002", run / "checkpoints" / "other"
    )
    step = (run / "checkpoints" / (trained_run.run / "last").resolve().name) / "model.safetensors"
    step.write_bytes(step.read_bytes()[:-1] + b"x")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    result = trained_run.train("--resume", *MORE, run=run)
    assert result.code == 2
    assert "expected a link to a checkpoint or a copy of" in result.err
    for path, content in before.items():
        assert path.name == "train.log" or path.read_bytes() == content


def test_train_folder_with_copied_checkpoint_is_refused(trained_run: Tiny, tmp_path: Path) -> None:
    run = tmp_path / "copy"
    run.mkdir()
    shutil.copy(trained_run.run / "config.yaml", run)
    shutil.copytree(trained_run.run / "best", run / "best")
    result = trained_run.train(run=run)
    assert result.code == 2
    assert "got one with a run" in result.err


@pytest.mark.parametrize("content", ["", "/etc/passwd", "../other", "checkpoints/step_1\nx"])
@pytest.mark.parametrize("flag", ["--overwrite", "--resume"])
def test_pointer_file_with_other_content_is_refused(
    trained_run: Tiny, tmp_path: Path, content: str, flag: str
) -> None:
    run = tmp_path / "copy"
    shutil.copytree(trained_run.run, run, symlinks=True)
    (run / "best").unlink()
    (run / "best").write_text(content)
    result = nmt("translate", "-m", run, stdin="1\n")
    assert result.code == 2
    assert f"error: {run / 'best'}: expected the path of a checkpoint such as" in result.err
    assert trained_run.train(flag, *MORE, run=run).code == 2
    assert (run / "best").read_text() == content


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL])
def test_train_without_symbolic_links_writes_pointer_files(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def no_links(source: object, target: object, *_: object) -> None:
        raise OSError(code, os.strerror(code), str(target))

    monkeypatch.setattr(os, "symlink", no_links)
    assert_success(tiny.train("--dry-run"))
    assert_success(tiny.train(*FLAGS))
    assert_success(tiny.train("--resume", *MORE))
    run = RunDir(tiny.run)
    assert (tiny.run / "last").read_text() == "checkpoints/step_00000006\n"
    for pointer in (run.best, run.last):
        assert not pointer.is_symlink()
        assert describe_damage(run.resolve_pointer(pointer)) is None
    assert_success(nmt("translate", "-m", tiny.run, stdin="1 2\n"))
    assert_success(nmt("average", tiny.run, "-o", tiny.folder / "mean"))
    assert_success(nmt("translate", "-m", tiny.folder / "mean", stdin="1 2\n"))
    monkeypatch.undo()
    assert_success(tiny.train("--resume", *settings(train__max_updates=7)))
    assert (tiny.run / "last").is_symlink()
    assert_success(tiny.train("--overwrite"))
