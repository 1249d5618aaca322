"""Going on with a run: which settings may change, and what a killed run left behind."""

from __future__ import annotations

import json
from typing import Any

from nmt import files
from nmt.config import Config
from nmt.errors import RunError
from nmt.rundir import RunDir

FIXED = (
    "model",
    "tokenizer",
    "data.src",
    "data.tgt",
    "data.max_length",
    "train.seed",
    "train.batch_tokens",
    "train.optimizer",
    "train.stop_metric",
    "train.ema",
)
"""What a run cannot change: weights, pieces, the order of batches or past scores hang on it."""
OWN_MODEL = "tokenizer.model"
"""May move, as text files may: the stages that read them refuse another content."""
MEASURED = ("tokenizer.vocab_size", "train.threads")
"""Settings that are measured once where they are not given, and reused on resume."""
AUTO = ("train.precision", "train.micro_batch_tokens")
"""The same where they say `auto`."""


def reuse_measured(new: Config, old: Config) -> Config:
    """Return `new` with what the run measured in place of what is still open in it."""
    open_ones = [name for name in MEASURED if not new.is_given(name)]
    open_ones += [
        name for name in AUTO if _value(new, name) == "auto" and _value(old, name) is not None
    ]
    return new.with_values({name: _value(old, name) for name in open_ones})


def changed_settings(new: Config, old: Config) -> list[str]:
    """Return "name: old -> new" for every setting that differs.

    Raises RunError where one of them cannot change.
    """
    changes: list[str] = []
    refused: list[str] = []
    for section, values in new.model_dump(mode="json").items():
        if not isinstance(values, dict):
            continue
        for key, value in values.items():
            name, before = f"{section}.{key}", _value(old, f"{section}.{key}")
            if value == before:
                continue
            fixed = (name in FIXED or section in FIXED) and name != OWN_MODEL
            (refused if fixed else changes).append(f"{name}: {before} -> {value}")
    if refused:
        raise RunError(
            "these settings cannot change within a run: "
            + "; ".join(refused)
            + ". Set them back, name another run with --run, or start anew with --overwrite"
        )
    return changes


def _value(config: Config, name: str) -> Any:
    section, key = name.split(".")
    return config.model_dump(mode="json")[section][key]


def forget_later_records(run: RunDir, update: int) -> None:
    """Drop metrics of updates after `update`, which a killed run did and this one does again."""
    if not run.metrics.is_file():
        return
    kept = []
    for line in run.metrics.read_bytes().decode("utf-8", "replace").split("\n"):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue  # blank, or the line that the kill cut short
        at = record.get("update") if isinstance(record, dict) else None
        if isinstance(at, int) and at <= update:
            kept.append(line)
    files.write_text(run.metrics, "".join(f"{line}\n" for line in kept))
