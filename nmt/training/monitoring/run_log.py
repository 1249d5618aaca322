"""The log of a run: messages in `train.log`, measurements in `metrics.jsonl`, a progress bar."""

from __future__ import annotations

import json
import logging
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nmt.core import files
from nmt.core.console import add_level

if TYPE_CHECKING:
    from tqdm import tqdm

MetricsRecord = dict[str, Any]
"""A line of `metrics.jsonl`: its kind, the update, and measured values."""
RecordSink = Callable[[MetricsRecord], None]
"""Receives each record as it is written (nmt/training/monitoring/experiment_trackers.py)."""

logger = logging.getLogger(__name__)


class RunLog:
    """The log of one run: messages to the logger and `train.log`, measurements to `metrics.jsonl`.

    On a terminal, a progress bar is shown below the messages; elsewhere, its text is logged as a
    message at every log step. A muted log, for ranks other than the main process, writes nothing.
    Without a log file, as in a dry run, messages go to the logger only.
    """

    def __init__(self, log_file: Path | None, metrics_file: Path, mute: bool = False) -> None:
        self.mute = mute
        self.log_file = log_file
        self.metrics_file = metrics_file
        self.metrics_sinks: list[RecordSink] = []
        """Receivers of metrics records beside the file, such as experiment trackers."""
        self.bar: tqdm[Any] | None = None

    def info(self, message: str) -> None:
        """Log a message above the progress bar and append it to the log file with the time."""
        self._log(logging.INFO, message, message)

    def warning(self, message: str, file_message: str | None = None) -> None:
        """Log a warning as `info` does; `file_message` replaces it in the log file."""
        self._log(logging.WARNING, message, message if file_message is None else file_message)

    def _log(self, level: int, message: str, file_message: str) -> None:
        if self.mute:
            return
        timestamp = time.strftime("%Y-%m-%d %H:%M:%S")
        if self.log_file is not None:
            for line in add_level(level, file_message).split("\n"):
                files.append_line(self.log_file, f"{timestamp}  {line}")
        if self.bar is not None:
            self.bar.clear()
        logger.log(level, message)
        if self.bar is not None:
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
        """Advance the bar by `updates`; without a bar, log `text` if `print_line` is set."""
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
