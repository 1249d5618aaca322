"""Which curves of which runs stand in one drawing, and along which axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_lowercase
from typing import Literal

import numpy as np

from nmt.runs.learning_curves import LearningCurves, TrainCurve, ValidCurve

XAxis = Literal["updates", "seconds", "epoch"]
MAX_RUNS = len(ascii_lowercase)


@dataclass(frozen=True)
class Series:
    """One curve."""

    run: int
    """Of which run, from 0."""
    mark: str
    """A letter for the run: small for what training recorded, capital for validations."""
    label: str
    x: list[float]
    y: list[float]


@dataclass(frozen=True)
class Panel:
    """The curves of one kind."""

    title: str
    log: bool
    """Whether y goes by its logarithm."""
    series: list[Series]


@dataclass(frozen=True)
class _Kind:
    """What a panel shows: a field of the training curve, or of the validation curve, or of both."""

    title: str
    field: str
    train: bool = False
    valid: bool = False
    log: bool = False


PANEL_KINDS: dict[str, _Kind] = {
    "loss": _Kind("loss, nats a target token", "loss", train=True, valid=True),
    "perplexity": _Kind("validation perplexity", "perplexity", valid=True, log=True),
    "bleu": _Kind("validation BLEU", "bleu", valid=True),
    "lr": _Kind("learning rate", "lr", train=True),
    "speed": _Kind("target tokens/s", "tokens_per_second", train=True),
}
X_LABELS: dict[XAxis, str] = {"updates": "updates", "seconds": "time", "epoch": "epochs"}
"""What stands beside each axis."""


def build_panels(
    runs: Sequence[tuple[str, LearningCurves]], kinds: Sequence[str], axis: XAxis
) -> list[Panel]:
    """Return a panel a kind, with the curves of all runs, given as (name, curves)."""
    return [_panel(runs, PANEL_KINDS[kind], axis) for kind in kinds]


def _panel(runs: Sequence[tuple[str, LearningCurves]], kind: _Kind, axis: XAxis) -> Panel:
    found = []
    for number, (name, its) in enumerate(runs):
        small = ascii_lowercase[number]
        both = kind.train and kind.valid
        if kind.train:
            label = f"{small} {name}" + (", training" if both else "")
            found.append(_series(number, small, label, its, its.train, kind.field, axis))
        if kind.valid:
            label = f"{small.upper()} {name}" + (", validation" if both else "")
            found.append(_series(number, small.upper(), label, its, its.valid, kind.field, axis))
    return Panel(kind.title, kind.log, [series for series in found if series.x])


def _series(
    run: int,
    mark: str,
    label: str,
    its: LearningCurves,
    curve: TrainCurve | ValidCurve,
    field: str,
    axis: XAxis,
) -> Series:
    """Return one curve without the records in which a value is missing."""
    places = zip(_places(its, curve, axis), getattr(curve, field), strict=True)
    known = [(x, y) for x, y in places if x is not None and y is not None]
    return Series(run, mark, label, [x for x, _ in known], [y for _, y in known])


def _places(
    its: LearningCurves, curve: TrainCurve | ValidCurve, axis: XAxis
) -> Sequence[float | None]:
    """Return where each record of a curve stands on the x axis."""
    if axis == "updates":
        return curve.update
    if axis == "seconds":
        return curve.seconds
    train = its.train
    known = [(u, e) for u, e in zip(train.update, train.epoch, strict=True) if e is not None]
    if not known:
        return [None] * len(curve.update)
    updates, epochs = zip(*known, strict=True)
    return np.interp(curve.update, [0, *updates], [0.0, *epochs]).tolist()  # type: ignore[no-any-return]
