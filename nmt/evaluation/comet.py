"""COMET, or any other metric, through an outside process: never a library of ours."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence

from nmt.core import files
from nmt.errors import ConfigError, DataError, show_value

PLACES = ("{src}", "{hyp}", "{ref}")
SAID = re.compile(r"(?<![\w.,])([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*$")
COMET_LINE = re.compile(r"Segment\s+\d+\s+score:")
SHOWN = 300


def check_command(command: str) -> list[str]:
    """Return the words of a command; ConfigError unless it says where hypotheses go."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise ConfigError(
            [f"--comet-command: expected a command line, got {show_value(command)}: {error}"]
        ) from None
    if not any("{hyp}" in word for word in words):
        raise ConfigError(
            [
                "--comet-command: expected a command with {hyp}, such as "
                f"'comet-score -s {{src}} -t {{hyp}} -r {{ref}}', got {show_value(command)}"
            ]
        )
    if shutil.which(words[0]) is None:
        raise ConfigError([f"--comet-command: {words[0]}: no such command"])
    return words


def line_scores(
    words: Sequence[str], src: Sequence[str] | None, hyp: Sequence[str], ref: Sequence[str]
) -> list[float]:
    """Return what a command says of each line: the numbers that its lines of output end in.

    Of `comet-score` the lines of segments count, and not those of systems.
    """
    with files.scratch_folder() as folder:
        there = {}
        for place, lines in zip(PLACES, (src, hyp, ref), strict=True):
            if lines is None and any(place in word for word in words):
                raise ConfigError([f"--comet-command: asks for {place}, and there is no source"])
            file = folder / place.strip("{}")
            files.write_text(file, "".join(f"{line}\n" for line in lines or ()))
            there[place] = str(file)
        full = [_filled(word, there) for word in words]
        done = subprocess.run(full, capture_output=True, encoding="utf-8", errors="replace")
    if done.returncode:
        raise DataError(
            f"--comet-command: {full[0]} ended with {done.returncode}: "
            f"{done.stderr.strip()[-SHOWN:] or 'no word on stderr'}"
        )
    said = done.stdout.splitlines()
    segments = [line for line in said if COMET_LINE.search(line)] or said
    found = [match for line in segments if (match := SAID.search(line))]
    if len(found) != len(hyp):
        raise DataError(
            f"--comet-command: expected one number for each of {len(hyp)} lines, got {len(found)}"
        )
    return [float(match.group(1)) for match in found]


def _filled(word: str, there: dict[str, str]) -> str:
    for place, file in there.items():
        word = word.replace(place, file)
    return word
