"""The measurements of `nmt evaluate --diagnose`: hints, search settings and the learning curve."""

from __future__ import annotations

import numpy as np
import pytest

from nmt.evaluation.diagnosis.data_curve import DataPoint, fit_data_curve
from nmt.evaluation.diagnosis.measurements import LossGap, search_grid


@pytest.mark.parametrize(
    ("gap", "hint"),
    [
        (LossGap(1.0, 2.0, 0.5), "rose by 0.500 after its minimum: fewer updates"),
        (LossGap(1.0, 2.0, 0.0), "a gap of 1.000 (50%): more regularization"),
        (LossGap(1.9, 2.0, 0.0), "a gap of 0.100 is small: a larger model"),
        (LossGap(2.1, 2.0, None), "a gap of -0.100 is small: a larger model"),
    ],
)
def test_hint_names_its_figure(gap: LossGap, hint: str) -> None:
    assert hint in gap.hint


def test_search_grid_changes_one_setting_at_a_time() -> None:
    first, *others = search_grid(4, 0.7)
    assert first == (4, 0.7)
    assert all((beam == 4) != (penalty == 0.7) for beam, penalty in others)
    assert len(set(others)) == len(others)


def test_search_grid_of_greedy_search_has_no_length_penalties() -> None:
    """A length penalty ranks hypotheses, of which greedy search has one."""
    grid = list(search_grid(1, 1.0))
    assert {penalty for _, penalty in grid} == {1.0}
    assert len(grid) > 1


def test_data_curve_finds_the_line_it_was_made_from() -> None:
    """BLEU = 3 log2(pairs) - 10, and resamples that are shifted together."""
    shifts = np.linspace(-1, 1, 101)
    points = [
        DataPoint(f"{pairs}", pairs, 3 * np.log2(pairs) - 10, 3 * np.log2(pairs) - 10 + shifts)
        for pairs in (1_000, 4_000, 5_000)
    ]
    curve = fit_data_curve(points)
    assert (curve.gain, curve.low, curve.high) == pytest.approx((3, 3, 3))
    assert curve.largest_error == pytest.approx(0, abs=1e-9)
    assert [forecast.pairs for forecast in curve.forecasts] == [10_000, 20_000]
    for forecast in curve.forecasts:
        expected = 3 * np.log2(forecast.pairs) - 10
        bounds = expected - 0.95, expected, expected + 0.95
        assert (forecast.low, forecast.bleu, forecast.high) == pytest.approx(bounds)


def test_data_curve_reports_its_largest_error() -> None:
    """The line through (0, 0), (1, 1), (2, 0) by least squares is 1/3."""
    points = [
        DataPoint(f"{pairs}", pairs, bleu, np.full(3, bleu))
        for pairs, bleu in ((1, 0.0), (2, 1.0), (4, 0.0))
    ]
    curve = fit_data_curve(points)
    assert curve.gain == pytest.approx(0, abs=1e-9)
    assert curve.largest_error == pytest.approx(2 / 3)
