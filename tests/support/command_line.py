"""Run `nmt` as in a shell, in this process or in a new one, and write its input files."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import torch
from typer.main import get_command

from nmt.cli.app import app

COMMAND = get_command(app)
"""The command line, built once for all commands: this takes as long as a short command."""
NMT = [sys.executable, "-m", "nmt"]
"""The command that starts nmt in a new process."""


@dataclass(frozen=True)
class Result:
    """Exit code, stdout and stderr of a command."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """The lines of stdout, split at LF only."""
        assert not self.out or self.out.endswith("\n")
        return self.out.split("\n")[:-1]


def nmt(*arguments: object, stdin: str | bytes | None = b"") -> Result:
    """Run a command in this process; exceptions other than SystemExit propagate.

    If `stdin` is None, the command has a closed stdin.
    """
    raw = stdin.encode() if isinstance(stdin, str) else stdin
    source = None if raw is None else io.TextIOWrapper(io.BytesIO(raw), encoding="utf-8")
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="\n") for _ in range(2))
    code = 0
    with (
        redirect_stdout(out),
        redirect_stderr(err),
        patch.object(sys, "stdin", source),
        patch.object(sys, "argv", ["nmt", *map(str, arguments)]),
    ):
        try:
            COMMAND()
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        finally:
            torch.set_num_threads(1)
    texts = []
    for stream in (out, err):
        stream.flush()
        texts.append(stream.buffer.getvalue().decode())  # type: ignore[attr-defined]
    return Result(code, *texts)


def assert_success(result: Result) -> Result:
    """Return the result of a command that succeeded; otherwise fail with its stderr."""
    assert result.code == 0, result.err
    return result


def translate_lines(run: Path, lines: list[str], *flags: object) -> list[str]:
    """Translate lines with `nmt translate`; return one output line per input line."""
    text = "".join(f"{line}\n" for line in lines)
    translations = assert_success(nmt("translate", "-m", run, *flags, stdin=text)).lines
    assert len(translations) == len(lines)
    return translations


def run_new_process(
    *arguments: object, stdin: bytes = b"", cwd: Path | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run a command in a new process until it ends."""
    return subprocess.run(
        [*NMT, *map(str, arguments)], input=stdin, capture_output=True, cwd=cwd, env=environment()
    )


def environment() -> dict[str, str]:
    """Return the environment of a new process: one thread, unbuffered output."""
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


def settings(**values: object) -> list[str]:
    """Return `--set` flags: train__lr=1 is --set train.lr=1."""
    return [
        word
        for name, value in values.items()
        for word in ("--set", f"{name.replace('__', '.')}={value}")
    ]


def write_lines(file: Path, lines: Iterable[str]) -> Path:
    """Write lines that end in LF, and create the parent folders; return the file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes("".join(f"{line}\n" for line in lines).encode())
    return file


def write_pairs(prefix: Path, pairs: Iterable[tuple[str, str]]) -> Path:
    """Write PREFIX.in and PREFIX.out; return the prefix."""
    pairs = list(pairs)
    write_lines(Path(f"{prefix}.in"), (src for src, _ in pairs))
    write_lines(Path(f"{prefix}.out"), (tgt for _, tgt in pairs))
    return prefix
