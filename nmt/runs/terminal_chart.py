"""Draw learning curves in a terminal with letters: one per run, upper case for validations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

from nmt.core.console import format_duration
from nmt.runs.chart_data import X_LABELS, Panel, XAxis

ROWS = 14
"""Height of the drawing, in lines."""
MARGIN = 8
"""Width of the numbers on the y axis, in columns."""
OVERLAP_MARK = "*"
"""Mark of cells where curves of several runs meet."""


def render_panel(panel: Panel, width: int, max_x: float, axis: XAxis) -> str:
    """Draw a panel for x from 0 to `max_x`, at most `width` columns wide.

    Records in the same column are averaged.
    """
    if not panel.series:
        return f"{panel.title}: no records yet"
    columns = max(width - MARGIN - 2, 20)
    low, high = _y_range([y for series in panel.series for y in series.y], panel.is_log)
    cells = [[" "] * columns for _ in range(ROWS)]
    for series in panel.series:
        for column, y in _column_means(series.x, series.y, max_x, columns):
            height = (_scale(y, panel.is_log) - low) / (high - low)
            row = ROWS - 1 - round(height * (ROWS - 1))
            mark = cells[row][column]
            is_free = mark == " " or mark.lower() == series.mark.lower()
            cells[row][column] = series.mark if is_free else OVERLAP_MARK
    lines = [
        f"{_y_label(row, low, high, panel.is_log):>{MARGIN}} |{''.join(line)}".rstrip()
        for row, line in enumerate(cells)
    ]
    indent = " " * (MARGIN + 1)
    x_axis = [f"{indent}+{'-' * columns}", f"{indent} {_x_labels(max_x, columns, axis)}"]
    return "\n".join([panel.title, *lines, *x_axis, *_legend(panel, width)])


def _y_range(values: Sequence[float], is_log: bool) -> tuple[float, float]:
    """Return the minimum and the maximum of the scaled values; these always differ."""
    scaled = [_scale(value, is_log) for value in values]
    low, high = min(scaled), max(scaled)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _scale(value: float, is_log: bool) -> float:
    return math.log10(max(value, 1e-12)) if is_log else value


def _column_means(
    xs: Sequence[float], ys: Sequence[float], max_x: float, columns: int
) -> list[tuple[int, float]]:
    """Return (column, mean of its values) of every column with values."""
    values_by_column: dict[int, list[float]] = {}
    for x, y in zip(xs, ys, strict=True):
        column = round(x / max_x * (columns - 1)) if max_x > 0 else 0
        values_by_column.setdefault(column, []).append(y)
    return [(column, fmean(values)) for column, values in values_by_column.items()]


def _y_label(row: int, low: float, high: float, is_log: bool) -> str:
    """Return the y value of the top, the middle and the bottom row, "" for other rows."""
    if row not in (0, ROWS // 2, ROWS - 1):
        return ""
    value = high - (high - low) * row / (ROWS - 1)
    return _format_y(10**value if is_log else value)


def _format_y(value: float) -> str:
    """Return a number with as many digits as fit in the margin, four at most."""
    texts = [f"{value:.{digits}g}" for digits in (4, 3, 2, 1)]
    return next((text for text in texts if len(text) <= MARGIN), texts[-1])


def _x_labels(max_x: float, columns: int, axis: XAxis) -> str:
    """Return the x values of both ends, and of the middle if there is enough space."""
    middle = _format_x(max_x / 2, axis)
    end = f"{_format_x(max_x, axis)} {X_LABELS[axis]}"
    left = f"{'0':<{columns // 2 - len(middle) // 2}}{middle}"
    if len(left) + 1 + len(end) > columns:
        left = "0"
    return left + end.rjust(columns - len(left))


def _format_x(x: float, axis: XAxis) -> str:
    if axis == "seconds":
        return format_duration(x)
    return f"{x:,.0f}" if axis == "updates" else f"{x:.3g}"


def _legend(panel: Panel, width: int) -> list[str]:
    """Return the labels of the series, as many per line as fit."""
    labels = [series.label for series in panel.series]
    if len({series.run for series in panel.series}) > 1:
        labels.append(f"{OVERLAP_MARK} several")
    lines = [""]
    for label in labels:
        if lines[-1] and len(lines[-1]) + len(label) + 3 > width:
            lines.append("")
        lines[-1] += ("   " if lines[-1] else " " * (MARGIN + 2)) + label
    return lines
