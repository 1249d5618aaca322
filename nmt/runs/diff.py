"""Two runs side by side: settings, text and learning curves."""

from __future__ import annotations

import json

from nmt.config.schema import Config
from nmt.core.logging import duration
from nmt.runs.input_files import InputFile
from nmt.runs.learning_curves import ValidCurve
from nmt.runs.listing import (
    UNKNOWN,
    format_bleu_scores,
    format_decimal,
    format_integer,
    format_score,
)
from nmt.runs.summary import RunSummary

MAX_ROWS = 12
"""Validations shown, at most, spread over the run."""
HASH = 12
"""Digits of a hash that are shown."""

Row = tuple[str, ...]
Setting = tuple[str, bool]
"""A value as the config spells it, and whether a person gave it."""


def diff_settings(one: Config, other: Config) -> list[Row]:
    """Return (name, one's value, other's value) of each setting that differs."""
    a, b = _settings(one), _settings(other)
    rows = [(name, a.get(name), b.get(name)) for name in {**a, **b}]
    return [
        (name, _shown(its), _shown(theirs))
        for name, its, theirs in rows
        if its is None or theirs is None or its[0] != theirs[0]
    ]


def _settings(config: Config) -> dict[str, Setting]:
    """Return every setting by its dotted name."""
    found = {}
    for section, values in config.model_dump(mode="json").items():
        for key, value in values.items() if isinstance(values, dict) else [("", values)]:
            name = f"{section}.{key}" if key else section
            found[name] = json.dumps(value, ensure_ascii=False), config.is_explicit(name)
    return found


def _shown(setting: Setting | None) -> str:
    if setting is None:
        return UNKNOWN
    value, given = setting
    return value if given else f"{value} (default)"


def diff_input_files(
    one: dict[str, list[InputFile]], other: dict[str, list[InputFile]]
) -> list[Row]:
    """Return (purpose, file name, one's hash, other's hash) of the text that only one run has.

    Text is known by what stands in it: where the file lies does not matter.
    """
    rows = []
    for purpose in one:
        sides = [{text.sha256: text for text in its[purpose]} for its in (one, other)]
        only = [
            [text for sha256, text in its.items() if sha256 not in theirs]
            for its, theirs in (sides, sides[::-1])
        ]
        for name in dict.fromkeys(text.name for its in only for text in its):
            hashes = [" ".join(t.sha256[:HASH] for t in its if t.name == name) for its in only]
            rows.append((purpose, name, *(found or UNKNOWN for found in hashes)))
    return rows


def compare_validations(one: ValidCurve, other: ValidCurve) -> list[Row]:
    """Return update, losses and BLEU of both where both validated: at most MOST_ROWS of them."""
    places = [{update: i for i, update in enumerate(curve.update)} for curve in (one, other)]
    updates = sorted(places[0].keys() & places[1].keys())
    every = -(-len(updates) // MAX_ROWS) or 1
    rows = []
    for update in updates[::-1][::every][::-1]:
        i, j = (place[update] for place in places)
        losses = (format_decimal(curve.loss[k], 3) for curve, k in ((one, i), (other, j)))
        bleus = (format_decimal(curve.bleu[k], 2) for curve, k in ((one, i), (other, j)))
        rows.append((f"{update:,}", *losses, *bleus))
    return rows


def compare_results(one: RunSummary, other: RunSummary) -> list[Row]:
    """Return (what, one's, other's): what became of both, whether it differs or not."""
    pairs = zip(_end(one).items(), _end(other).values(), strict=True)
    return [(what, its, theirs) for (what, its), theirs in pairs]


def _end(summary: RunSummary) -> dict[str, str]:
    best, speed = format_score(summary.metric, summary.best), summary.tokens_per_second
    return {
        "state": f"{summary.state}, {summary.update:,} updates, {duration(summary.seconds)}",
        "best": best if summary.best is None else f"{best} at {summary.best_update:,}",
        "test BLEU": format_bleu_scores(summary) or UNKNOWN,
        "parameters": format_integer(summary.parameters),
        "training pairs": format_integer(summary.pairs),
        "tokens/s": format_integer(speed),
    }
