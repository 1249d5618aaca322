"""Every error a user can meet, and the exit codes of the command line.

    NMTError                 something the user can mend: one red line, exit code 2, no traceback
    ├── ConfigError          a setting; carries every problem found, each with its place
    ├── DataError            a text file, a corpus or a tokenizer
    ├── RunError             a run folder: missing, not one, in the way, damaged
    ├── DiskFullError        something could not be written for want of room
    ├── DeviceError          a device or precision that is not to be had here
    └── WorkerError          one of the processes of a job is gone, and the job with it

Anything else that escapes is a defect of ours and keeps its traceback.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable

EXIT_OK = 0
EXIT_FAULTS_FOUND = 1
EXIT_USER_ERROR = 2
EXIT_REQUEUE = 85
"""Training was stopped by SIGUSR1, as schedulers send before a time limit: --resume goes on."""
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143


class NMTError(Exception):
    """The message names the place, what must hold, what it is and the nearest valid choice."""


class ConfigError(NMTError):
    """One or more problems in the settings, one a line of the message."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))


class DataError(NMTError):
    """A text file, a corpus or a tokenizer is not what it must be."""


class RunError(NMTError):
    """A run folder is missing, is not one, is in the way or is damaged."""


class DiskFullError(NMTError):
    """Something could not be written for want of room; what was there before is whole."""


class DeviceError(NMTError):
    """A device or precision was asked for that this machine does not have."""


class WorkerError(NMTError):
    """One of the processes that work together is gone."""


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Return " (did you mean 'x'?)" for the choice nearest to `word`, or nothing."""
    near = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.5)
    return f" (did you mean '{near[0]}'?)" if near else ""


MAX_VALUE_LENGTH = 80
"""Characters of a value in an error message."""


def show_value(value: object) -> str:
    """Return a value as YAML spells it, on one line, shortened in the middle."""
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
