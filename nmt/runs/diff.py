"""Two runs side by side: settings, text and learning curves."""

from __future__ import annotations

import json

from nmt.config.schema import Config
from nmt.core.logging import duration
from nmt.runs.learning_curves import ValidCurve
from nmt.runs.listing import UNKNOWN, bleu_scores, decimal, score, whole
from nmt.runs.summary import Summary
from nmt.runs.training_texts import Text

MOST_ROWS = 12
"""Validations shown, at most, spread over the run."""
HASH = 12
"""Digits of a hash that are shown."""

Row = tuple[str, ...]
Setting = tuple[str, bool]
"""A value as the config spells it, and whether a person gave it."""


def changed_settings(one: Config, other: Config) -> list[Row]:
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
            found[name] = json.dumps(value, ensure_ascii=False), config.is_given(name)
    return found


def _shown(setting: Setting | None) -> str:
    if setting is None:
        return UNKNOWN
    value, given = setting
    return value if given else f"{value} (default)"


def changed_texts(one: dict[str, list[Text]], other: dict[str, list[Text]]) -> list[Row]:
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


def validations(one: ValidCurve, other: ValidCurve) -> list[Row]:
    """Return update, losses and BLEU of both where both validated: at most MOST_ROWS of them."""
    places = [{update: i for i, update in enumerate(curve.update)} for curve in (one, other)]
    updates = sorted(places[0].keys() & places[1].keys())
    every = -(-len(updates) // MOST_ROWS) or 1
    rows = []
    for update in updates[::-1][::every][::-1]:
        i, j = (place[update] for place in places)
        losses = (decimal(curve.loss[k], 3) for curve, k in ((one, i), (other, j)))
        bleus = (decimal(curve.bleu[k], 2) for curve, k in ((one, i), (other, j)))
        rows.append((f"{update:,}", *losses, *bleus))
    return rows


def ends(one: Summary, other: Summary) -> list[Row]:
    """Return (what, one's, other's): what became of both, whether it differs or not."""
    pairs = zip(_end(one).items(), _end(other).values(), strict=True)
    return [(what, its, theirs) for (what, its), theirs in pairs]


def _end(summary: Summary) -> dict[str, str]:
    best, speed = score(summary.metric, summary.best), summary.tokens_per_second
    return {
        "state": f"{summary.state}, {summary.update:,} updates, {duration(summary.seconds)}",
        "best": best if summary.best is None else f"{best} at {summary.best_update:,}",
        "test BLEU": bleu_scores(summary) or UNKNOWN,
        "parameters": whole(summary.parameters),
        "training pairs": whole(summary.pairs),
        "tokens/s": whole(speed),
    }
