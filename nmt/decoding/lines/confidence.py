"""How far a translation can be trusted, by what the model itself tells of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nmt.decoding.lines.repetition import count_repeated_words

Numbers = NDArray[np.float32]
REPEATED = 3
"""Words that say again what stands before them, at least, where a translation repeats itself."""


@dataclass(frozen=True)
class TokenScores:
    """A target that a model was forced through. T/S target/source length, each with eos."""

    log_probs: Numbers
    """T log-probabilities of its tokens, in nats."""
    attended: Numbers | None
    """S sums of the attention that source tokens got; None without attention."""


@dataclass(frozen=True)
class Confidence:
    """What speaks for a translation and against it."""

    log_prob: float
    """The mean log-probability a token, its end included, in nats."""
    lowest: float
    """That of the least probable token."""
    coverage: float | None
    """The share of the source, eos left out, that attention saw: the mean of min(1, sum_t a_ti)."""
    repeats: bool
    """Whether three words or more say again what stands before them."""
    limit: bool
    """Whether it was ended by force, at its limit."""

    @property
    def trust(self) -> float:
        """The mean log-probability, plus log coverage, less one for each of the two flags."""
        seen = 1.0 if self.coverage is None else max(self.coverage, 1e-3)
        return self.log_prob + float(np.log(seen)) - self.repeats - self.limit


CERTAIN = Confidence(0.0, 0.0, None, False, False)
"""Of a blank line."""


def compute_confidence(text: str, parts: Sequence[TokenScores], limit: bool) -> Confidence:
    """Return the confidence in a text whose parts were assessed; `limit`: one was cut there."""
    if not parts:
        return CERTAIN
    log_probs = np.concatenate([part.log_probs for part in parts])
    seen = [part.attended[:-1] for part in parts if part.attended is not None]
    attended = np.concatenate(seen) if seen else np.zeros(0)
    return Confidence(
        float(log_probs.mean()),
        float(log_probs.min()),
        float(np.minimum(attended, 1).mean()) if attended.size else None,
        count_repeated_words(text.split()) >= REPEATED,
        limit,
    )
