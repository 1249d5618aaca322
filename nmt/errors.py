"""The errors that users can cause or fix, and the exit codes of the command line.

    NMTError                 printed as one red line without traceback, exit code 2
    ├── ConfigError          invalid settings, with all problems and their origins
    ├── DataError            an invalid text file, corpus or tokenizer
    ├── RunError             a missing, invalid or damaged run folder
    ├── DiskFullError        a full disk or an exceeded quota
    ├── DeviceError          a device or precision that this machine does not support
    └── WorkerError          a lost process of a job

All other exceptions are defects of nmt and keep their traceback.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Sequence

EXIT_OK = 0
EXIT_FAULTS_FOUND = 1
EXIT_USER_ERROR = 2
EXIT_REQUEUE = 85
"""Training was stopped by SIGUSR1, which schedulers send before a time limit; use --resume."""
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143


class NMTError(Exception):
    """An error with a message of the form `where: expected X, got Y (suggestion)`."""


class ConfigError(NMTError):
    """One or more invalid settings; the message has one line per problem."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))

    def __reduce__(self) -> tuple[type[ConfigError], tuple[list[str]]]:
        """Return how to make the error again in another process."""
        return type(self), (self.problems,)


class DataError(NMTError):
    """A text file, a corpus or a tokenizer is invalid."""


class RunError(NMTError):
    """A run folder is missing, invalid, damaged, or contains files of the user."""


class DiskFullError(NMTError):
    """A file could not be written because the disk is full; its previous content is intact."""


class DeviceError(NMTError):
    """The machine does not support the requested device or precision."""


class WorkerError(NMTError):
    """A process of a job was lost."""


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Return " (did you mean 'x'?)" for the choice most similar to `word`; "" without one."""
    matches = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.5)
    return f" (did you mean '{matches[0]}'?)" if matches else ""


MAX_CHOICES = 20
"""Maximum number of choices that an error message lists."""
NEAREST_CHOICES = 5
"""Number of choices that an error message names if there are too many to list."""


def one_of(choices: Sequence[str], word: str = "") -> str:
    """Return "one of a, b"; of many choices only those that are most similar to `word`.

    Choices with the same first two letters come first.
    """
    if len(choices) <= MAX_CHOICES:
        return f"one of {', '.join(choices)}"

    def similarity(choice: str) -> tuple[bool, float]:
        ratio = difflib.SequenceMatcher(None, word, choice).ratio()
        return choice[:2].lower() == word[:2].lower(), ratio

    nearest = sorted(choices, key=similarity, reverse=True)[:NEAREST_CHOICES]
    return f"one of {len(choices)} values such as {', '.join(nearest)}"


MAX_VALUE_LENGTH = 80
"""Maximum number of characters of a value in an error message."""


def show_value(value: object) -> str:
    """Return a value as YAML on one line, shortened in the middle."""
    if value is None or isinstance(value, bool | dict | list | tuple):
        try:
            text = json.dumps(value, ensure_ascii=False, default=str)
        except (RecursionError, ValueError):  # nested too deep
            text = f"a {type(value).__name__}"
    else:
        text = repr(value) if isinstance(value, str) else str(value)
    if len(text) > MAX_VALUE_LENGTH:
        half = MAX_VALUE_LENGTH // 2 - 2
        text = f"{text[:half]} ... {text[-half:]}"
    return text
