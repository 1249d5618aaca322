"""Check the output files of a command before it starts, and write optional ones at its end."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from nmt.core import files
from nmt.errors import ConfigError, DiskFullError

logger = logging.getLogger(__name__)


def check_outputs(outputs: Mapping[str, Path | None], inputs: Iterable[Path | None] = ()) -> None:
    """Raise ConfigError if an output file cannot be written, is an input, or is named twice.

    `outputs` maps each flag to its file.
    """
    users = {path.resolve(): str(path) for path in inputs if path is not None}
    for flag, path in outputs.items():
        if path is None or files.is_stream(path):
            continue
        if path.is_dir():
            raise ConfigError([f"{flag}: expected a file, got the folder {path}"])
        if path.resolve() in users:
            raise ConfigError(
                [f"{flag}: expected a file of its own, got that of {users[path.resolve()]}"]
            )
        if reason := files.unwritable_reason(path):
            raise ConfigError([f"{flag}: expected a writable file, got {path}: {reason}"])
        users[path.resolve()] = f"{flag} {path}"


def write_or_warn(file: Path, write: Callable[[Path], object]) -> bool:
    """Write an optional file; print a warning if that fails. Return whether it succeeded."""
    try:
        write(file)
    except (OSError, DiskFullError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        logger.warning(f"{file} was not written: {reason or error}")
        return False
    return True
