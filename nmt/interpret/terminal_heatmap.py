"""Attention weights as a heat map for a terminal: source words across, target words down.

Widths are terminal cells: a character of a wide script takes two, a combining mark none.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size

from nmt.decoding.search.trace import FloatArray

SHADES = ((0.8, "█"), (0.5, "▓"), (0.25, "▒"), (0.1, "░"))
"""Smallest weight of each shade; smaller weights are blank."""
MAX_LABEL_WIDTH = 20
"""Maximum width of a label; longer ones are truncated and marked with an ellipsis."""
CONTROL_CATEGORIES = ("Cc", "Zl", "Zp")
MIN_COLUMN_WIDTH = 3
GREY, ORANGE = (120, 120, 140), (240, 100, 0)
"""Colours of weights 0 and 1; both are readable on light and dark backgrounds."""


def draw_heatmap(
    weights: FloatArray,
    source: Sequence[str],
    target: Sequence[str],
    width: int,
    use_colour: bool,
) -> str:
    """Return target x source weights as a heat map at most `width` cells wide.

    Source columns that do not fit continue in further maps below.
    """
    labels = [display_label(word) for word in target]
    margin = max(map(cell_len, labels), default=0)
    labels = [" " * (margin - cell_len(label)) + label for label in labels]
    headers = [display_label(word) for word in source]
    column_widths = [max(MIN_COLUMN_WIDTH, cell_len(header)) for header in headers]
    maps = []
    for columns in _wrap_columns(column_widths, width - margin):
        header = "".join(f" {pad(headers[s], MIN_COLUMN_WIDTH)}" for s in columns)
        rows = [" " * margin + header]
        for label, row in zip(labels, weights, strict=True):
            cells = (_draw_cell(float(row[s]), column_widths[s], use_colour) for s in columns)
            rows.append(label + "".join(f" {cell}" for cell in cells))
        maps.append("\n".join(row.rstrip() for row in rows))
    return "\n\n".join(maps)


def display_label(word: str) -> str:
    """Return a word with control characters replaced, truncated to MAX_LABEL_WIDTH."""
    shown = "".join(
        "\N{REPLACEMENT CHARACTER}" if unicodedata.category(c) in CONTROL_CATEGORIES else c
        for c in word
    )
    if cell_len(shown) <= MAX_LABEL_WIDTH:
        return shown
    return set_cell_size(shown, MAX_LABEL_WIDTH - 1).rstrip() + "…"


def pad(word: str, width: int) -> str:
    """Append spaces to a word up to `width` cells."""
    return word + " " * (width - cell_len(word))


def _wrap_columns(column_widths: Sequence[int], width: int) -> list[list[int]]:
    """Distribute column indices over lines of at most `width` cells, at least one per line."""
    lines: list[list[int]] = [[]]
    used = 0
    for index, column_width in enumerate(column_widths):
        needed = 1 + column_width
        if lines[-1] and used + needed > width:
            lines.append([])
            used = 0
        lines[-1].append(index)
        used += needed
    return lines


def _draw_cell(weight: float, width: int, use_colour: bool) -> str:
    shade = next((shade for smallest, shade in SHADES if weight >= smallest), " ")
    block = shade * MIN_COLUMN_WIDTH
    padding = " " * (width - MIN_COLUMN_WIDTH)
    return (colour(block, weight) if use_colour and block.strip() else block) + padding


def colour(text: str, weight: float) -> str:
    """Return text in a terminal colour between grey (weight 0) and orange (weight 1)."""
    red, green, blue = (round(a + (b - a) * weight) for a, b in zip(GREY, ORANGE, strict=True))
    return f"\x1b[38;2;{red};{green};{blue}m{text}\x1b[0m"
