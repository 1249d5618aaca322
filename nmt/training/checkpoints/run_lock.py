"""Lock a run folder for training, and record the error that ends training."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from nmt.core import files
from nmt.core.run_dir import RunDir
from nmt.errors import DiskFullError, NMTError, RunError


@contextmanager
def lock_run(run: RunDir) -> Iterator[None]:
    """Lock the run folder within the block. Raises RunError if another process has locked it."""
    lock_holder = f"process {os.getpid()} on {socket.gethostname()}"
    with ExitStack() as stack:
        try:
            stack.enter_context(files.hold_lock(run.lock, lock_holder))
        except BlockingIOError:
            raise _locked_error(run) from None
        yield


def check_unlocked(run: RunDir) -> None:
    """Raise RunError if a process trains in the run folder."""
    if files.is_locked(run.lock):
        raise _locked_error(run)


def lock_holder(run: RunDir) -> str:
    """Return the process that holds the lock, or held it when it was killed; "" if unknown."""
    with suppress(OSError):
        return run.lock.read_text(encoding="utf-8", errors="replace")
    return ""


def _locked_error(run: RunDir) -> RunError:
    process = lock_holder(run) or "another process"
    return RunError(
        f"{run.path}: {process} is training in this folder; wait for its end, or name another "
        "folder with --run"
    )


@contextmanager
def record_failure(run: RunDir) -> Iterator[None]:
    """If an error ends the block, write it to the run folder."""
    try:
        yield
    except Exception as error:
        is_known = isinstance(error, NMTError)
        message = str(error) if is_known else f"{type(error).__name__}: {error}"
        with suppress(OSError, DiskFullError):  # the error itself may be a full disk
            files.write_text(run.failed, json.dumps({"error": message}) + "\n")
        raise


@contextmanager
def advise_resume() -> Iterator[None]:
    """Add advice on how to continue training to the error of a full disk."""
    try:
        yield
    except DiskFullError as error:
        advice = "free some space, then continue with `nmt train` and --resume)"
        raise DiskFullError(f"{str(error).rpartition('; ')[0]}; {advice}") from None
