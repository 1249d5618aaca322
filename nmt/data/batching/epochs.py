"""The batches of every epoch: a pure function of (lengths, seed, epoch, shares, budget).

An epoch is cut into windows, and only one is looked at at a time: its pairs are drawn, their
lengths read, and batches made of them. So a corpus of any size begins at once, and three integers
(epoch, window, batch) say where training stands.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nmt.config.schema import Config, weight_of
from nmt.data.batching.batches import Batch, plan_batches
from nmt.data.batching.buckets import choose_shapes, choose_unlimited_shapes, length_histogram
from nmt.data.batching.mixture import Mixture, temperature_weights
from nmt.data.batching.online_encoding import EncodingSettings, OnlineEncoder
from nmt.data.corpus.corpus import Corpus
from nmt.data.tokenizer.tokenizer import Tokenizers

WINDOW = 2048
"""Batches of a window, about: enough for few of them to mix length classes."""
DRAWN_WINDOW = 512
"""The same where text is cut anew, before which no batch can be planned."""
COUNTED = 2**20
"""Pairs whose lengths are read at a time."""

Lengths = NDArray[np.int64]


class TokenizedPairs(Protocol):
    """Where the rows of a batch are looked up: the corpus, or a window drawn anew."""

    aligned: bool

    def row(self, name: str, i: int) -> NDArray[np.integer[Any]]:
        """Return the token ids of line `i` of one side."""

    def links(self, i: int) -> NDArray[np.integer[Any]]:
        """Return the links of line `i`."""

    def lengths(self, side: str, rows: Lengths | None = None) -> Lengths:
        """Return the number of tokens of these lines (or all), without bos and eos."""

    def corpus_rows(self, rows: Lengths) -> Lengths:
        """Return which pairs of the corpus these lines come from."""


class TrainingCorpus(TokenizedPairs, Protocol):
    """A corpus, as far as planning looks at it."""

    @property
    def sizes(self) -> list[int]:
        """The pairs of each text set."""

    def total(self, key: str) -> int:
        """Add up a count of all text sets, such as tgt_tokens."""


@dataclass(frozen=True)
class EpochWindow:
    """A stretch of an epoch."""

    pairs: TokenizedPairs
    batches: list[Batch]
    """In the order of training; their rows are of `pairs`."""


class EpochPlanner:
    """Plans the training text; see the module."""

    def __init__(
        self,
        corpus: TrainingCorpus,
        seed: int,
        batch_tokens: int,
        weights: Sequence[float] | None = None,
        max_shapes: int | None = None,
        redraw: OnlineEncoder | None = None,
    ) -> None:
        self.corpus, self.seed, self.batch_tokens, self.online_encoder = (
            corpus,
            seed,
            batch_tokens,
            redraw,
        )
        self.mixture = Mixture(corpus.sizes, weights, seed)
        total = self.mixture.total
        tokens = (corpus.total("tgt_tokens") + total) / total  # of a mean pair, eos included
        window = WINDOW if redraw is None else DRAWN_WINDOW
        self.num_windows = max(1, round(total * tokens / batch_tokens / window))
        counts = length_histogram(self._counted())
        self.tight = max_shapes is None
        if max_shapes is None:
            self.shapes = choose_unlimited_shapes(counts, batch_tokens, self.num_windows)
        else:
            self.shapes = choose_shapes(counts, max_shapes)

    def _counted(self) -> Iterator[tuple[Lengths, Lengths, float]]:
        """Yield the lengths of all pairs, with how often an epoch takes each."""
        begin = 0
        for size, count in zip(self.mixture.sizes, self.mixture.counts, strict=True):
            for start in range(begin, begin + size, COUNTED):
                rows = np.arange(start, min(start + COUNTED, begin + size))
                yield *self._lengths(self.corpus, rows), count / size
            begin += size

    @staticmethod
    def _lengths(pairs: TokenizedPairs, rows: Lengths | None) -> tuple[Lengths, Lengths]:
        return pairs.lengths("src", rows) + 1, pairs.lengths("tgt", rows) + 1  # + 1 for eos

    def plan_window(self, epoch: int, number: int) -> EpochWindow:
        """Return one of the `windows` of an epoch."""
        total = self.mixture.total
        begin, end = (total * n // self.num_windows for n in (number, number + 1))
        rows, passes = self.mixture.draw(epoch, np.arange(begin, end))
        pairs: TokenizedPairs = self.corpus
        of_pairs = rows
        if self.online_encoder is not None:
            pairs = self.online_encoder.encode_window(rows, passes)
            of_pairs = np.arange(len(rows))
        src, tgt = self._lengths(pairs, of_pairs)
        planned = plan_batches(src, tgt, self.batch_tokens, self.shapes, self.tight)
        batches = [Batch(of_pairs[b.rows], b.src_length, b.tgt_length) for b in planned]
        order = np.random.default_rng((self.seed, epoch, number)).permutation(len(batches))
        return EpochWindow(pairs, [batches[i] for i in order])

    def close(self) -> None:
        """End the processes that draw text anew."""
        if self.online_encoder is not None:
            self.online_encoder.close()


def build_epoch_planner(config: Config, corpus: Corpus, tokenizers: Tokenizers) -> EpochPlanner:
    """Return the epochs of a run's training text."""
    data, train = config.data, config.train
    weights = [weight for one in data.train if (weight := weight_of(one)) is not None] or None
    if data.temperature is not None:
        weights = temperature_weights(corpus.sizes, data.temperature)
    redraw = None
    sampling = config.tokenizer.sampling
    if sampling is not None or data.augment is not None:
        recipe = EncodingSettings(corpus.folders, tokenizers, sampling, data.augment, train.seed)
        redraw = OnlineEncoder(recipe, data.workers)
    return EpochPlanner(corpus, train.seed, train.batch_tokens, weights, train.max_shapes, redraw)
