"""Draw attention weights as a PNG or SVG image with matplotlib (the extra `plot`)."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nmt.core import files
from nmt.decoding.search.trace import FloatArray
from nmt.errors import DataError
from nmt.interpret.terminal_heatmap import display_label

CELL_INCHES = 0.28
MARGIN_INCHES = 1.5
DOTS_PER_INCH = 200
DEFAULT_FONT = "DejaVu Sans"
"""The font that matplotlib installs."""
REGULAR_WEIGHT = 400
"""Weight of fonts that are neither light nor bold."""


def require_matplotlib() -> None:
    """Raise DataError if matplotlib is not installed."""
    if importlib.util.find_spec("matplotlib") is None:
        raise DataError("pictures need matplotlib, which is not installed: pip install 'nmt[plot]'")


def draw_image(
    file: Path, image_format: str, weights: FloatArray, source: list[str], target: list[str]
) -> None:
    """Write a heat map of target x source weights; `image_format` is png or svg."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    rows, columns = weights.shape
    size = (MARGIN_INCHES + CELL_INCHES * columns, MARGIN_INCHES + CELL_INCHES * rows)
    with mpl.rc_context({"svg.fonttype": "none", "font.family": find_fonts(source + target)}):
        figure = Figure(figsize=size)
        axes = figure.add_subplot()
        image = axes.imshow(weights, cmap="Greys", vmin=0.0, vmax=1.0)
        axes.set_xticks(
            range(columns), [display_label(word) for word in source], rotation=90, parse_math=False
        )
        axes.set_yticks(range(rows), [display_label(word) for word in target], parse_math=False)
        axes.xaxis.tick_top()
        axes.tick_params(length=0)
        figure.colorbar(image, ax=axes, fraction=0.03, pad=0.02, label="attention weight")
        content = io.BytesIO()
        figure.savefig(content, format=image_format, bbox_inches="tight", dpi=DOTS_PER_INCH)
    files.write_bytes(file, content.getvalue())


def find_fonts(words: Sequence[str]) -> list[str]:
    """Return the families of installed fonts that draw `words`, in the order of preference.

    Together they contain all printable characters of `words` that any installed font contains.
    Only upright fonts of regular weight are used.
    """
    from matplotlib import font_manager
    from matplotlib.ft2font import FT2Font

    missing = {character for word in words for character in word if character.isprintable()}
    fonts = [
        font
        for font in font_manager.fontManager.ttflist
        if font.style == "normal" and font.weight == REGULAR_WEIGHT
    ]
    families = []
    for font in sorted(fonts, key=_preference):
        if not missing:
            break
        try:
            glyphs = FT2Font(font.fname)
        except RuntimeError:  # matplotlib cannot draw fonts of colour bitmaps
            continue
        covered = {character for character in missing if glyphs.get_char_index(ord(character))}
        if covered:
            families.append(font.name)
            missing -= covered
    return families


def _preference(font: Any) -> tuple[bool, bool, bool]:
    """Return a sort key: matplotlib's font first, then sans serif fonts, then others.

    "Last Resort" fonts come last: they draw a box for every character.
    """
    is_fallback = font.name.startswith("Last Resort")
    return (is_fallback, font.name != DEFAULT_FONT, "Sans" not in font.name)
