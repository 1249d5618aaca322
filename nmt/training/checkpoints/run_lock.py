"""One process at a time trains in a run folder; and what an error that ends it leaves behind."""

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
    """Keep other processes from training in the folder; RunError where one does already."""
    lock_holder = f"process {os.getpid()} on {socket.gethostname()}"
    with ExitStack() as stack:
        try:
            stack.enter_context(files.hold_lock(run.lock, lock_holder))
        except BlockingIOError:
            raise _taken(run) from None
        yield


def check_unlocked(run: RunDir) -> None:
    """Raise RunError where a process trains in the folder."""
    if files.is_locked(run.lock):
        raise _taken(run)


def lock_holder(run: RunDir) -> str:
    """Return which process holds the folder, or did when it was killed; "" where none says so."""
    with suppress(OSError):
        return run.lock.read_text(encoding="utf-8", errors="replace")
    return ""


def _taken(run: RunDir) -> RunError:
    who = lock_holder(run) or "another process"
    return RunError(
        f"{run.path}: {who} is training in it; wait for its end, or name another folder with --run"
    )


@contextmanager
def record_failure(run: RunDir) -> Iterator[None]:
    """Write the error that ends the block, if one does, into the run folder."""
    try:
        yield
    except Exception as error:
        words = str(error) if isinstance(error, NMTError) else f"{type(error).__name__}: {error}"
        with suppress(OSError, DiskFullError):  # a full disk may be the very error
            files.write_text(run.failed, json.dumps({"error": words}) + "\n")
        raise


@contextmanager
def advise_resume() -> Iterator[None]:
    """Add to the error of a full disk how training continues."""
    try:
        yield
    except DiskFullError as error:
        advice = "free some space, then continue with `nmt train` and --resume)"
        raise DiskFullError(f"{str(error).rpartition('; ')[0]}; {advice}") from None
