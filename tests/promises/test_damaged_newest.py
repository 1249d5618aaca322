"""Guarantee 5: a damaged newest checkpoint is skipped, and training does not restart."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from nmt.core.run_dir import RunDir
from tests.support.command_line import assert_success, nmt, settings
from tests.support.promises.saved_runs import (
    advance,
    checkpoint_bytes,
    make_saving_trainer,
    resume_run,
    validate,
)
from tests.support.tiny_runs import make_tiny

FILES = ["manifest.json", "model.safetensors", "optimizer.safetensors", "state.json"]


def flip(file: Path, rng: random.Random) -> None:
    content = bytearray(file.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    file.write_bytes(content)


def truncate(file: Path, rng: random.Random) -> None:
    """Remove at least two bytes at the end, because JSON is complete without its last LF."""
    content = file.read_bytes()
    file.write_bytes(content[: rng.randrange(len(content) - 1)])


def zero_fill(file: Path, rng: random.Random) -> None:
    content = file.read_bytes()
    begin = rng.randrange(len(content) // 2)
    file.write_bytes(content[:begin] + bytes(len(content) - begin))


def delete(file: Path, rng: random.Random) -> None:
    file.unlink()


def check_damage(folder: Path, rng: random.Random, rounds: int) -> None:
    """Damage each file of the newer of two checkpoints in each way, `rounds` times."""
    trainer = make_saving_trainer(folder / "run", train__keep_last=2)
    for score in (1.0, 2.0):
        advance(trainer)
        validate(trainer, score)
        if score == 1.0:
            older = checkpoint_bytes(trainer)
    original, fresh = trainer.run.path, make_saving_trainer(folder / "fresh")
    damages: list[Callable[[Path, random.Random], None]] = [flip, truncate, zero_fill, delete]
    for damage in damages:
        for name in FILES * rounds:
            run = RunDir(shutil.copytree(original, folder / "damaged", symlinks=True))
            file = run.checkpoint(2) / name
            damage(file, rng)
            names = sorted(path.name for path in file.parent.iterdir())
            messages: list[str] = []
            assert resume_run(run, fresh, messages) == 1, (damage.__name__, name)
            assert checkpoint_bytes(fresh) == older
            assert str(run.checkpoint(2)) in messages[0], "the reason names the file"
            damaged_folder = run.checkpoints / "damaged_step_00000002"
            assert run.damaged_checkpoints() == [damaged_folder]
            assert str(damaged_folder) in messages[1]
            assert sorted(path.name for path in damaged_folder.iterdir()) == names, (
                "nothing is deleted"
            )
            assert run.best.resolve() == run.last.resolve() == run.checkpoint(1).resolve()
            assert resume_run(run, fresh, repeat_messages := []) == 1
            assert repeat_messages == []
            shutil.rmtree(run.path)


def test_resume_damaged_file_uses_older_checkpoint(tmp_path: Path) -> None:
    check_damage(tmp_path, random.Random(1), rounds=2)


@pytest.mark.slow
def test_resume_many_kinds_of_damage_use_older_checkpoint(tmp_path: Path) -> None:
    check_damage(tmp_path, random.Random(2), rounds=200)


def test_train_damaged_checkpoint_warns_and_ends_equal(tmp_path: Path) -> None:
    tiny = make_tiny(tmp_path)
    flags = settings(train__validate_every=2, train__keep_last=2)
    assert_success(tiny.train(*flags, *settings(train__max_updates=6), run=tmp_path / "clean"))
    assert_success(tiny.train(*flags, *settings(train__max_updates=4)))
    flip(tiny.run / "last" / "optimizer.safetensors", random.Random(3))
    newest = (tiny.run / "last").resolve()
    result = assert_success(tiny.train(*flags, *settings(train__max_updates=6), "--resume"))
    assert (
        f"warning: {newest}/optimizer.safetensors: expected the content that manifest.json records"
        in result.err
    )
    assert "resumed after update 2\n" in result.err
    assert (newest.parent / f"damaged_{newest.name}").is_dir()
    assert "damaged_step_00000004" in (tiny.run / "train.log").read_text()
    for file in (tmp_path / "clean" / "last").glob("*.safetensors"):
        assert (tiny.run / "last" / file.name).read_bytes() == file.read_bytes()


def test_resume_with_all_damaged_checkpoints_lists_each(tmp_path: Path) -> None:
    tiny = make_tiny(tmp_path)
    flags = settings(train__validate_every=1, train__keep_last=3, train__max_updates=3)
    assert_success(tiny.train(*flags))
    folders = sorted((tiny.run / "checkpoints").iterdir())
    assert len(folders) == 3
    for folder, name in zip(folders, FILES[1:], strict=True):
        flip(folder / name, random.Random(4))
    before = {p: p.read_bytes() for p in tiny.run.rglob("*") if p.is_file() and p.suffix != ".log"}
    for _ in range(2):
        result = tiny.train(*flags, "--resume")
        assert result.code == 2
        assert "expected an intact checkpoint to resume from" in result.err
        for folder, name in zip(folders, FILES[1:], strict=True):
            assert (
                f"error: {folder / name}: expected the content that manifest.json records"
                in result.err
            )
        assert "start again with --overwrite" in result.err
        assert before == {p: p.read_bytes() for p in before}
    for folder in folders:
        folder.rename(folder.with_name(f"damaged_{folder.name}"))
    result = tiny.train(*flags, "--resume")
    assert result.code == 2
    assert result.err.count("set aside before") == 3
    assert nmt("translate", "-m", tiny.run, stdin="1\n").code == 2
    assert_success(tiny.train(*flags, "--overwrite"))
    assert (tiny.run / "last").exists()
