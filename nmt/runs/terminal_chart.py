"""Curves in a terminal, drawn with letters: one for each run, capital where it was validated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

from nmt.core.logging import duration
from nmt.runs.chart_data import X_LABELS, Panel, XAxis

ROWS = 14
MARGIN = 8
"""Cells of the numbers beside the y axis."""
SEVERAL = "*"
"""Where curves of several runs meet."""


def render_panel(panel: Panel, width: int, largest_x: float, axis: XAxis) -> str:
    """Draw a panel over x from 0 to `largest_x`, at most `width` cells wide.

    A letter stands at the mean of the records that share its column.
    """
    if not panel.series:
        return f"{panel.title}: no records yet"
    columns = max(width - MARGIN - 2, 20)
    low, high = _range([y for series in panel.series for y in series.y], panel.log)
    cells = [[" "] * columns for _ in range(ROWS)]
    for series in panel.series:
        for column, y in _means(series.x, series.y, largest_x, columns):
            share = (_scaled(y, panel.log) - low) / (high - low)
            row = ROWS - 1 - round(share * (ROWS - 1))
            there = cells[row][column]
            alone = there == " " or there.lower() == series.mark.lower()
            cells[row][column] = series.mark if alone else SEVERAL
    lines = [
        f"{_beside(row, low, high, panel.log):>{MARGIN}} |{''.join(line)}".rstrip()
        for row, line in enumerate(cells)
    ]
    begin = " " * (MARGIN + 1)
    below = [f"{begin}+{'-' * columns}", f"{begin} {_ticks(largest_x, columns, axis)}"]
    return "\n".join([panel.title, *lines, *below, *_legend(panel, width)])


def _range(values: Sequence[float], log: bool) -> tuple[float, float]:
    """Return the lowest and the highest value as they are drawn, never the same."""
    scaled = [_scaled(value, log) for value in values]
    low, high = min(scaled), max(scaled)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _scaled(value: float, log: bool) -> float:
    return math.log10(max(value, 1e-12)) if log else value


def _means(
    xs: Sequence[float], ys: Sequence[float], largest_x: float, columns: int
) -> list[tuple[int, float]]:
    """Return (column, mean of its values) of every column that has any."""
    found: dict[int, list[float]] = {}
    for x, y in zip(xs, ys, strict=True):
        column = round(x / largest_x * (columns - 1)) if largest_x > 0 else 0
        found.setdefault(column, []).append(y)
    return [(column, fmean(values)) for column, values in found.items()]


def _beside(row: int, low: float, high: float, log: bool) -> str:
    """Return the number beside a row: at the top, in the middle and at the bottom."""
    if row not in (0, ROWS // 2, ROWS - 1):
        return ""
    value = high - (high - low) * row / (ROWS - 1)
    return f"{10**value if log else value:.4g}"


def _ticks(largest_x: float, columns: int, axis: XAxis) -> str:
    """Return the numbers below the x axis: at both ends and in the middle."""
    middle, end = _place(largest_x / 2, axis), f"{_place(largest_x, axis)} {X_LABELS[axis]}"
    left = f"{'0':<{columns // 2 - len(middle) // 2}}{middle}"
    if len(left) + 1 + len(end) > columns:  # no room for the middle
        left = "0"
    return left + end.rjust(columns - len(left))


def _place(x: float, axis: XAxis) -> str:
    if axis == "seconds":
        return duration(x)
    return f"{x:,.0f}" if axis == "updates" else f"{x:.3g}"


def _legend(panel: Panel, width: int) -> list[str]:
    """Return which letter is which run, as many on a line as fit."""
    runs = {series.run for series in panel.series}
    labels = [series.label for series in panel.series]
    if len(runs) > 1:
        labels.append(f"{SEVERAL} several")
    lines = [""]
    for label in labels:
        if lines[-1] and len(lines[-1]) + len(label) + 3 > width:
            lines.append("")
        lines[-1] += ("   " if lines[-1] else " " * (MARGIN + 2)) + label
    return lines
