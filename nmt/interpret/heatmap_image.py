"""Attention as a picture for a paper: PNG or SVG, drawn by matplotlib (the extra `plot`)."""

from __future__ import annotations

import importlib.util
import io
from pathlib import Path
from typing import Any

from nmt.core import files
from nmt.decoding.trace import FloatArray
from nmt.errors import DataError
from nmt.interpret.terminal_heatmap import fit

CELL_INCHES = 0.28
PLAIN = "DejaVu Sans"
"""The font that matplotlib brings along."""


def require_matplotlib() -> None:
    """Raise DataError where matplotlib is not installed."""
    if importlib.util.find_spec("matplotlib") is None:
        raise DataError("pictures need matplotlib, which is not installed: pip install 'nmt[plot]'")


def draw(file: Path, kind: str, weights: FloatArray, source: list[str], target: list[str]) -> None:
    """Write a heat map of target x source weights; `kind` is png or svg."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    rows, columns = weights.shape
    with mpl.rc_context({"svg.fonttype": "none", "font.family": fonts(source + target)}):
        figure = Figure(figsize=(1.5 + CELL_INCHES * columns, 1.5 + CELL_INCHES * rows))
        axes = figure.add_subplot()
        image = axes.imshow(weights, cmap="Greys", vmin=0.0, vmax=1.0)
        axes.set_xticks(
            range(columns), [fit(word) for word in source], rotation=90, parse_math=False
        )
        axes.set_yticks(range(rows), [fit(word) for word in target], parse_math=False)
        axes.xaxis.tick_top()
        axes.tick_params(length=0)
        figure.colorbar(image, ax=axes, fraction=0.03, pad=0.02, label="attention weight")
        content = io.BytesIO()
        figure.savefig(content, format=kind, bbox_inches="tight", dpi=200)
    files.write_bytes(file, content.getvalue())


def _rank(font: Any) -> tuple[bool, bool, bool]:
    """Order fonts: matplotlib's own, those without serifs, the others; boxes at the very end."""
    return (font.name.startswith("Last Resort"), font.name != PLAIN, "Sans" not in font.name)


def fonts(words: list[str]) -> list[str]:
    """Return the families of installed fonts that have the characters of `words` between them."""
    from matplotlib import font_manager
    from matplotlib.ft2font import FT2Font

    missing = {character for word in words for character in word if character.isprintable()}
    usual = [f for f in font_manager.fontManager.ttflist if f.style == "normal" and f.weight == 400]
    usual.sort(key=_rank)
    families = []
    for font in usual:
        if not missing:
            break
        try:
            face = FT2Font(font.fname)
        except RuntimeError:  # colour bitmaps, which matplotlib does not draw
            continue
        covered = {character for character in missing if face.get_char_index(ord(character))}
        if covered:
            families.append(font.name)
            missing -= covered
    return families
