"""BLEU by the amount of training text, with a forecast for more text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MIN_POINTS = 3
"""Minimum number of runs for a learning curve: two always lie on a line."""
INTERVAL = (2.5, 97.5)
"""Percentiles of a 95% interval."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class DataPoint:
    """BLEU of a run on the validation text."""

    name: str
    pairs: int
    """Number of training pairs."""
    bleu: float
    resampled: Array
    """BLEU on bootstrap samples of the lines, the same samples for all runs."""


@dataclass(frozen=True)
class Forecast:
    """Expected BLEU with another number of training pairs."""

    pairs: int
    bleu: float
    low: float
    high: float


@dataclass(frozen=True)
class DataCurve:
    """BLEU = intercept + gain * log2(training pairs), by least squares."""

    gain: float
    """BLEU per doubling of the training text."""
    low: float
    high: float
    """95% interval of the gain, for other lines of text; other seeds are not included."""
    largest_error: float
    """Largest distance of a run from the curve, in BLEU."""
    forecasts: list[Forecast]


def fit_data_curve(points: Sequence[DataPoint]) -> DataCurve:
    """Fit BLEU to the logarithm of the number of training pairs; forecast two and four times it.

    BLEU grows almost linearly with the logarithm (Koehn & Knowles 2017, figure 3). There must be
    MIN_POINTS runs with different numbers of pairs.
    """
    sizes = np.log2([point.pairs for point in points])
    design = np.stack([np.ones_like(sizes), sizes], 1)
    scores = np.array([[point.bleu, *point.resampled] for point in points])
    coefficients, *_ = np.linalg.lstsq(design, scores, rcond=None)
    low, high = np.percentile(coefficients[1, 1:], INTERVAL)
    largest = max(point.pairs for point in points)
    forecasts = []
    for pairs in (2 * largest, 4 * largest):
        expected = np.array([1.0, math.log2(pairs)]) @ coefficients
        bounds = np.percentile(expected[1:], INTERVAL)
        forecasts.append(Forecast(pairs, float(expected[0]), *map(float, bounds)))
    return DataCurve(
        gain=float(coefficients[1, 0]),
        low=float(low),
        high=float(high),
        largest_error=float(np.abs(design @ coefficients[:, 0] - scores[:, 0]).max()),
        forecasts=forecasts,
    )
