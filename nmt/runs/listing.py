"""List the runs in a folder, as a table or as JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from textwrap import fill

from nmt.core.console import format_duration, replace_unprintable
from nmt.core.rendering.tables import align_columns
from nmt.core.run_dir import RunDir
from nmt.errors import RunError, did_you_mean
from nmt.runs.summary import RunSummary, summarize_run

HEADER = ("run", "state", "updates", "best", "at", "test BLEU", "tokens/s", "time")
UNKNOWN = "-"
"""Text of a missing value."""
INDENT = "  "
MIN_WIDTH = 40
"""Minimum width of a line, in columns."""


def find_runs(folder: Path) -> list[RunDir]:
    """Return the runs in a folder and its subfolders; folders inside a run are not searched.

    Raises RunError if the folder does not exist.
    """
    if not folder.is_dir():
        raise _missing_folder_error(folder)
    names_in_run = RunDir(Path())
    runs, visited = [], set()
    for path, subfolders, names in os.walk(folder, followlinks=True):
        real_path = os.path.realpath(path)
        is_visited = real_path in visited
        is_run = names_in_run.config.name in names or names_in_run.lock.name in names
        if is_run and names_in_run.export.name not in names and not is_visited:
            runs.append(RunDir(Path(path)))
        if is_run or is_visited:
            subfolders.clear()
        else:
            subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        visited.add(real_path)
    return runs


def _missing_folder_error(folder: Path) -> RunError:
    if folder.exists():
        return RunError(f"{folder}: expected a folder, got a file")
    siblings = [p.name for p in folder.parent.iterdir()] if folder.parent.is_dir() else []
    suggestion = did_you_mean(folder.name, siblings)
    return RunError(f"{folder}: no such folder{suggestion}; `nmt train CONFIG` makes runs/NAME")


def summarize_runs(folder: Path) -> list[RunSummary]:
    """Return a summary of each run in a folder; the most recently written run is the last."""
    summaries = [summarize_run(run, _run_name(run.path, folder)) for run in find_runs(folder)]
    return sorted(summaries, key=lambda summary: (summary.changed, summary.run))


def _run_name(run: Path, folder: Path) -> str:
    """Return the path of a run relative to the folder."""
    return replace_unprintable(
        str(run.relative_to(folder)) if run != folder else run.resolve().name
    )


def format_json_lines(summaries: Iterable[RunSummary]) -> str:
    """Return one JSON object per line and run."""
    return "".join(json.dumps(asdict(summary)) + "\n" for summary in summaries)


def format_table(summaries: Sequence[RunSummary], width: int) -> str:
    """Return a table of the runs; below each row its model, data and problems."""
    header, *rows = align_columns(
        [HEADER, *map(_table_row, summaries)], number_columns=range(2, len(HEADER))
    )
    lines = [header]
    for summary, row in zip(summaries, rows, strict=True):
        lines.append(row)
        for details in ("; ".join(_details(summary)), *summary.problems):
            if details:
                lines.append(_indent(details, width))
    return "\n".join(lines)


def _indent(text: str, width: int) -> str:
    """Wrap and indent a text."""
    return fill(
        replace_unprintable(text),
        max(width, MIN_WIDTH),
        initial_indent=INDENT,
        subsequent_indent=INDENT,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _table_row(summary: RunSummary) -> tuple[str, ...]:
    """Return the cells of a run, by HEADER."""
    bleu = next((scores.bleu for scores in summary.report.tests.values()), None)
    return (
        summary.run,
        summary.state,
        f"{summary.update:,}",
        format_score(summary.metric, summary.best),
        format_integer(summary.best_update),
        format_decimal(bleu, 2),
        format_integer(summary.tokens_per_second),
        format_duration(summary.seconds),
    )


def format_integer(value: float | None) -> str:
    """Return a number without decimals."""
    return UNKNOWN if value is None else f"{value:,.0f}"


def format_decimal(value: float | None, digits: int) -> str:
    """Return a number with this number of decimals."""
    return UNKNOWN if value is None else f"{value:.{digits}f}"


def format_score(metric: str, value: float | None) -> str:
    """Return a validation score with its metric, such as `bleu 38.06`."""
    if value is None:
        return UNKNOWN
    return f"{metric} {format_decimal(value, 2 if metric == 'bleu' else 3)}"


def format_bleu_scores(summary: RunSummary) -> str:
    """Return the name and the BLEU score of every test set."""
    return ", ".join(
        f"{name} {format_decimal(scores.bleu, 2)}" for name, scores in summary.report.tests.items()
    )


def _details(summary: RunSummary) -> list[str]:
    """Return the facts that have no column in the table."""
    details = [summary.model] if summary.model else []
    if summary.parameters is not None:
        details.append(f"{summary.parameters:,} parameters")
    if summary.src:
        pairs = "" if summary.pairs is None else f", {summary.pairs:,} pairs"
        details.append(f"{summary.src}-{summary.tgt}{pairs}")
    if summary.parent:
        details.append(f"fine-tuned from {summary.parent}")
    if summary.share_done is not None and summary.state != "finished":
        details.append(f"{summary.share_done:.0%} done")
    if summary.seconds_left is not None:
        details.append(f"ETA {format_duration(summary.seconds_left)}")
    if len(summary.report.tests) > 1:
        details.append(f"BLEU of {format_bleu_scores(summary)}")
    if summary.why:
        details.append(summary.why)
    return details
