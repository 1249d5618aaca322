"""Checks of the standard streams and of the working directory."""

from __future__ import annotations

import io
import os
import re
import sys
from pathlib import Path
from typing import Any, cast

from nmt.errors import DataError, RunError

STREAM_NAMES = ("stdin", "stdout", "stderr")
MAX_LINKS = 40
"""Maximum number of consecutive links to follow, as in Linux."""
STANDARD_STREAMS = {f"/dev/{name}": f"/dev/fd/{n}" for n, name in enumerate(STREAM_NAMES)}
DESCRIPTOR = re.compile(r"/(?:dev|proc/(self|thread-self|\d+)(?:/task/\d+)?)/fd/(\d+)")


class _ClosedInput(io.RawIOBase):
    """A replacement of a closed stdin, which raises DataError when it is read."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        raise DataError("stdin: expected text, got a closed stream (name a file, or pipe text in)")


def check_streams() -> None:
    """Raise RunError if stdout is closed or the working directory was deleted.

    A closed stdin is an error only for a command that reads it. Closed descriptors are connected
    to the null device first, so that no file that is opened later gets one of their numbers.
    """
    for number in range(3):
        if not _is_open(number):
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
    if cast(Any, sys.stderr) is None:
        sys.stderr = os.fdopen(2, "w", closefd=False)
    if cast(Any, sys.stdin) is None:
        sys.stdin = io.TextIOWrapper(io.BufferedReader(_ClosedInput()))
    if cast(Any, sys.stdout) is None:
        raise RunError("stdout: expected an open stream, got a closed one (redirect it to a file)")
    try:
        os.getcwd()
    except FileNotFoundError:
        raise RunError(
            "working directory: expected a folder, got one that was deleted (change to another)"
        ) from None


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def find_descriptor(path: Path) -> tuple[str | None, int] | None:
    """Return the (process, number) of the descriptor that a path names, following links.

    The process is None if it is this process. Returns None if the path names no descriptor.
    """
    for _ in range(MAX_LINKS):
        name = os.path.abspath(path)
        name = STANDARD_STREAMS.get(name, name)
        if match := DESCRIPTOR.fullmatch(name):
            own = match[1] in (None, "self", "thread-self", str(os.getpid()))
            return None if own else match[1], int(match[2])
        if not path.is_symlink():
            return None
        path = path.parent / os.readlink(path)
    return None
