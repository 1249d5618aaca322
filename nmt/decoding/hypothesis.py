"""What a translator expects of an engine, and the hypotheses and translations that pass between."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import mul
from typing import Protocol

from nmt.config.sections.decode import DecodeConfig
from nmt.decoding.constraints.lexical_constraints import LexicalConstraints
from nmt.decoding.lines.confidence import Confidence, TokenScores

NON_FINITE_PROBABILITIES = "the model's probabilities are not numbers: its weights hold NaN or inf"


@dataclass(frozen=True)
class Hypothesis:
    """A finished token sequence."""

    tokens: list[int]
    """Without eos."""
    score: float
    """log_prob over the length penalty: what hypotheses are ranked by."""
    log_prob: float
    """Sum of the log-probabilities of all tokens and eos, in nats."""


@dataclass(frozen=True)
class PairScore:
    """The score of a given translation, over all parts in which the pair was forced."""

    score: float
    """`log_prob` over the length penalty; the mean of the parts, weighted by their tokens."""
    log_prob: float
    """Sum of the log-probabilities of all tokens and ends of parts, in nats."""
    tokens: int
    """Tokens and ends of parts."""

    @classmethod
    def from_parts(cls, parts: Sequence[Hypothesis]) -> PairScore:
        """Add up the forced parts of a pair."""
        sizes = [len(part.tokens) + 1 for part in parts]
        score = sum(map(mul, sizes, (part.score for part in parts))) / sum(sizes)
        return cls(score, sum(part.log_prob for part in parts), sum(sizes))


@dataclass(frozen=True)
class DecodedSegment:
    """The tokens of a translation, or of one of its parts, and of what it translates."""

    source: list[int]
    hypothesis: Hypothesis
    limit: int
    """The tokens that it could have had at most, with eos."""


@dataclass(frozen=True)
class Translation:
    """A hypothesis as text."""

    text: str
    score: float
    """What it was ranked by; of a line in parts, the mean of theirs by their tokens."""
    segments: tuple[DecodedSegment, ...] = field(default=(), compare=False)
    confidence: Confidence | None = field(default=None, compare=False)


BLANK_TRANSLATION = Translation("", 0.0)


class Engine(Protocol):
    """What turns token ids into hypotheses."""

    def search(
        self,
        sources: Sequence[Sequence[int]],
        nbest: int = 1,
        demands: Mapping[int, LexicalConstraints] | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> list[list[Hypothesis]]:
        """Return the n best hypotheses of each source, best first.

        `progress` is called with the number of sources that are done, one call at a time.
        """

    def score(self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[Hypothesis]:
        """Return each pair's target as a scored hypothesis."""

    def score_tokens(
        self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]
    ) -> list[TokenScores]:
        """Return how probable each pair's target is, token by token, and what it looked at."""


EXTRA_LENGTH = 10
"""Tokens added to `decode.max_length_ratio` times the source length."""


def length_limit(
    settings: DecodeConfig, source_length: int, constraints: LexicalConstraints | None = None
) -> int:
    """Return the maximum length of a translation in tokens, eos included.

    A constraint adds its own length and EXTRA_LENGTH tokens. `decode.max_length` bounds the
    result unless the constraint is longer.
    """
    limit, least = math.ceil(settings.max_length_ratio * source_length) + EXTRA_LENGTH, 0
    if constraints is not None:
        limit += constraints.length + EXTRA_LENGTH
        least = constraints.length
    if settings.max_length is not None:
        limit = min(limit, settings.max_length + 1)
    return max(limit, settings.min_length + 1, least + 1)
