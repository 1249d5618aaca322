"""Curves as a picture: PNG or SVG, drawn by matplotlib (the extra `plot`)."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from nmt.core import files
from nmt.runs.chart_data import X_LABELS, Panel, XAxis

INCHES = (8.0, 3.4)
"""Width of the picture and height of a panel."""
COLOURS = 10
"""Of matplotlib's cycle."""
STYLES = ("-", "--", ":")
"""Of the lines of runs for which there is no colour left."""


def write_chart(
    file: Path, kind: str, panels: Sequence[Panel], axis: XAxis, families: Sequence[str]
) -> None:
    """Write the panels, one below the other; `kind` is png or svg.

    Curves of training are thin lines, validations have dots; each run has a colour. `families`
    are fonts that have the characters of the labels.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    width, height = INCHES
    with mpl.rc_context({"svg.fonttype": "none", "font.family": list(families)}):
        figure = Figure(figsize=(width, height * len(panels)), layout="constrained")
        column = figure.subplots(len(panels), sharex=True, squeeze=False)[:, 0]
        for axes, panel in zip(column, panels, strict=True):
            for series in panel.series:
                dots = "o" if series.mark.isupper() else ""
                label = series.label.replace("$", r"\$")  # else it would begin a formula
                axes.plot(
                    series.x,
                    series.y,
                    color=f"C{series.run}",
                    marker=dots,
                    markersize=3,
                    linestyle=STYLES[series.run // COLOURS],
                    linewidth=1.5 if dots else 0.8,
                    alpha=1.0 if dots else 0.6,
                    label=label,
                )
            axes.set_title(panel.title, fontsize="medium")
            axes.grid(alpha=0.3)
            axes.legend(fontsize="small")
            if panel.log:
                axes.set_yscale("log")
        column[-1].set_xlim(left=0)
        column[-1].set_xlabel("seconds" if axis == "seconds" else X_LABELS[axis])
        content = io.BytesIO()
        figure.savefig(content, format=kind, dpi=150)
    files.write_bytes(file, content.getvalue())
