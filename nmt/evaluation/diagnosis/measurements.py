"""Measure how well a model fits its text, and how well search settings suit it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from nmt.data.corpus.corpus import Corpus
from nmt.data.tokenizer.tokenizer import TagIds
from nmt.decoding.translator import Translator

MAX_PAIRS = 2_000
"""Maximum number of pairs that are scored and translated."""
BEAM_SIZES = (1, 2, 5, 10)
LENGTH_PENALTIES = (0.0, 0.5, 1.0, 1.5)
RISE, SMALL_GAP = 0.01, 0.1
"""Relative changes of the validation loss below which a hint calls them small."""

Pairs = list[tuple[str, str]]


class TaggedPairs(NamedTuple):
    """Pairs of one text set."""

    tags: TagIds
    pairs: Pairs


@dataclass(frozen=True)
class LossGap:
    """Cross entropy in nats per token, without label smoothing and dropout."""

    train: float
    valid: float
    rise: float | None
    """Validation loss at the end of training minus the lowest; None if it is not known."""

    @property
    def hint(self) -> str:
        """A suggestion, with the figure that it rests on."""
        if self.rise is not None and self.rise > RISE * self.valid:
            return (
                f"the validation loss rose by {self.rise:.3f} after its minimum: fewer updates, "
                "more regularization or more text"
            )
        gap = self.valid - self.train
        if gap < SMALL_GAP * self.valid:
            return f"a gap of {gap:.3f} is small: a larger model or more updates"
        return f"a gap of {gap:.3f} ({gap / self.valid:.0%}): more regularization or more text"


@dataclass(frozen=True)
class SearchResult:
    """Scores of the translations by one search setting."""

    beam_size: int
    length_penalty: float
    bleu: float
    length_ratio: float
    seconds: float


def sample_pairs(corpus: Corpus, max_pairs: int = MAX_PAIRS) -> list[TaggedPairs]:
    """Return pairs that are evenly spread over a corpus, by text set."""
    interval = max(1, math.ceil(len(corpus) / max_pairs))
    rows = np.arange(0, len(corpus), interval)
    ends = np.cumsum(corpus.sizes)
    groups = np.split(rows, np.searchsorted(rows, ends[:-1]))
    samples = []
    for tags, group in zip(corpus.tags, groups, strict=True):
        src, tgt = (corpus.lines_at(side, group) for side in ("src", "tgt"))
        samples.append(TaggedPairs(tags, list(zip(src, tgt, strict=True))))
    return samples


def mean_loss(translator: Translator, samples: Sequence[TaggedPairs]) -> float:
    """Return the cross entropy per target token, in nats."""
    scores = [
        score
        for tags, pairs in samples
        if pairs
        for score in translator.with_tags(tags).score_pairs(pairs)
    ]
    return -sum(score.log_prob for score in scores) / sum(score.tokens for score in scores)


def translate_samples(translator: Translator, samples: Sequence[TaggedPairs]) -> list[str]:
    """Return the translations of the sources."""
    return [
        translation
        for tags, pairs in samples
        for translation in translator.with_tags(tags).translate(src for src, _ in pairs)
    ]


def search_grid(beam_size: int, length_penalty: float) -> Iterator[tuple[int, float]]:
    """Yield a setting of (beam size, length penalty), then others that change one of the two."""
    yield beam_size, length_penalty
    for other in BEAM_SIZES:
        if other != beam_size:
            yield other, length_penalty
    for alpha in LENGTH_PENALTIES:
        if alpha != length_penalty and beam_size > 1:
            yield beam_size, alpha
