"""Draw learning curves as PNG or SVG with matplotlib (the extra `plot`)."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from nmt.core import files
from nmt.runs.chart_data import X_LABELS, Panel, XAxis

WIDTH, PANEL_HEIGHT = 8.0, 3.4
"""Size in inches."""
COLORS = 10
"""Number of colors in matplotlib's cycle."""
LINE_STYLES = ("-", "--", ":")
"""Line styles of the first COLORS runs, the next COLORS runs, and so on."""


def write_chart(
    file: Path, file_format: str, panels: Sequence[Panel], axis: XAxis, fonts: Sequence[str]
) -> None:
    """Write the panels below each other; `file_format` is "png" or "svg".

    Training curves are thin lines, validation curves have dots, and each run has a color. `fonts`
    are font families with the characters of the labels.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.fonttype": "none", "font.family": list(fonts)}):
        figure = Figure(figsize=(WIDTH, PANEL_HEIGHT * len(panels)), layout="constrained")
        column = figure.subplots(len(panels), sharex=True, squeeze=False)[:, 0]
        for axes, panel in zip(column, panels, strict=True):
            for series in panel.series:
                axes.plot(
                    series.x,
                    series.y,
                    color=f"C{series.run}",
                    marker="o" if series.is_validation else "",
                    markersize=3,
                    linestyle=LINE_STYLES[series.run // COLORS],
                    linewidth=1.5 if series.is_validation else 0.8,
                    alpha=1.0 if series.is_validation else 0.6,
                    label=series.label.replace("$", r"\$"),  # "$" would begin a formula
                )
            axes.set_title(panel.title, fontsize="medium")
            axes.grid(alpha=0.3)
            axes.legend(fontsize="small")
            if panel.is_log:
                axes.set_yscale("log")
        column[-1].set_xlim(left=0)
        column[-1].set_xlabel("seconds" if axis == "seconds" else X_LABELS[axis])
        content = io.BytesIO()
        figure.savefig(content, format=file_format, dpi=150)
    files.write_bytes(file, content.getvalue())
