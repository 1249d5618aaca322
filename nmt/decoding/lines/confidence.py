"""Estimate translation confidence from the model's own scores and attention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nmt.decoding.lines.repetition import count_repeated_words
from nmt.decoding.search.hypothesis import TokenScores

MIN_REPEATED_WORDS = 3
"""Minimum number of repeated words in a translation that repeats itself."""


@dataclass(frozen=True)
class Confidence:
    """Confidence scores of a translation."""

    log_prob: float
    """Mean log-probability per token, eos included, in nats."""
    lowest: float
    """Lowest log-probability of a token, in nats."""
    coverage: float | None
    """Attention coverage: mean of min(1, sum_t a_ti) over source tokens i, without eos."""
    repeats: bool
    """Whether at least MIN_REPEATED_WORDS words repeat the words before them."""
    limit: bool
    """Whether the length limit ended the translation."""

    @property
    def trust(self) -> float:
        """Mean log-probability plus log coverage, minus 1 for each flag that is set."""
        coverage = 1.0 if self.coverage is None else max(self.coverage, 1e-3)
        return self.log_prob + float(np.log(coverage)) - self.repeats - self.limit


BLANK_LINE_CONFIDENCE = Confidence(0.0, 0.0, None, False, False)


def compute_confidence(
    text: str, segments: Sequence[TokenScores], reached_limit: bool
) -> Confidence:
    """Return the confidence in a translation from the token scores of its segments.

    `reached_limit` tells whether the length limit ended a segment.
    """
    if not segments:
        return BLANK_LINE_CONFIDENCE
    log_probs = np.concatenate([segment.log_probs for segment in segments])
    sums_without_eos = [
        segment.attention_sums[:-1] for segment in segments if segment.attention_sums is not None
    ]
    attention_sums = np.concatenate(sums_without_eos) if sums_without_eos else np.zeros(0)
    return Confidence(
        float(log_probs.mean()),
        float(log_probs.min()),
        float(np.minimum(attention_sums, 1).mean()) if attention_sums.size else None,
        count_repeated_words(text.split()) >= MIN_REPEATED_WORDS,
        reached_limit,
    )
