"""The runs under a folder, as a table and as JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from textwrap import fill

from nmt.core.logging import columns, duration, printable
from nmt.core.run_dir import RunDir
from nmt.errors import RunError, did_you_mean
from nmt.runs.summary import RunSummary, summarize_run

HEAD = ("run", "state", "updates", "best", "at", "test BLEU", "tokens/s", "time")
UNKNOWN = "-"
INDENT = "  "
NARROWEST = 40
"""Cells of a line, at least."""


def find_runs(folder: Path) -> list[RunDir]:
    """Return the runs at or below a folder; what lies inside a run is not looked at.

    Raises RunError where there is no such folder.
    """
    if not folder.is_dir():
        _refuse(folder)
    found, seen, its = [], set(), RunDir(Path())
    for path, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(path)
        is_run = its.config.name in names or its.lock.name in names
        if is_run and its.export.name not in names and real not in seen:
            found.append(RunDir(Path(path)))
        folders[:] = [] if is_run or real in seen else [f for f in folders if f[:1] != "."]
        seen.add(real)
    return found


def _refuse(folder: Path) -> None:
    if folder.exists():
        raise RunError(f"{folder}: expected a folder, got a file")
    siblings = [p.name for p in folder.parent.iterdir()] if folder.parent.is_dir() else []
    near = did_you_mean(folder.name, siblings)
    raise RunError(f"{folder}: no such folder{near}; `nmt train CONFIG` makes runs/NAME")


def summarize_runs(folder: Path) -> list[RunSummary]:
    """Return what stands in each run under a folder, the one written to last at the end."""
    found = [summarize_run(run, _name(run.path, folder)) for run in find_runs(folder)]
    return sorted(found, key=lambda summary: (summary.changed, summary.run))


def _name(run: Path, folder: Path) -> str:
    """Return a run's path below the folder."""
    return printable(str(run.relative_to(folder)) if run != folder else run.resolve().name)


def format_json_lines(found: Iterable[RunSummary]) -> str:
    """Return one object a line and run."""
    return "".join(json.dumps(asdict(summary)) + "\n" for summary in found)


def format_table(found: Sequence[RunSummary], width: int) -> str:
    """Lay the runs out, numbers in columns; below each its model, data and what is wrong."""
    head, *rows = columns([HEAD, *map(_row, found)], words=2)
    lines = [head]
    for summary, row in zip(found, rows, strict=True):
        lines.append(row)
        lines += [
            fill(
                printable(words),
                max(width, NARROWEST),
                initial_indent=INDENT,
                subsequent_indent=INDENT,
                break_long_words=False,
                break_on_hyphens=False,
            )
            for words in ("; ".join(_words(summary)), *summary.problems)
            if words
        ]
    return "\n".join(lines)


def _row(summary: RunSummary) -> tuple[str, ...]:
    bleu = next((scores.bleu for scores in summary.report.tests.values()), None)
    return (
        summary.run,
        summary.state,
        f"{summary.update:,}",
        format_score(summary.metric, summary.best),
        format_integer(summary.best_update),
        format_decimal(bleu, 2),
        format_integer(summary.tokens_per_second),
        duration(summary.seconds),
    )


def format_integer(value: float | None) -> str:
    """Write a whole number."""
    return UNKNOWN if value is None else f"{value:,.0f}"


def format_decimal(value: float | None, digits: int) -> str:
    """Write a number with so many digits behind the point."""
    return UNKNOWN if value is None else f"{value:.{digits}f}"


def format_score(metric: str, value: float | None) -> str:
    """Write a validation score with its metric, such as `bleu 38.06`."""
    if value is None:
        return UNKNOWN
    return f"{metric} {format_decimal(value, 2 if metric == 'bleu' else 3)}"


def format_bleu_scores(summary: RunSummary) -> str:
    """Write the BLEU of every test set with its name."""
    tests = summary.report.tests.items()
    return ", ".join(f"{name} {format_decimal(its.bleu, 2)}" for name, its in tests)


def _words(summary: RunSummary) -> list[str]:
    """Return what does not fit into columns."""
    words = [summary.model] if summary.model else []
    if summary.parameters is not None:
        words.append(f"{summary.parameters:,} parameters")
    if summary.src:
        pairs = "" if summary.pairs is None else f", {summary.pairs:,} pairs"
        words.append(f"{summary.src}-{summary.tgt}{pairs}")
    if summary.share_done is not None and summary.state != "finished":
        words.append(f"{summary.share_done:.0%} done")
    if summary.seconds_left is not None:
        words.append(f"ETA {duration(summary.seconds_left)}")
    if len(summary.report.tests) > 1:
        words.append(f"BLEU of {format_bleu_scores(summary)}")
    return [*words, summary.why] if summary.why else words
