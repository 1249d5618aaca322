"""Translations and scores of whole lines, joined from their segments."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from nmt.decoding.lines.confidence import Confidence
from nmt.decoding.search.hypothesis import Hypothesis


@dataclass(frozen=True)
class PairScore:
    """Score of a given translation."""

    score: float
    """Mean of the scores of its segments, weighted by their numbers of tokens."""
    log_prob: float
    """Sum of the log-probabilities of all tokens and of the eos of each segment, in nats."""
    tokens: int
    """Number of tokens, including the eos of each segment."""

    @classmethod
    def from_segments(cls, segments: Sequence[Hypothesis]) -> PairScore:
        """Combine the forced hypotheses of the segments of a pair."""
        sizes = [len(segment.tokens) + 1 for segment in segments]
        weighted_scores = [
            size * segment.score for size, segment in zip(sizes, segments, strict=True)
        ]
        log_prob = sum(segment.log_prob for segment in segments)
        return cls(sum(weighted_scores) / sum(sizes), log_prob, sum(sizes))

    @property
    def cross_entropy(self) -> float:
        """Mean negative log-probability per token, in nats."""
        return -self.log_prob / self.tokens


def dual_cross_entropy_score(forward: PairScore, backward: PairScore) -> float:
    """Return exp(-(|H_A - H_B| + (H_A + H_B) / 2)), from 0 to 1 (Junczys-Dowmunt 2018).

    H_A = H_A(y|x) is the cross-entropy of the translation under the forward model, H_B = H_B(x|y)
    that of the source under the model of the other direction. Both are means per token.
    """
    h_a, h_b = forward.cross_entropy, backward.cross_entropy
    return math.exp(-(abs(h_a - h_b) + (h_a + h_b) / 2))


@dataclass(frozen=True)
class DecodedSegment:
    """Tokens of a segment of a line and of its translation."""

    source: list[int]
    """Source token ids without eos."""
    hypothesis: Hypothesis
    max_length: int
    """Maximum length of the translation in tokens, eos included."""


@dataclass(frozen=True)
class Translation:
    """A hypothesis as text."""

    text: str
    score: float
    """Score for ranking; for a line of several segments, their mean weighted by tokens."""
    segments: tuple[DecodedSegment, ...] = field(default=(), compare=False)
    confidence: Confidence | None = field(default=None, compare=False)
