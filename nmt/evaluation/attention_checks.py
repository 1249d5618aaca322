"""Signs of untranslated and overtranslated source words in the attention of a translation.

Shapes: T target and S source words, the end of the sentence included as the last of each side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Weights = NDArray[np.float32]

MIN_COVERED_WEIGHT = 0.1
"""A source word is dropped if no target word gives it at least this attention weight."""
REPEATED_WEIGHT = 2.5
"""A source word is repeated if its attention weights over all target words sum to this or more."""
MAX_DROPPED_SHARE = 0.3
"""Largest share of dropped source words of a line that is not suspicious."""
MAX_REPEATED_SHARE = 0.1
"""Largest share of repeated source words of a line that is not suspicious."""

ATTENTION_CHECKS = {
    "dropped source": f"attention passes by more than {MAX_DROPPED_SHARE:.0%} of the source's "
    "words: no word of the hypothesis looks at them with a weight of "
    f"{MIN_COVERED_WEIGHT:g}",
    "repeated source": f"attention comes back to more than {MAX_REPEATED_SHARE:.0%} of the "
    f"source's words: they get a weight of {REPEATED_WEIGHT:g} or more in all",
}
"""Description of each check, by name. Only systems with attention are checked."""


@dataclass(frozen=True)
class WordAttention:
    """Attention weights of one translation over words."""

    source_words: list[str]
    """S words, the end of the sentence last."""
    target_words: list[str]
    """T words, the end of the sentence last."""
    weights: Weights
    """T x S."""


@dataclass(frozen=True)
class AttentionDiagnosis:
    """Statistics of the attention of one translation over words."""

    entropy: float
    """Mean entropy of the target words' attention, in nats."""
    dropped: list[int]
    """Indices of source words that no target word attends to."""
    repeated: list[int]
    """Indices of source words that target words attend to repeatedly."""


def diagnose_attention(weights: Weights) -> AttentionDiagnosis:
    """Return entropy, dropped and repeated source words of T x S attention weights."""
    inner = weights[:-1].astype(np.float64)
    total = np.maximum(inner.sum(1, keepdims=True), 1e-12)
    shares = np.maximum(inner / total, 1e-12)
    entropy = float(-(shares * np.log(shares)).sum(1).mean()) if len(inner) else 0.0
    without_end = inner[:, :-1]
    largest = without_end.max(0, initial=0.0)
    return AttentionDiagnosis(
        entropy=entropy,
        dropped=[int(s) for s in np.nonzero(largest < MIN_COVERED_WEIGHT)[0]],
        repeated=[int(s) for s in np.nonzero(without_end.sum(0) >= REPEATED_WEIGHT)[0]],
    )


def check_attention(
    attention: Iterable[WordAttention | None], advance: Callable[[int], object] = bool
) -> NDArray[np.bool_]:
    """Return lines x ATTENTION_CHECKS, True if a line fails a check.

    Lines without attention (None) pass. `advance` is called with 1 after each line.
    """
    rows = []
    for line in attention:
        row = (False, False)
        if line is not None:
            diagnosis = diagnose_attention(line.weights)
            word_count = len(line.source_words) - 1
            row = (
                len(diagnosis.dropped) > MAX_DROPPED_SHARE * word_count,
                len(diagnosis.repeated) > MAX_REPEATED_SHARE * word_count,
            )
        rows.append(row)
        advance(1)
    return np.array(rows, bool).reshape(-1, len(ATTENTION_CHECKS))
