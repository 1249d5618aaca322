"""What a person sees: results on stdout, everything else on stderr; and `metrics.jsonl`."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nmt.core import files
from nmt.core.distributed.environment import world_size

if TYPE_CHECKING:
    from tqdm import tqdm

MILESTONE_SECONDS = 20.0
"""Seconds between two lines of progress if stderr is no terminal."""
RED, RESET = "\033[31m", "\033[0m"
Record = dict[str, Any]
"""A line of `metrics.jsonl`: its kind, its update and what was measured."""
Logger = Callable[[Record], None]
"""Takes each record as it is written (nmt/training/monitoring/experiment_trackers.py)."""


def print_error(message: str) -> None:
    """Print an error on stderr, each line marked, red on a terminal; one of many says its rank."""
    if world_size() > 1:
        message = f"rank {os.environ.get('RANK')}: {message}"
    red, reset = (RED, RESET) if sys.stderr.isatty() else ("", "")
    for line in message.split("\n"):
        print(f"{red}error: {line}{reset}", file=sys.stderr)


def say(message: str) -> None:
    """Print a line about the work on stderr."""
    print(message, file=sys.stderr, flush=True)


def put(text: str) -> None:
    """Print a result on stdout, in UTF-8 whatever encoding the shell has."""
    sys.stdout.flush()
    sys.stdout.buffer.write(f"{text}\n".encode())
    sys.stdout.buffer.flush()


def printable(text: str) -> str:
    """Return a text without line breaks and what else would upset a terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def columns(rows: Sequence[Sequence[str]], words: int) -> list[str]:
    """Lay rows out, a line each: the first `words` columns to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if i < words else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def table(rows: Iterable[tuple[str, str]]) -> str:
    """Lay out (name, value) rows in two columns."""
    rows = list(rows)
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"  {name:<{width}}  {value}" for name, value in rows)


def duration(seconds: float) -> str:
    """Write seconds as 45s, 12m30s or 3h05m."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def size(count: float, digits: int = 0) -> str:
    """Write a number of bytes with a unit, with `digits` decimals (gigabytes have one more)."""
    for unit in ("B", "kB", "MB"):
        if round(count) < 1000:
            return f"{count:.{0 if unit == 'B' else digits}f} {unit}"
        count /= 1000
    return f"{count:.{digits + 1}f} GB"


def distinct_sizes(one: float, other: float) -> tuple[str, str]:
    """Write two different numbers of bytes with as many decimals as it takes to tell them apart."""
    for digits in range(9):
        texts = size(one, digits), size(other, digits)
        if texts[0] != texts[1]:
            return texts
    return f"{one:.0f} B", f"{other:.0f} B"


@contextmanager
def show_progress(
    what: str, total: int | None, *, always: bool, unit: str = "it"
) -> Iterator[Callable[[int], object]]:
    """Show progress on stderr while the block runs; yield what counts `unit`s as done.

    On a terminal it is a bar, which is cleared at the end and on Ctrl-C. Elsewhere, with `always`,
    it is a line at the start and every MILESTONE_SECONDS; without, nothing.
    """
    if sys.stderr.isatty():
        from tqdm import tqdm

        space = " " if unit != "it" else ""
        with tqdm(
            desc=what, total=total, unit=space + unit, leave=False, dynamic_ncols=True
        ) as bar:
            yield bar.update
    elif always:
        say(what)
        yield _Milestones(what, total, unit).advance
    else:
        yield bool


class _Milestones:
    """Prints a line of progress every MILESTONE_SECONDS, for work of `total` steps if known."""

    def __init__(self, what: str, total: int | None, unit: str) -> None:
        self.what, self.total, self.unit, self.done = what, total, unit, 0
        self.begin = self.printed = time.monotonic()

    def advance(self, steps: int) -> None:
        """Count `steps` more as done; print a line if one is due."""
        self.done += steps
        now = time.monotonic()
        if now - self.printed < MILESTONE_SECONDS or self.done == self.total:
            return
        self.printed = now
        speed = self.done / (now - self.begin)
        end = f" of {self.total:,}" if self.total is not None else ""
        left = f", ETA {duration((self.total - self.done) / speed)}" if self.total else ""
        say(f"{self.what}: {self.done:,}{end}, {speed:,.1f} {self.unit}/s{left}")


class RunLog:
    """The log of one run: lines to stderr and `train.log`, numbers to `metrics.jsonl`.

    On a terminal a progress bar stands below the lines; elsewhere its text becomes a plain line
    at every log step. A mute log, of a worker that does not lead, keeps and shows nothing. Without
    a log file, as in a dry run, lines only go to stderr.
    """

    def __init__(self, log_file: Path | None, metrics_file: Path, mute: bool = False) -> None:
        self.mute = mute
        self.log_file = log_file
        self.metrics_file = metrics_file
        self.loggers: list[Logger] = []
        self.bar: tqdm[Any] | None = None

    def say(self, message: str, logged: str | None = None) -> None:
        """Print a message above the bar and append it to the log file, with the time.

        The log file gets `logged` instead if it is given.
        """
        if self.mute:
            return
        stamp = time.strftime("%Y-%m-%d %H:%M:%S")
        if self.log_file is not None:
            for line in (message if logged is None else logged).split("\n"):
                files.append_line(self.log_file, f"{stamp}  {line}")
        if self.bar is None:
            say(message)
        else:
            self.bar.clear()
            say(message)
            self.bar.refresh()

    def metrics(self, kind: str, values: dict[str, Any]) -> None:
        """Append one record to `metrics.jsonl`, for the loggers too; not finite becomes null."""
        if self.mute:
            return
        record = {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in {"kind": kind, **values}.items()
        }
        files.append_line(self.metrics_file, json.dumps(record, allow_nan=False))
        for logger in self.loggers:
            logger(record)

    def start_bar(self, total: int | None, done: int) -> None:
        """Show a progress bar over updates, where stderr is a terminal."""
        if sys.stderr.isatty() and not self.mute:
            from tqdm import tqdm

            self.bar = tqdm(total=total, initial=done, unit="update", dynamic_ncols=True)

    def progress(self, updates: int, text: str, speak: bool) -> None:
        """Move the bar by `updates`; where there is none and `speak` is set, print a plain line."""
        if self.bar is not None:
            self.bar.set_postfix_str(text, refresh=False)
            self.bar.update(updates)
        elif speak:
            self.say(text)

    def stop_bar(self) -> None:
        """Take the bar away."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None
