"""Score lines by an external command, such as `comet-score`.

COMET runs in a process of its own, so that nmt does not depend on its libraries.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence

from nmt.core import files
from nmt.errors import ConfigError, DataError, show_value

PLACEHOLDERS = ("{src}", "{hyp}", "{ref}")
"""Replaced in the command by the paths of the sources, the hypotheses and the references."""
SCORE = re.compile(r"(?<![\w.,])([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*$")
"""A number at the end of a line."""
SEGMENT_LINE = re.compile(r"Segment\s+\d+\s+score:")
"""Lines of `comet-score` with the score of one hypothesis; it also prints a score of all."""
MAX_ERROR_CHARACTERS = 300
"""Maximum number of characters of stderr in an error message."""


def parse_comet_command(command: str) -> list[str]:
    """Return the program and the arguments of `--comet-command`, with placeholders.

    Raises ConfigError if the command has no {hyp}, or if its program does not exist.
    """
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


def score_with_command(
    command: Sequence[str],
    sources: Sequence[str] | None,
    hypotheses: Sequence[str],
    references: Sequence[str],
) -> list[float]:
    """Return the scores that a command prints, one for each hypothesis.

    `command` comes from `parse_comet_command`; paths of files replace its placeholders. A score is
    the number at the end of an output line. If the output has lines of SEGMENT_LINE, only these
    count. Raises ConfigError if the command needs sources and there are none, and DataError if it
    fails or does not print one score per hypothesis.
    """
    texts = dict(zip(PLACEHOLDERS, (sources, hypotheses, references), strict=True))
    with files.temporary_folder() as folder:
        paths = {}
        for placeholder, lines in texts.items():
            if lines is None and any(placeholder in word for word in command):
                raise ConfigError(
                    [f"--comet-command: expected a source for {placeholder}, got none"]
                )
            file = folder / placeholder.strip("{}")
            files.write_text(file, "".join(f"{line}\n" for line in lines or ()))
            paths[placeholder] = str(file)
        arguments = [_replace_placeholders(word, paths) for word in command]
        process = subprocess.run(arguments, capture_output=True, encoding="utf-8", errors="replace")
    if process.returncode:
        message = process.stderr.strip()[-MAX_ERROR_CHARACTERS:] or "no message on stderr"
        raise DataError(
            f"--comet-command: {arguments[0]} exited with code {process.returncode}: {message}"
        )
    output_lines = process.stdout.splitlines()
    score_lines = [line for line in output_lines if SEGMENT_LINE.search(line)] or output_lines
    scores = [float(match.group(1)) for line in score_lines if (match := SCORE.search(line))]
    if len(scores) != len(hypotheses):
        raise DataError(
            f"--comet-command: expected one number for each of {len(hypotheses)} lines, "
            f"got {len(scores)}"
        )
    return scores


def _replace_placeholders(word: str, paths: Mapping[str, str]) -> str:
    for placeholder, path in paths.items():
        word = word.replace(placeholder, path)
    return word
