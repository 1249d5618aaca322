"""`nmt plot`: draw the learning curves of runs in the terminal or as a picture."""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path

from nmt.core.console import print_result
from nmt.core.outputs import check_outputs
from nmt.core.run_dir import open_run
from nmt.errors import ConfigError, RunError, did_you_mean
from nmt.runs.chart_data import MAX_RUNS, PANEL_KINDS, Panel, XAxis, build_panels
from nmt.runs.learning_curves import read_curves
from nmt.runs.terminal_chart import render_panel

logger = logging.getLogger(__name__)

DEFAULT_WIDTH = 80
"""Characters per line if stdout is not a terminal."""


@dataclass(frozen=True)
class PlotOptions:
    """Options of `nmt plot`."""

    runs: list[Path]
    kinds: str = "loss,bleu"
    """Kinds of panels, separated by commas."""
    x_axis: XAxis = "updates"
    png: Path | None = None
    svg: Path | None = None

    @property
    def pictures(self) -> dict[str, Path]:
        """The pictures to write, by format."""
        pictures = {"png": self.png, "svg": self.svg}
        return {kind: file for kind, file in pictures.items() if file is not None}


def run(options: PlotOptions) -> None:
    """Draw one panel for each kind, with the curves of all runs."""
    pictures = options.pictures
    if len({file.resolve() for file in pictures.values()}) < len(pictures):
        raise ConfigError(["--png and --svg: expected different files, got the same one"])
    check_outputs({f"--{kind}": file for kind, file in pictures.items()})
    if len(options.runs) > MAX_RUNS:
        raise ConfigError([f"RUN...: expected at most {MAX_RUNS} runs, got {len(options.runs)}"])
    curves = [(str(folder), read_curves(open_run(folder))) for folder in options.runs]
    panels = build_panels(curves, parse_kinds(options.kinds), options.x_axis)
    if not any(panel.series for panel in panels):
        runs = ", ".join(map(str, options.runs))
        raise RunError(f"{runs}: nothing to plot has been recorded yet")
    if pictures:
        write_pictures(panels, options.x_axis, pictures)
        return
    width = shutil.get_terminal_size((DEFAULT_WIDTH, 24)).columns
    max_x = max(max(series.x) for panel in panels for series in panel.series)
    print_result("\n\n".join(render_panel(panel, width, max_x, options.x_axis) for panel in panels))


def parse_kinds(text: str) -> list[str]:
    """Split kinds at commas and remove duplicates. Raises ConfigError for an unknown kind."""
    kinds = list(dict.fromkeys(text.replace(" ", "").split(",")))
    for kind in kinds:
        if kind not in PANEL_KINDS:
            hint = did_you_mean(kind, PANEL_KINDS)
            raise ConfigError(
                [f"--of: expected any of {', '.join(PANEL_KINDS)}, got '{kind}'{hint}"]
            )
    return kinds


def write_pictures(panels: list[Panel], x_axis: XAxis, pictures: dict[str, Path]) -> None:
    """Write the panels that have curves to a picture of each format."""
    # Imported here, because matplotlib is slow to import and optional.
    from nmt.interpret.heatmap_image import find_fonts, require_matplotlib
    from nmt.runs.chart_image import write_chart

    require_matplotlib()
    panels = [panel for panel in panels if panel.series]
    fonts = find_fonts([series.label for panel in panels for series in panel.series])
    for kind, file in pictures.items():
        write_chart(file, kind, panels, x_axis, fonts)
        logger.info(f"wrote {file}")
