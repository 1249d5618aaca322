"""Run a command of nmt in this process, and check how it ends."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from unittest.mock import patch

import torch

from nmt import errors
from tests.support.command_line import COMMAND

TIME_LIMIT = 10
"""Seconds after which a command counts as hanging."""
CODES = {value for name, value in vars(errors).items() if name.startswith("EXIT_")}


class Hang(BaseException):
    """A command took longer than TIME_LIMIT."""


@dataclass(frozen=True)
class CommandResult:
    """Exit code and output of a command."""

    code: int
    out: bytes
    err: str


def run_command(
    arguments: list[str], stdin: bytes, folder: Path, limit: int = TIME_LIMIT
) -> CommandResult:
    """Run a command in this process, in a folder; exceptions other than exits propagate."""
    out, err = (
        io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace", newline="\n")
        for _ in range(2)
    )
    code: object = 0
    before = Path.cwd()
    os.chdir(folder)
    try:
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8")),
            patch.object(sys, "argv", ["nmt", *arguments]),
            alarm(limit),
        ):
            try:
                COMMAND()
            except SystemExit as exit_:
                code = exit_.code
    finally:
        os.chdir(before)
        torch.set_num_threads(1)
    for stream in (out, err):
        stream.flush()
    stderr_text = err.buffer.getvalue().decode()  # type: ignore[attr-defined]
    return CommandResult(int(str(code or 0)), out.buffer.getvalue(), stderr_text)  # type: ignore[attr-defined]


@contextlib.contextmanager
def alarm(seconds: int) -> Iterator[None]:
    """Raise Hang in a block that takes too long."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise Hang

    previous_handler = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous_handler)


def check_command(
    arguments: list[str], stdin: bytes, folder: Path, limit: int = TIME_LIMIT
) -> CommandResult:
    """Run a command and check that it ends as documented."""
    result = run_command(arguments, stdin, folder, limit)
    assert result.code in CODES, (result.code, result.err)
    assert "Traceback" not in result.err, result.err
    if result.code == errors.EXIT_USER_ERROR:
        assert "error:" in result.err.lower(), result.err
    return result
