"""Hypotheses and the scores of their tokens, and the interface of an engine. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nmt.config.sections.decode import DecodeConfig
from nmt.data.tokenizer.tokenizer import TagIds
from nmt.decoding.constraints.lexical_constraints import LexicalConstraints

EXTRA_LENGTH = 10
"""Tokens added to `decode.max_length_ratio` times the source length."""
NON_FINITE_PROBABILITIES = (
    "model: expected finite probabilities, got NaN: its weights hold NaN or inf"
)

FloatArray = NDArray[np.float32]
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
class TokenScores:
    """Token scores of a target under forced decoding.

    T and S are the lengths of target and source, with eos.
    """

    log_probs: FloatArray
    """T log-probabilities of the target tokens, in nats."""
    attention_sums: FloatArray | None
    """S sums of the attention to source tokens over target positions; None without attention."""


class Engine(Protocol):
    """Searches and scores token ids. All targets begin with the target tags of the engine."""

    def with_tags(self, tags: TagIds) -> Engine:
        """Return an engine of the same model with other target tags."""

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
