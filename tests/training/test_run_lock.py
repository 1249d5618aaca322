"""The lock of a run folder, and the record of the error that ended training."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from nmt.core import files
from nmt.core.run_dir import RunDir
from nmt.errors import RunError
from nmt.training.checkpoints.run_lock import check_unlocked, lock_holder, lock_run, record_failure


def test_lock_run_excludes_others_until_released(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "deep" / "run")
    check_unlocked(run)
    with lock_run(run):
        assert lock_holder(run).startswith("process ")
        message = (
            rf"{run.path}: process \d+ on .* is training in this folder; wait .* or name another"
        )
        with pytest.raises(RunError, match=message), lock_run(run):
            pass
        with pytest.raises(RunError, match=message):
            check_unlocked(run)
    check_unlocked(run)
    assert list(run.path.iterdir()) == []
    with lock_run(run):
        pass


def test_lock_run_replaces_lock_of_killed_process(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    run.lock.write_text("process 7 on elsewhere")
    check_unlocked(run)
    with lock_run(run):
        assert "elsewhere" not in lock_holder(run)
    assert not run.lock.exists()


def test_lock_run_blocking_error_inside_is_raised(tmp_path: Path) -> None:
    with pytest.raises(BlockingIOError), lock_run(RunDir(tmp_path)):
        raise BlockingIOError(errno.EAGAIN, "from within")


@pytest.mark.parametrize(
    ("error", "words"),
    [(RunError("weights broke"), "weights broke"), (ValueError("odd"), "ValueError: odd")],
)
def test_record_failure_writes_and_raises_error(
    tmp_path: Path, error: Exception, words: str
) -> None:
    run = RunDir(tmp_path)
    with pytest.raises(type(error)), record_failure(run):
        raise error
    assert json.loads(run.failed.read_text()) == {"error": words}


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit, None])
def test_record_failure_ignores_exits_and_success(
    tmp_path: Path, end: type[BaseException] | None
) -> None:
    run = RunDir(tmp_path)
    if end is None:
        with record_failure(run):
            pass
    else:
        with pytest.raises(end), record_failure(run):
            raise end
    assert not run.failed.exists()


def test_record_failure_on_full_disk_raises_first_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raise_disk_full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "write_text", raise_disk_full)
    with pytest.raises(RunError, match="weights broke"), record_failure(RunDir(tmp_path)):
        raise RunError("weights broke")
