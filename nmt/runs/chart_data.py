"""Select the learning curves of a chart: one panel per kind of curve, one series per run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_lowercase
from typing import Literal

import numpy as np

from nmt.runs.learning_curves import LearningCurves, TrainCurve, ValidCurve

XAxis = Literal["updates", "seconds", "epoch"]
X_LABELS: dict[XAxis, str] = {"updates": "updates", "seconds": "time", "epoch": "epochs"}
MAX_RUNS = len(ascii_lowercase)
"""Maximum number of runs in a chart: each run has a letter."""


@dataclass(frozen=True)
class Series:
    """One curve."""

    run: int
    """Index of the run."""
    mark: str
    """Letter of the run: lower case for training, upper case for validation."""
    label: str
    x: list[float]
    y: list[float]

    @property
    def is_validation(self) -> bool:
        """Whether this is a validation curve."""
        return self.mark.isupper()


@dataclass(frozen=True)
class Panel:
    """The curves of one kind."""

    title: str
    is_log: bool
    """Whether the y axis is logarithmic."""
    series: list[Series]


@dataclass(frozen=True)
class _PanelKind:
    """A field of the training curve, of the validation curve, or of both."""

    title: str
    field: str
    train: bool = False
    valid: bool = False
    is_log: bool = False


PANEL_KINDS: dict[str, _PanelKind] = {
    "loss": _PanelKind("loss, nats a target token", "loss", train=True, valid=True),
    "perplexity": _PanelKind("validation perplexity", "perplexity", valid=True, is_log=True),
    "bleu": _PanelKind("validation BLEU", "bleu", valid=True),
    "lr": _PanelKind("learning rate", "lr", train=True),
    "speed": _PanelKind("target tokens/s", "tokens_per_second", train=True),
}


def build_panels(
    runs: Sequence[tuple[str, LearningCurves]], kinds: Sequence[str], axis: XAxis
) -> list[Panel]:
    """Return a panel per kind with the curves of all runs, given as (name, curves)."""
    return [_build_panel(runs, PANEL_KINDS[kind], axis) for kind in kinds]


def _build_panel(
    runs: Sequence[tuple[str, LearningCurves]], kind: _PanelKind, axis: XAxis
) -> Panel:
    has_both = kind.train and kind.valid
    all_series = []
    for index, (name, curves) in enumerate(runs):
        letter = ascii_lowercase[index]
        if kind.train:
            x, y = _known_points(curves, curves.train, kind.field, axis)
            label = f"{letter} {name}" + (", training" if has_both else "")
            all_series.append(Series(index, letter, label, x, y))
        if kind.valid:
            x, y = _known_points(curves, curves.valid, kind.field, axis)
            label = f"{letter.upper()} {name}" + (", validation" if has_both else "")
            all_series.append(Series(index, letter.upper(), label, x, y))
    return Panel(kind.title, kind.is_log, [series for series in all_series if series.x])


def _known_points(
    curves: LearningCurves, curve: TrainCurve | ValidCurve, field: str, axis: XAxis
) -> tuple[list[float], list[float]]:
    """Return the x and y values of a curve, without records in which one is missing."""
    x_values, y_values = _x_values(curves, curve, axis), getattr(curve, field)
    points = [
        (x, y) for x, y in zip(x_values, y_values, strict=True) if x is not None and y is not None
    ]
    return [x for x, _ in points], [y for _, y in points]


def _x_values(
    curves: LearningCurves, curve: TrainCurve | ValidCurve, axis: XAxis
) -> Sequence[float | None]:
    """Return the x value of each record; epochs are interpolated from the training records."""
    if axis == "updates":
        return curve.update
    if axis == "seconds":
        return curve.seconds
    train = curves.train
    points = [
        (update, epoch)
        for update, epoch in zip(train.update, train.epoch, strict=True)
        if epoch is not None
    ]
    if not points:
        return [None] * len(curve.update)
    updates, epochs = zip(*points, strict=True)
    return np.interp(curve.update, [0, *updates], [0.0, *epochs]).tolist()  # type: ignore[no-any-return]
