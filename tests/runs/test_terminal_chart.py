"""Terminal charts place points correctly, mark the runs and fit the width."""

from __future__ import annotations

import pytest

from nmt.runs.chart_data import Panel, Series
from nmt.runs.terminal_chart import MARGIN, OVERLAP_MARK, ROWS, render_panel

AREA = MARGIN + 2
"""Column at which the drawing begins."""


def make_panel(*series: Series, log: bool = False) -> Panel:
    return Panel("title", log, list(series))


def drawing_rows(panel: Panel, width: int = 80, largest: float = 100) -> list[str]:
    """Return the rows of the drawing from the top, without axes and labels."""
    lines = render_panel(panel, width, largest, "updates").split("\n")
    assert lines[0] == "title"
    return [line[AREA:].ljust(width - AREA) for line in lines[1 : ROWS + 1]]


def make_series(mark: str, xs: list[float], ys: list[float], run: int = 0) -> Series:
    return Series(run, mark, f"{mark} run", xs, ys)


def test_render_panel_places_points() -> None:
    rows = drawing_rows(make_panel(make_series("a", [0, 50, 100], [0, 6.5, 13])), width=AREA + 21)
    assert len(rows) == 14
    assert {(row.index("a"), i) for i, row in enumerate(rows) if "a" in row} == {
        (0, 13),
        (10, 7),
        (20, 0),
    }


@pytest.mark.parametrize("value", [9.899e-05, -9.899e-05, 1.234e-105, -1.234e-105])
def test_render_panel_long_label_fits_margin(value: float) -> None:
    lines = render_panel(make_panel(make_series("a", [0, 1], [value, 2 * value])), 80, 1, "updates")
    assert {line.index("|") for line in lines.split("\n")[1 : ROWS + 1]} == {MARGIN + 1}


def test_render_panel_averages_points_of_a_column() -> None:
    rows = drawing_rows(
        make_panel(
            make_series("a", [0, 100, 100], [0, 13, 13]), make_series("A", [50, 50], [13, 5], 0)
        )
    )
    [row] = [i for i, row in enumerate(rows) if "A" in row]
    assert row == 13 - 9


def test_render_panel_log_axis_has_equal_steps() -> None:
    rows = drawing_rows(make_panel(make_series("a", [0, 50, 100], [1, 10, 100]), log=True))
    row_indices = sorted(i for i, row in enumerate(rows) if "a" in row)
    assert row_indices[1] - row_indices[0] == pytest.approx(row_indices[2] - row_indices[1], abs=1)


def test_render_panel_marks_cells_of_several_runs() -> None:
    low, high = make_series("a", [0, 100], [0, 1]), make_series("B", [0, 100], [1, 1], run=1)
    rows = drawing_rows(make_panel(low, high))
    assert (rows[0][0], rows[0].rstrip()[-1], rows[-1][0]) == ("B", OVERLAP_MARK, "a")
    run_rows = drawing_rows(make_panel(low, make_series("A", [100], [1])))
    assert run_rows[0].rstrip()[-1] == "A", "validations hide the training curve of the same run"


@pytest.mark.parametrize("width", [1, 40, 80, 200])
def test_render_panel_fits_width(width: int) -> None:
    chart = render_panel(
        make_panel(make_series("a", [3.0, 123_456], [1e-9, 1e9])), width, 123_456, "updates"
    )
    assert max(map(len, chart.split("\n"))) <= max(width, AREA + 20)


@pytest.mark.parametrize("y", [0.0, 3.0, -1.0])
@pytest.mark.parametrize("log", [False, True])
def test_render_panel_draws_single_point(y: float, log: bool) -> None:
    rows = drawing_rows(make_panel(make_series("a", [0], [y]), log=log), largest=0)
    assert sum(row.count("a") for row in rows) == 1


def test_render_panel_labels_x_axis() -> None:
    chart = render_panel(
        make_panel(make_series("a", [0, 7200], [0, 1])), 80, 7200, "seconds"
    ).split("\n")
    assert chart[ROWS + 2].split() == ["0", "1h00m", "2h00m", "time"]
    chart = render_panel(make_panel(make_series("a", [0, 3], [0, 1])), 80, 3, "epoch").split("\n")
    assert chart[ROWS + 2].split() == ["0", "1.5", "3", "epochs"]


def test_render_panel_without_records_says_so() -> None:
    assert render_panel(make_panel(), 80, 1, "updates") == "title: no records yet"
