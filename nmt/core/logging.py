"""Output of commands: results on stdout, messages on stderr, and the log files of a run."""

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

PROGRESS_SECONDS = 20.0
"""Seconds between two lines of progress if stderr is not a terminal."""
RED, RESET = "\033[31m", "\033[0m"
MetricsRecord = dict[str, Any]
"""A line of `metrics.jsonl`: its kind, the update, and measured values."""
RecordSink = Callable[[MetricsRecord], None]
"""Receives each record as it is written (nmt/training/monitoring/experiment_trackers.py)."""


def print_error(message: str) -> None:
    """Print an error on stderr, in red on a terminal, with the rank in a distributed job."""
    if world_size() > 1:
        message = f"rank {os.environ.get('RANK')}: {message}"
    red, reset = (RED, RESET) if sys.stderr.isatty() else ("", "")
    for line in message.split("\n"):
        print(f"{red}error: {line}{reset}", file=sys.stderr)


def print_info(message: str) -> None:
    """Print a message on stderr."""
    print(message, file=sys.stderr, flush=True)


def print_result(text: str) -> None:
    """Print a result on stdout in UTF-8, regardless of the encoding of the shell."""
    sys.stdout.flush()
    sys.stdout.buffer.write(f"{text}\n".encode())
    sys.stdout.buffer.flush()


def replace_unprintable(text: str) -> str:
    """Return a text in which U+FFFD replaces line breaks and control characters."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def format_columns(rows: Sequence[Sequence[str]], text_columns: int) -> list[str]:
    """Return one line per row, with aligned columns.

    The first `text_columns` columns are left-aligned, the others right-aligned.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if i < text_columns else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def format_two_columns(rows: Iterable[tuple[str, str]]) -> str:
    """Return (name, value) rows as a text of two columns."""
    rows = list(rows)
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"  {name:<{width}}  {value}" for name, value in rows)


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
        print_info(label)
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
        print_info(f"{self.label}: {self.completed:,}{total}, {speed:,.1f} {self.unit}/s{eta}")


class RunLog:
    """The log of one run: messages to stderr and `train.log`, measurements to `metrics.jsonl`.

    On a terminal, a progress bar is shown below the messages; elsewhere, its text is printed as a
    message at every log step. A muted log, for ranks other than the main process, writes nothing.
    Without a log file, as in a dry run, messages go to stderr only.
    """

    def __init__(self, log_file: Path | None, metrics_file: Path, mute: bool = False) -> None:
        self.mute = mute
        self.log_file = log_file
        self.metrics_file = metrics_file
        self.metrics_sinks: list[RecordSink] = []
        """Receivers of metrics records beside the file, such as experiment trackers."""
        self.bar: tqdm[Any] | None = None

    def info(self, message: str, file_message: str | None = None) -> None:
        """Print a message above the progress bar and append it to the log file with the time.

        `file_message` replaces the message in the log file.
        """
        if self.mute:
            return
        timestamp = time.strftime("%Y-%m-%d %H:%M:%S")
        if self.log_file is not None:
            for line in (message if file_message is None else file_message).split("\n"):
                files.append_line(self.log_file, f"{timestamp}  {line}")
        if self.bar is None:
            print_info(message)
        else:
            self.bar.clear()
            print_info(message)
            self.bar.refresh()

    def write_metrics(self, kind: str, values: dict[str, Any]) -> None:
        """Append a record to `metrics.jsonl` and send it to all sinks; inf and NaN become null."""
        if self.mute:
            return
        record = {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in {"kind": kind, **values}.items()
        }
        files.append_line(self.metrics_file, json.dumps(record, allow_nan=False))
        for sink in self.metrics_sinks:
            sink(record)

    def start_bar(self, total: int | None, completed: int) -> None:
        """Show a progress bar of updates if stderr is a terminal."""
        if sys.stderr.isatty() and not self.mute:
            from tqdm import tqdm

            self.bar = tqdm(total=total, initial=completed, unit="update", dynamic_ncols=True)

    def report_progress(self, updates: int, text: str, print_line: bool) -> None:
        """Advance the bar by `updates`; without a bar, print `text` if `print_line` is set."""
        if self.bar is not None:
            self.bar.set_postfix_str(text, refresh=False)
            self.bar.update(updates)
        elif print_line:
            self.info(text)

    def stop_bar(self) -> None:
        """Remove the progress bar."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None
