"""Choose batch shapes (length buckets) that minimize padding.

A bucket holds the pairs of one range of target lengths. All batches of a bucket have the same
padded target length; each bucket has a few padded source lengths.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Int64Array = NDArray[np.int64]
FloatArray = NDArray[np.float64]

MAX_COUNTED_LENGTH = 1024
"""Length in tokens from which on all lengths count as equal in the histogram."""
SPREADS = (0.7, 1.0, 1.4, 2.0)
"""Numbers of buckets to try, as multiples of the square root of the number of shapes."""
SHAPES_PER_BATCH = 1.4
"""Number of shapes per batch of a window if shapes are unlimited; tuned on Multi30k."""


@dataclass(frozen=True)
class BatchShapes:
    """The (source, target) lengths to which batches are padded."""

    tgt_lengths: Int64Array
    """Padded target length of each bucket, ascending."""
    src_lengths: list[Int64Array]
    """Padded source lengths of each bucket, ascending."""

    def __len__(self) -> int:
        return sum(map(len, self.src_lengths))

    def src_lengths_of(self, bucket: int) -> Int64Array:
        """Return the source lengths of a bucket; pairs beyond the last bucket use its lengths."""
        return self.src_lengths[min(bucket, len(self.src_lengths) - 1)]

    def padded_tgt_length(self, bucket: int, longest: int) -> int:
        """Return the padded target length of a batch.

        `longest` is its longest target, which is the result for pairs beyond the last bucket.
        """
        return int(self.tgt_lengths[bucket]) if bucket < len(self.tgt_lengths) else longest

    def padded_src_length(self, bucket: int, longest: int) -> int:
        """Return the smallest source length of a bucket that fits `longest`, else `longest`."""
        lengths = self.src_lengths_of(bucket)
        index = int(np.searchsorted(lengths, longest))
        return int(lengths[index]) if index < len(lengths) else longest


class WeightedLengths(NamedTuple):
    """Lengths of pairs that count `weight` times each."""

    src: Int64Array
    tgt: Int64Array
    weight: float


def length_histogram(samples: Iterable[WeightedLengths]) -> FloatArray:
    """Return the number of pairs by (source length, target length)."""
    size = MAX_COUNTED_LENGTH + 1
    counts = np.zeros((size, size))
    for src, tgt, weight in samples:
        cells = np.minimum(src, MAX_COUNTED_LENGTH) * size + np.minimum(tgt, MAX_COUNTED_LENGTH)
        counts += weight * np.bincount(cells, minlength=counts.size).reshape(counts.shape)
    return counts


def choose_unlimited_shapes(counts: FloatArray, batch_tokens: int, windows: int = 1) -> BatchShapes:
    """Return shapes with the least padding if any number of shapes is allowed.

    Each batch has one shape. More shapes than SHAPES_PER_BATCH times the batches of a window
    therefore save nothing.
    """
    tokens = float(counts.sum(0) @ np.arange(counts.shape[1]))
    return choose_shapes(counts, max(1, round(SHAPES_PER_BATCH * tokens / batch_tokens / windows)))


def choose_shapes(counts: FloatArray, max_shapes: int) -> BatchShapes:
    """Return at most `max_shapes` shapes with the least padding.

    `counts[s, t]` is the number of pairs with s source and t target tokens. The lengths of one side
    are optimal for a number of buckets (dynamic programming); a few numbers of buckets are tried.
    """
    bucket_counts = {min(max_shapes, max(1, round(spread * max_shapes**0.5))) for spread in SPREADS}
    candidates = [
        _shapes_with_buckets(counts, buckets, max_shapes) for buckets in sorted(bucket_counts)
    ]
    return min(candidates, key=lambda candidate: candidate.padding).shapes


class _PaddedShapes(NamedTuple):
    padding: float
    """Number of padding tokens."""
    shapes: BatchShapes


def _shapes_with_buckets(counts: FloatArray, buckets: int, max_shapes: int) -> _PaddedShapes:
    """Return the best shapes with this number of buckets.

    Each bucket begins with one source length. The remaining shapes go, one by one, to the bucket
    where one more source length saves the most padding.
    """
    by_target = _best_lengths(counts.sum(0), buckets)
    padding, tgt_lengths = by_target.padding[-1], by_target.lengths[-1]
    first_lengths = np.concatenate([[0], tgt_lengths[:-1] + 1])
    by_bucket = [
        _best_lengths(counts[:, first : last + 1].sum(1), max_shapes)
        for first, last in zip(first_lengths, tgt_lengths, strict=True)
    ]
    chosen = [0] * len(by_bucket)
    """Index into the choices of each bucket: its number of source lengths, minus 1."""
    changes = [
        (choices.padding[1] - choices.padding[0], bucket)
        for bucket, choices in enumerate(by_bucket)
        if len(choices.padding) > 1
    ]
    heapq.heapify(changes)  # the largest saving first: changes are negative
    for _ in range(max_shapes - len(by_bucket)):
        if not changes:
            break
        _, bucket = heapq.heappop(changes)
        chosen[bucket] += 1
        paddings, index = by_bucket[bucket].padding, chosen[bucket]
        if index + 1 < len(paddings):
            heapq.heappush(changes, (paddings[index + 1] - paddings[index], bucket))
    padding += sum(choices.padding[i] for choices, i in zip(by_bucket, chosen, strict=True))
    src_lengths = [choices.lengths[i].copy() for choices, i in zip(by_bucket, chosen, strict=True)]
    longest = 0
    for lengths in src_lengths:  # leftover pairs move to the next bucket, with any source length
        longest = lengths[-1] = max(longest, int(lengths[-1]))
    return _PaddedShapes(padding, BatchShapes(tgt_lengths, src_lengths))


class _BestLengths(NamedTuple):
    """The best padded lengths of one side, by number of lengths minus 1."""

    padding: list[float]
    """Number of padding tokens."""
    lengths: list[Int64Array]


def _best_lengths(counts: FloatArray, max_lengths: int) -> _BestLengths:
    """Return the 1, 2, ... `max_lengths` padded lengths with the least padding.

    `counts[n]` is the number of rows with n tokens.
    """
    lengths = np.flatnonzero(counts)
    if not len(lengths):
        return _BestLengths([0.0], [np.array([len(counts) - 1])])
    rows = np.concatenate([[0.0], np.cumsum(counts[lengths])])
    tokens = np.concatenate([[0.0], np.cumsum(counts[lengths] * lengths)])
    n = len(lengths)
    # cost[i, j]: padding if lengths i .. j are padded to length j
    cost = lengths[None, :] * (rows[None, 1:] - rows[:-1, None])
    cost = cost - (tokens[None, 1:] - tokens[:-1, None])
    cost[np.tril_indices(n, -1)] = np.inf
    best = cost[0]
    backpointers: list[Int64Array] = []
    padding, chosen = [float(best[-1])], [lengths[-1:]]
    for _ in range(1, min(max_lengths, n)):
        candidates = best[:-1, None] + cost[1:, :]
        backpointers.append(np.argmin(candidates, 0))
        best = candidates[backpointers[-1], np.arange(n)]
        padding.append(float(best[-1]))
        indices = [n - 1]
        for backpointer in reversed(backpointers):
            indices.append(int(backpointer[indices[-1]]))
        chosen.append(lengths[np.array(indices[::-1])])
    return _BestLengths(padding, chosen)
