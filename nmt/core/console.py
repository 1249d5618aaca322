"""Output of commands: results on stdout, messages and progress on stderr, and their formats."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from nmt.core.torchrun import rank, world_size

PROGRESS_SECONDS = 20.0
"""Seconds between two lines of progress if stderr is not a terminal."""
RED, RESET = "\033[31m", "\033[0m"

logger = logging.getLogger(__name__)


class ConsoleHandler(logging.Handler):
    """Prints log messages on stderr, warnings and errors with their level.

    Errors are red on a terminal and have the rank in a distributed job. Unlike StreamHandler, this
    class uses the present `sys.stderr`, and a failure to write ends the command.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Print a message."""
        text = add_level(record.levelno, record.getMessage())
        print(text, file=sys.stderr, flush=True)


CONSOLE_HANDLER = ConsoleHandler()


def add_level(level: int, message: str) -> str:
    """Return a message with its level if that is a warning or an error."""
    if level < logging.WARNING:
        return message
    if level < logging.ERROR:
        return f"warning: {message}"
    if world_size() > 1:
        message = f"rank {rank()}: {message}"
    red, reset = (RED, RESET) if sys.stderr.isatty() else ("", "")
    return "\n".join(f"{red}error: {line}{reset}" for line in message.split("\n"))


def show_messages() -> None:
    """Print the log messages of nmt on stderr in this process."""
    package_logger = logging.getLogger("nmt")
    package_logger.setLevel(logging.INFO)
    package_logger.propagate = False
    package_logger.addHandler(CONSOLE_HANDLER)


def print_result(text: str) -> None:
    """Print a result on stdout in UTF-8, regardless of the encoding of the shell."""
    sys.stdout.flush()
    sys.stdout.buffer.write(f"{text}\n".encode())
    sys.stdout.buffer.flush()


def replace_unprintable(text: str) -> str:
    """Return a text in which U+FFFD replaces line breaks and control characters."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def format_duration(seconds: float) -> str:
    """Return seconds as 45s, 12m30s or 3h05m."""
    rounded = round(seconds)
    if rounded < 60:
        return f"{rounded}s"
    if rounded < 3600:
        return f"{rounded // 60}m{rounded % 60:02d}s"
    return f"{rounded // 3600}h{rounded % 3600 // 60:02d}m"


def format_size(byte_count: float, digits: int = 0) -> str:
    """Return a number of bytes with its unit and `digits` decimals (gigabytes get one more)."""
    for unit in ("B", "kB", "MB"):
        if round(byte_count) < 1000:
            return f"{byte_count:.{0 if unit == 'B' else digits}f} {unit}"
        byte_count /= 1000
    return f"{byte_count:.{digits + 1}f} GB"


def format_distinct_sizes(first: float, second: float) -> tuple[str, str]:
    """Return two different numbers of bytes with as many decimals as distinguish them."""
    for digits in range(9):
        texts = format_size(first, digits), format_size(second, digits)
        if texts[0] != texts[1]:
            return texts
    return f"{first:.0f} B", f"{second:.0f} B"


@contextmanager
def show_progress(
    label: str, total: int | None, *, always: bool, unit: str = "it"
) -> Iterator[Callable[[int], object]]:
    """Show progress on stderr during the block; yield a function that adds completed units.

    On a terminal this is a progress bar, which disappears at the end and on Ctrl-C. Elsewhere it is
    a line at the start and every PROGRESS_SECONDS if `always` is set, else nothing.
    """
    if sys.stderr.isatty():
        from tqdm import tqdm

        space = " " if unit != "it" else ""
        with tqdm(
            desc=label, total=total, unit=space + unit, leave=False, dynamic_ncols=True
        ) as bar:
            yield bar.update
    elif always:
        logger.info(label)
        yield _ProgressLines(label, total, unit).advance
    else:
        yield bool  # a function without effect


class _ProgressLines:
    """Prints a line of progress every PROGRESS_SECONDS; `total` is None if it is unknown."""

    def __init__(self, label: str, total: int | None, unit: str) -> None:
        self.label, self.total, self.unit, self.completed = label, total, unit, 0
        self.start_time = self.print_time = time.monotonic()

    def advance(self, units: int) -> None:
        """Add completed units; print a line if one is due."""
        self.completed += units
        now = time.monotonic()
        if now - self.print_time < PROGRESS_SECONDS or self.completed == self.total:
            return
        self.print_time = now
        speed = self.completed / (now - self.start_time)
        total = f" of {self.total:,}" if self.total is not None else ""
        eta = ""
        if self.total:
            eta = f", ETA {format_duration((self.total - self.completed) / speed)}"
        logger.info(f"{self.label}: {self.completed:,}{total}, {speed:,.1f} {self.unit}/s{eta}")
