"""Guarantee 6: a full disk loses nothing."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
from itertools import count
from pathlib import Path

import pytest

from nmt.core import files
from nmt.core.run_dir import RunDir
from nmt.errors import DiskFullError
from nmt.training.checkpoints import checkpoint
from nmt.training.trainer import Trainer
from tests.support.command_line import assert_success, nmt, settings
from tests.support.disk_faults import disk_hook
from tests.support.promises.saved_runs import (
    CHANGES,
    advance,
    checkpoint_bytes,
    make_saving_trainer,
    resume_run,
    temporary_files,
    validate,
)
from tests.support.tiny_runs import Tiny, make_tiny

STEP_INTERVAL = 3
"""Distance of the failing operations of a save; the long test fails each operation."""


class FullAfter:
    """Allows a number of operations that need disk space, and fails all later ones."""

    def __init__(self, free_writes: int) -> None:
        self.free_writes = free_writes

    def __call__(self, name: str) -> None:
        when, step, path = name.split(" ", 2)
        if when == "before" and (step in CHANGES or (step == "fsync" and Path(path).is_file())):
            self.free_writes -= 1
            if self.free_writes < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def save_error(trainer: Trainer, hook: FullAfter) -> str | None:
    """Save; return the error message, if any."""
    try:
        with disk_hook(hook):
            trainer.save()
    except DiskFullError as error:
        return str(error)
    return None


def fill_at_each_step(folder: Path, step: int) -> None:
    """Save repeatedly, each time with a full disk from a later operation on."""
    trainer = make_saving_trainer(folder / "run")
    for score in (2.0, 1.0):
        advance(trainer)
        validate(trainer, score)
    original, old = trainer.run.path, checkpoint_bytes(trainer)
    contents = {file: file.read_bytes() for file in original.rglob("*") if file.is_file()}
    advance(trainer)
    state, num_failures = json.dumps(vars(trainer.state)), 0
    for free_writes in count(0, step):
        run = RunDir(shutil.copytree(original, folder / f"full_{free_writes}", symlinks=True))
        trainer.run = trainer.checkpointer.run = run
        vars(trainer.state).update(json.loads(state))
        message = save_error(trainer, FullAfter(free_writes))
        if message is None:
            break
        num_failures += 1
        assert "No space left on device" in message
        assert message.startswith(str(run.path)), "the file is named"
        assert "--resume" not in message, "only training can be resumed"
        assert temporary_files(run) == [], "no temporary file takes up disk space"
        for file, content in contents.items():
            if "checkpoints" in file.parts:
                assert (run.path / file.relative_to(original)).read_bytes() == content
        fresh, messages = make_saving_trainer(folder / "fresh"), list[str]()
        assert resume_run(run, fresh, messages) in (2, 3)
        assert messages == []
        assert checkpoint_bytes(fresh) in (old, checkpoint_bytes(trainer))
        shutil.rmtree(run.path)
    assert num_failures * step > 20


def test_save_full_disk_keeps_earlier_checkpoints(tmp_path: Path) -> None:
    fill_at_each_step(tmp_path, STEP_INTERVAL)


@pytest.mark.slow
def test_save_full_disk_at_every_step_keeps_checkpoints(tmp_path: Path) -> None:
    fill_at_each_step(tmp_path, 1)


@pytest.fixture
def tiny(tmp_path: Path) -> Tiny:
    return make_tiny(tmp_path)


def test_train_without_space_for_two_checkpoints_is_refused(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_success(tiny.train(run=tiny.folder / "other"))
    size = sum(file.stat().st_size for file in (tiny.folder / "other" / "last").iterdir())

    def train_with(free: float) -> object:
        usage = shutil._ntuple_diskusage(10**12, 0, int(free))
        monkeypatch.setattr(checkpoint.shutil, "disk_usage", lambda path: usage)
        return tiny.train("--resume")

    result = train_with(size)
    assert result.code == 2
    assert "two checkpoints must fit on the disk: expected " in result.err
    assert "free some space, or name another folder with --run" in result.err
    assert not tiny.run.joinpath("metrics.jsonl").exists()
    assert not tiny.run.joinpath("checkpoints").exists()
    assert assert_success(train_with(2.1 * size)).code == 0


def test_train_full_disk_ends_cleanly_and_resumes_later(tiny: Tiny) -> None:
    flags = settings(train__max_updates=6, train__save_every=2, train__validate_every=100)
    assert_success(tiny.train(*flags, run=tiny.folder / "clean"))
    writes = 0

    def fail_writes(name: str) -> None:
        nonlocal writes
        writes += "step_00000004" in name and name.startswith("before write")
        if writes > 2 and name.startswith("before write"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with disk_hook(fail_writes):
        result = tiny.train(*flags)
    assert result.code == 2
    assert "Traceback" not in result.err
    [error] = [line for line in result.err.split("\n") if line.startswith("error: ")]
    assert "No space left on device" in error
    assert error.startswith(f"error: {tiny.run / 'checkpoints' / 'step_00000004'}")
    assert "then continue with `nmt train` and --resume" in error
    assert assert_success(nmt("translate", "-m", tiny.run, stdin="1 2\n")).lines
    assert "resumed after update 2\n" in assert_success(tiny.train(*flags, "--resume")).err
    for file in (tiny.folder / "clean" / "last").glob("*.safetensors"):
        assert (tiny.run / "last" / file.name).read_bytes() == file.read_bytes()


def test_resume_full_disk_names_the_file(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_success(tiny.train())

    class Full(io.FileIO):
        def write(self, content: object) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files, "_open_locked", lambda path: Full(path, "ab"))
    result = tiny.train("--resume", *settings(train__max_updates=3))
    assert result.code == 2
    [error] = result.err.split("\n")[-2:-1]
    assert error.startswith(f"error: {tiny.run / 'train.lock'}: cannot be written: No space left")


def test_translate_full_disk_does_not_advise_resume(tiny: Tiny) -> None:
    assert_success(tiny.train())
    output = tiny.folder / "output"
    with disk_hook(FullAfter(0)):
        result = nmt("translate", "-m", tiny.run, "-o", output, stdin="1 2\n")
    assert result.code == 2
    assert f"error: {output}: cannot be written: No space left on device" in result.err
    assert "--resume" not in result.err
    assert not output.exists()
