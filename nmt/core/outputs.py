"""Check the output files of commands first, and write them after the results are printed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from nmt.core import files
from nmt.core.logging import say
from nmt.errors import ConfigError, DiskFullError


def check_outputs(outputs: Mapping[str, Path | None], inputs: Iterable[Path | None] = ()) -> None:
    """Raise ConfigError, before any work, for a file that cannot or must not be written.

    `outputs` has the file of each flag. It must not be one of the inputs, nor that of two flags.
    """
    owners = {path.resolve(): str(path) for path in inputs if path is not None}
    for flag, path in outputs.items():
        if path is None or files.is_stream(path):
            continue
        if path.is_dir():
            raise ConfigError([f"{flag}: expected a file, got the folder {path}"])
        if path.resolve() in owners:
            raise ConfigError(
                [f"{flag}: expected a file of its own, got that of {owners[path.resolve()]}"]
            )
        if reason := files.unwritable_reason(path):
            raise ConfigError([f"{flag}: expected a writable file, got {path}: {reason}"])
        owners[path.resolve()] = f"{flag} {path}"


def warn_if_unwritten(file: Path, write: Callable[[Path], object]) -> bool:
    """Write a file that nobody asked for explicitly; return whether that succeeded."""
    try:
        write(file)
    except (OSError, DiskFullError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        say(f"warning: {file} was not written: {reason or error}")
        return False
    return True
