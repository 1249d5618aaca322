"""Learning curves are selected into panels and series."""

from __future__ import annotations

from pathlib import Path

import pytest

from nmt.core.run_dir import RunDir
from nmt.runs.chart_data import PANEL_KINDS, build_panels
from nmt.runs.learning_curves import LearningCurves, read_curves
from tests.support.run_folders import train_record, valid_record, write_metrics


@pytest.fixture
def curves(tmp_path: Path) -> LearningCurves:
    run = RunDir(tmp_path)
    write_metrics(run, [train_record(40), train_record(80), valid_record(80), valid_record(100)])
    return read_curves(run)


def test_build_panels_marks_training_and_validation(curves: LearningCurves) -> None:
    [loss, bleu] = build_panels([("one", curves), ("two", curves)], ["loss", "bleu"], "updates")
    assert [series.label for series in loss.series] == [
        "a one, training",
        "A one, validation",
        "b two, training",
        "B two, validation",
    ]
    assert [series.label for series in bleu.series] == ["A one", "B two"]
    assert (loss.series[0].x, loss.series[0].y) == ([40, 80], [4.6, 4.2])
    assert (bleu.series[1].x, bleu.series[1].y) == ([80, 100], [8, 10])


@pytest.mark.parametrize("kind", PANEL_KINDS)
def test_build_panels_of_any_kind_contain_values(curves: LearningCurves, kind: str) -> None:
    [panel] = build_panels([("one", curves)], [kind], "updates")
    assert all(series.y for series in panel.series)
    assert panel.series


def test_build_panels_x_axis_is_time_or_epochs(curves: LearningCurves) -> None:
    [by_time] = build_panels([("one", curves)], ["bleu"], "seconds")
    assert by_time.series[0].x == [9, 11]
    [by_epoch] = build_panels([("one", curves)], ["bleu"], "epoch")
    assert by_epoch.series[0].x == [2, 2], "the last record of training was in epoch 2"


def test_build_panels_omits_missing_values(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    write_metrics(run, [train_record(1, loss=None), train_record(2), valid_record(2, bleu=None)])
    loss, bleu = build_panels([("one", read_curves(run))], ["loss", "bleu"], "epoch")
    assert [series.x for series in loss.series] == [[0.05], [0.05]]
    assert bleu.series == []
