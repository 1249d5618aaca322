"""Plan the batches of every epoch: a pure function of (corpus, seed, epoch, weights, budget).

An epoch is divided into windows of about WINDOW batches. Only one window is planned at a time: its
pairs are sampled, their lengths are read, and its batches are planned and shuffled. Training on a
corpus of any size therefore begins at once, and three integers (epoch, window, batch) are enough
to resume it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from nmt.config.schema import Config
from nmt.config.sections.data import text_set_weight
from nmt.data.batching.batches import Batch, plan_batches
from nmt.data.batching.buckets import (
    Int64Array,
    WeightedLengths,
    choose_shapes,
    choose_unlimited_shapes,
    length_histogram,
)
from nmt.data.batching.mixture import Mixture, temperature_weights
from nmt.data.batching.online_encoding import EncodingSettings, OnlineEncoder
from nmt.data.corpus.corpus import Corpus
from nmt.data.tokenizer.tokenizer import Tokenizers

WINDOW = 2048
"""Approximate number of batches per window; few batches then mix pairs of different buckets."""
ONLINE_WINDOW = 512
"""The same for online encoding, where a window must be encoded before its first batch."""
PAIRS_PER_READ = 2**20
"""Number of pairs whose lengths are read at a time."""


class TokenizedPairs(Protocol):
    """Token ids of pairs by row: a corpus, or a window that was encoded online."""

    aligned: bool

    def row(self, name: str, i: int) -> NDArray[np.integer[Any]]:
        """Return the token ids of row `i` of "src" or "tgt", without bos and eos."""

    def links(self, i: int) -> NDArray[np.integer[Any]]:
        """Return the alignment links of row `i`, n x 2: source and target token position."""

    def lengths(self, side: str, rows: Int64Array | None = None) -> Int64Array:
        """Return the number of tokens of these rows (or all), without bos and eos."""

    def corpus_rows(self, rows: Int64Array) -> Int64Array:
        """Return the rows of the corpus from which these rows come."""


class TrainingCorpus(TokenizedPairs, Protocol):
    """A corpus as the planner uses it."""

    @property
    def sizes(self) -> list[int]:
        """Number of pairs of each text set."""

    def total(self, key: str) -> int:
        """Return the sum of a count over all text sets, such as tgt_tokens."""


@dataclass(frozen=True)
class EpochWindow:
    """The batches of one window of an epoch."""

    pairs: TokenizedPairs
    batches: list[Batch]
    """Batches in training order, with row indices into `pairs`."""


class _PairLengths(NamedTuple):
    """Number of tokens of pairs, eos included."""

    src: Int64Array
    tgt: Int64Array


class EpochPlanner:
    """Plans the batches of every epoch, one window at a time."""

    def __init__(
        self,
        corpus: TrainingCorpus,
        seed: int,
        batch_tokens: int,
        weights: Sequence[float] | None = None,
        max_shapes: int | None = None,
        online_encoder: OnlineEncoder | None = None,
    ) -> None:
        self.corpus, self.seed, self.batch_tokens = corpus, seed, batch_tokens
        self.online_encoder = online_encoder
        self.mixture = Mixture(corpus.sizes, weights, seed)
        pairs = self.mixture.total
        mean_tokens = (corpus.total("tgt_tokens") + pairs) / pairs  # of a target, eos included
        window = WINDOW if online_encoder is None else ONLINE_WINDOW
        self.num_windows = max(1, round(pairs * mean_tokens / batch_tokens / window))
        counts = length_histogram(self._weighted_lengths())
        self.pad_to_longest = max_shapes is None
        if max_shapes is None:
            self.shapes = choose_unlimited_shapes(counts, batch_tokens, self.num_windows)
        else:
            self.shapes = choose_shapes(counts, max_shapes)

    def _weighted_lengths(self) -> Iterator[WeightedLengths]:
        """Yield the lengths of all pairs, weighted by their frequency in an epoch."""
        first_row = 0
        for size, count in zip(self.mixture.sizes, self.mixture.counts, strict=True):
            end_row = first_row + size
            for start in range(first_row, end_row, PAIRS_PER_READ):
                rows = np.arange(start, min(start + PAIRS_PER_READ, end_row))
                yield WeightedLengths(*_lengths(self.corpus, rows), weight=count / size)
            first_row = end_row

    def plan_window(self, epoch: int, window: int) -> EpochWindow:
        """Return the batches of a window, 0 .. num_windows - 1, of an epoch."""
        total = self.mixture.total
        begin, end = (total * n // self.num_windows for n in (window, window + 1))
        sampled = self.mixture.sample(epoch, np.arange(begin, end))
        if self.online_encoder is None:
            pairs: TokenizedPairs = self.corpus
            rows = sampled.rows
        else:
            pairs = self.online_encoder.encode_window(sampled)
            rows = np.arange(len(sampled.rows))
        lengths = _lengths(pairs, rows)
        planned = plan_batches(
            lengths.src, lengths.tgt, self.batch_tokens, self.shapes, self.pad_to_longest
        )
        batches = [Batch(rows[batch.rows], batch.src_length, batch.tgt_length) for batch in planned]
        order = np.random.default_rng((self.seed, epoch, window)).permutation(len(batches))
        return EpochWindow(pairs, [batches[i] for i in order])

    def close(self) -> None:
        """Stop the worker processes of online encoding."""
        if self.online_encoder is not None:
            self.online_encoder.close()


def _lengths(pairs: TokenizedPairs, rows: Int64Array) -> _PairLengths:
    """Return the lengths of these rows, with one token more for eos."""
    return _PairLengths(pairs.lengths("src", rows) + 1, pairs.lengths("tgt", rows) + 1)


def build_epoch_planner(config: Config, corpus: Corpus, tokenizers: Tokenizers) -> EpochPlanner:
    """Return the planner of a run, with the weights, shapes and augmentation of its config."""
    data, train = config.data, config.train
    set_weights = [text_set_weight(text_set) for text_set in data.train]
    weights = [weight for weight in set_weights if weight is not None] or None
    if data.temperature is not None:
        weights = temperature_weights(corpus.sizes, data.temperature)
    online_encoder = None
    sampling = config.tokenizer.sampling
    if sampling is not None or data.augment is not None:
        settings = EncodingSettings(corpus.folders, tokenizers, sampling, data.augment, train.seed)
        online_encoder = OnlineEncoder(settings, data.workers)
    return EpochPlanner(
        corpus, train.seed, train.batch_tokens, weights, train.max_shapes, online_encoder
    )
