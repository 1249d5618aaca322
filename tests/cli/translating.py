"""Translate lines by the command line."""

from __future__ import annotations

from pathlib import Path

from commandline import done, nmt


def translate_lines(run: Path, lines: list[str], *flags: object) -> list[str]:
    """Return the output lines of `nmt translate` for lines on stdin, one for each."""
    text = "".join(f"{line}\n" for line in lines)
    translations = done(nmt("translate", "-m", run, *flags, stdin=text)).lines
    assert len(translations) == len(lines)
    return translations
