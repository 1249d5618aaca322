"""Attention in a terminal: source across, target down, shaded or coloured.

Cells are counted as a terminal draws them: wide scripts take two, combining marks none.
"""

from __future__ import annotations

import unicodedata

from rich.cells import cell_len, set_cell_size

from nmt.decoding.trace import FloatArray

SHADES = ((0.8, "█"), (0.5, "▓"), (0.25, "▒"), (0.1, "░"))
"""From which weight on a cell is shaded, and how; below the last it is blank."""
LONGEST_LABEL = 20
"""Cells of a word, at most; the rest is cut off and marked."""
REPLACED = "\N{REPLACEMENT CHARACTER}"
CELL = 3
"""Cells of a weight, at least."""


def grid(
    weights: FloatArray, source: list[str], target: list[str], width: int, colour: bool
) -> str:
    """Draw target x source weights, as many source columns side by side as `width` allows.

    What does not fit goes into further grids below, each with the target words again.
    """
    labels = [fit(word) for word in target]
    margin = max(map(cell_len, labels), default=0)
    labels = [" " * (margin - cell_len(label)) + label for label in labels]
    columns = [fit(word) for word in source]
    blocks = []
    for block in _blocks(columns, width - margin):
        rows = [" " * margin + "".join(f" {pad(columns[s], CELL)}" for s in block)]
        for label, row in zip(labels, weights, strict=True):
            cells = (_cell(float(row[s]), max(CELL, cell_len(columns[s])), colour) for s in block)
            rows.append(label + "".join(f" {cell}" for cell in cells))
        blocks.append("\n".join(row.rstrip() for row in rows))
    return "\n\n".join(blocks)


def fit(word: str) -> str:
    """Return a word as it is shown: control characters visible, the too long cut off."""
    hidden = ("Cc", "Zl", "Zp")
    shown = "".join(REPLACED if unicodedata.category(c) in hidden else c for c in word)
    if cell_len(shown) <= LONGEST_LABEL:
        return shown
    return set_cell_size(shown, LONGEST_LABEL - 1).rstrip() + "…"


def pad(word: str, width: int) -> str:
    """Fill a word up to `width` cells."""
    return word + " " * (width - cell_len(word))


def _blocks(columns: list[str], width: int) -> list[list[int]]:
    """Divide columns, by index, into lines of at most `width` cells; each holds one at least."""
    blocks: list[list[int]] = [[]]
    used = 0
    for s, column in enumerate(columns):
        needed = 1 + max(CELL, cell_len(column))
        if blocks[-1] and used + needed > width:
            blocks.append([])
            used = 0
        blocks[-1].append(s)
        used += needed
    return blocks


def _cell(weight: float, width: int, colour: bool) -> str:
    shade = next((shade for least, shade in SHADES if weight >= least), " ") * CELL
    return (paint(shade, weight) if colour and shade.strip() else shade) + " " * (width - CELL)


def paint(text: str, weight: float) -> str:
    """Colour text from grey to orange by weight; both show on light and dark terminals."""
    grey, orange = (120, 120, 140), (240, 100, 0)
    red, green, blue = (round(a + (b - a) * weight) for a, b in zip(grey, orange, strict=True))
    return f"\x1b[38;2;{red};{green};{blue}m{text}\x1b[0m"
