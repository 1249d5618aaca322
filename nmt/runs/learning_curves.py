"""The learning curves of a run, as `metrics.jsonl` has them."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Any

from nmt.core.run_dir import RunDir

Values = list[float | None]
"""One value a record; None where it was not finite or is not there."""


@dataclass(frozen=True)
class TrainCurve:
    """One entry a record of training progress, some ten seconds apart."""

    update: list[int] = field(default_factory=list)
    seconds: Values = field(default_factory=list)
    """Time spent training, validation included."""
    epoch: Values = field(default_factory=list)
    loss: Values = field(default_factory=list)
    """Cross entropy a target token since the last record, in nats, with dropout and smoothing."""
    lr: Values = field(default_factory=list)
    tokens_per_second: Values = field(default_factory=list)
    """Target tokens, without the time of validation."""


@dataclass(frozen=True)
class ValidCurve:
    """One entry a validation."""

    update: list[int] = field(default_factory=list)
    seconds: Values = field(default_factory=list)
    loss: Values = field(default_factory=list)
    """Cross entropy a target token, in nats."""
    perplexity: Values = field(default_factory=list)
    bleu: Values = field(default_factory=list)


@dataclass(frozen=True)
class LearningCurves:
    """What one run recorded of its training and its validations."""

    train: TrainCurve = field(default_factory=TrainCurve)
    valid: ValidCurve = field(default_factory=ValidCurve)
    damaged: list[int] = field(default_factory=list)
    """Lines, counted from 1, that hold no record; a last one that a kill cut is not here."""


def read_curves(run: RunDir) -> LearningCurves:
    """Read a run's `metrics.jsonl`; where there is none, the curves are empty."""
    found = LearningCurves()
    if not run.metrics.exists():
        return found
    *lines, _ = run.metrics.read_text(encoding="utf-8", errors="replace").split("\n")
    for number, line in enumerate(lines, 1):
        record = _record(line)
        if record is None:
            found.damaged.append(number)
        elif record["kind"] == "train":
            _add(found.train, record)
        elif record["kind"] == "valid":
            _add(found.valid, record)
    return found


def _record(line: str) -> dict[str, Any] | None:
    """Return the record in a line, None where it holds none."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or not isinstance(record.get("update"), int):
        return None
    return record if "kind" in record else None


def _add(curve: TrainCurve | ValidCurve, record: dict[str, Any]) -> None:
    for name, values in vars(curve).items():
        values.append(record["update"] if name == "update" else finite_or_none(record.get(name)))


def finite_or_none(value: Any) -> float | None:
    """Return what was read from a file if it is a finite number, else None."""
    usable = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return value if usable else None
