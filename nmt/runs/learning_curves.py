"""Read the learning curves of a run from `metrics.jsonl`."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Any

from nmt.core.run_dir import RunDir

Values = list[float | None]
"""One value per record; None if it is missing or not finite."""


@dataclass(frozen=True)
class TrainCurve:
    """Training progress: one entry per record, about every ten seconds.

    The names of the fields are those of the records.
    """

    update: list[int] = field(default_factory=list)
    """Number of the optimizer step, from 1."""
    seconds: Values = field(default_factory=list)
    """Seconds of training, validation included."""
    epoch: Values = field(default_factory=list)
    loss: Values = field(default_factory=list)
    """Cross-entropy per target token since the last record, in nats, with label smoothing."""
    lr: Values = field(default_factory=list)
    tokens_per_second: Values = field(default_factory=list)
    """Target tokens per second, without the time of validation."""


@dataclass(frozen=True)
class ValidCurve:
    """Validation results: one entry per validation."""

    update: list[int] = field(default_factory=list)
    """Number of the optimizer step, from 1."""
    seconds: Values = field(default_factory=list)
    """Seconds of training, validation included."""
    loss: Values = field(default_factory=list)
    """Cross-entropy per target token, in nats."""
    perplexity: Values = field(default_factory=list)
    bleu: Values = field(default_factory=list)


@dataclass(frozen=True)
class LearningCurves:
    """The training and validation curves of one run."""

    train: TrainCurve = field(default_factory=TrainCurve)
    valid: ValidCurve = field(default_factory=ValidCurve)
    damaged: list[int] = field(default_factory=list)
    """Numbers of damaged lines, counted from 1, without an unfinished last line."""


def read_curves(run: RunDir) -> LearningCurves:
    """Read the curves of a run; they are empty if it has no `metrics.jsonl`.

    Records of other kinds than "train" and "valid" are ignored.
    """
    curves = LearningCurves()
    if not run.metrics.exists():
        return curves
    # The text after the last line end is empty, or a record that training is still writing.
    *lines, _unfinished = run.metrics.read_text(encoding="utf-8", errors="replace").split("\n")
    for number, line in enumerate(lines, 1):
        record = _parse_record(line)
        if record is None:
            curves.damaged.append(number)
        elif record["kind"] == "train":
            _append_record(curves.train, record)
        elif record["kind"] == "valid":
            _append_record(curves.valid, record)
    return curves


def _parse_record(line: str) -> dict[str, Any] | None:
    """Return the record of a line, None if the line is damaged."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or not isinstance(record.get("update"), int):
        return None
    return record if "kind" in record else None


def _append_record(curve: TrainCurve | ValidCurve, record: dict[str, Any]) -> None:
    for name, values in vars(curve).items():
        values.append(record["update"] if name == "update" else finite_or_none(record.get(name)))


def finite_or_none(value: Any) -> float | None:
    """Return a value that was read from a file if it is a finite number, else None."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number and math.isfinite(value) else None
