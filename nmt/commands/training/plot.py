"""`nmt plot`: the learning curves of runs, in the terminal or as a picture."""

from __future__ import annotations

import shutil
from pathlib import Path

from nmt.core.logging import put, say
from nmt.core.outputs import check_outputs
from nmt.core.run_dir import open_run
from nmt.errors import ConfigError, RunError, did_you_mean
from nmt.runs.chart_data import MAX_RUNS, PANEL_KINDS, Panel, XAxis, build_panels
from nmt.runs.learning_curves import LearningCurves, read_curves
from nmt.runs.terminal_chart import render_panel

PLAIN_WIDTH = 80
"""Cells of a line where stdout is no terminal."""


def run(folders: list[Path], kinds: str, axis: XAxis, pictures: dict[str, Path | None]) -> None:
    """Draw the curves of one run or several, a panel for each of `kinds`, such as "loss,bleu"."""
    named = [file.resolve() for file in pictures.values() if file is not None]
    if len(set(named)) < len(named):
        raise ConfigError(["--png and --svg: expected different files, got the same one"])
    check_outputs({f"--{kind}": picture for kind, picture in pictures.items()})
    if len(folders) > MAX_RUNS:
        raise ConfigError([f"RUN...: expected at most {MAX_RUNS} runs, got {len(folders)}"])
    drawn = build_panels([_read(folder) for folder in folders], _known(kinds), axis)
    if not any(panel.series for panel in drawn):
        raise RunError(f"{', '.join(map(str, folders))}: nothing to plot has been recorded yet")
    if named:
        _save(drawn, axis, pictures)
        return
    width = shutil.get_terminal_size((PLAIN_WIDTH, 24)).columns
    largest = max(max(series.x) for panel in drawn for series in panel.series)
    put("\n\n".join(render_panel(panel, width, largest, axis) for panel in drawn))


def _known(kinds: str) -> list[str]:
    """Return the kinds that are asked for, each once; ConfigError where there is no such kind."""
    asked = list(dict.fromkeys(kinds.replace(" ", "").split(",")))
    for kind in asked:
        if kind not in PANEL_KINDS:
            near = did_you_mean(kind, PANEL_KINDS)
            raise ConfigError(
                [f"--of: expected any of {', '.join(PANEL_KINDS)}, got '{kind}'{near}"]
            )
    return asked


def _read(folder: Path) -> tuple[str, LearningCurves]:
    return str(folder), read_curves(open_run(folder))


def _save(drawn: list[Panel], axis: XAxis, pictures: dict[str, Path | None]) -> None:
    # Imported where pictures are wanted: a drawing in the terminal takes no time.
    from nmt.interpret.heatmap_image import find_fonts, require_matplotlib
    from nmt.runs.chart_image import write_chart

    require_matplotlib()
    shown = [panel for panel in drawn if panel.series]
    families = find_fonts([series.label for panel in shown for series in panel.series])
    for kind, file in pictures.items():
        if file is not None:
            write_chart(file, kind, shown, axis, families)
            say(f"wrote {file}")
