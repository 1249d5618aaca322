"""Hypotheses and translations, and the interface of an engine that makes them. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from nmt.config.sections.decode import DecodeConfig
from nmt.decoding.constraints.lexical_constraints import LexicalConstraints
from nmt.decoding.lines.confidence import Confidence, TokenScores

EXTRA_LENGTH = 10
"""Tokens added to `decode.max_length_ratio` times the source length."""
NON_FINITE_PROBABILITIES = (
    "model: expected finite probabilities, got NaN: its weights hold NaN or inf"
)

TokenPair = tuple[Sequence[int], Sequence[int]]
"""Source and target token ids, both without eos."""


@dataclass(frozen=True)
class Hypothesis:
    """A finished token sequence."""

    tokens: list[int]
    """Token ids without eos."""
    score: float
    """Log-probability divided by the length penalty, plus the coverage penalty."""
    log_prob: float
    """Sum of the log-probabilities of all tokens and eos, in nats."""


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


BLANK_TRANSLATION = Translation("", 0.0)
"""The translation of a blank line."""


class Engine(Protocol):
    """Searches and scores token ids."""

    def search(
        self,
        sources: Sequence[Sequence[int]],
        nbest: int = 1,
        constraints: Mapping[int, LexicalConstraints] | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> list[list[Hypothesis]]:
        """Return the `nbest` best hypotheses of each source, best first.

        `constraints` are given by the index of the source. `progress` is called with the number
        of sources that have just finished, never by two threads at once.
        """

    def score(self, pairs: Sequence[TokenPair]) -> list[Hypothesis]:
        """Return the target of each pair as a hypothesis with its score."""

    def score_tokens(self, pairs: Sequence[TokenPair]) -> list[TokenScores]:
        """Return the log-probabilities of target tokens and the attention on source tokens."""


def length_limit(
    settings: DecodeConfig, source_length: int, constraints: LexicalConstraints | None = None
) -> int:
    """Return the maximum length of a translation in tokens, eos included.

    Constraints add their own length and EXTRA_LENGTH tokens. `decode.max_length` bounds the
    result unless the constraints are longer.
    """
    limit = math.ceil(settings.max_length_ratio * source_length) + EXTRA_LENGTH
    required = 0
    if constraints is not None:
        required = constraints.length
        limit += required + EXTRA_LENGTH
    if settings.max_length is not None:
        limit = min(limit, settings.max_length + 1)
    return max(limit, settings.min_length + 1, required + 1)
