"""Group pairs into batches: a pure function of (lengths, token budget, shapes).

A batch holds as many pairs as its budget of padded target tokens allows. Its pairs are of one
bucket of target lengths and have similar source lengths. Leftover pairs of a bucket move to the
next bucket, so that only the last batch can be small.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from nmt.data.batching.buckets import (
    BatchShapes,
    Int64Array,
    WeightedLengths,
    choose_unlimited_shapes,
    length_histogram,
)


@dataclass(frozen=True)
class Batch:
    """Row indices of a batch, or of a micro-batch, and the shape to which it is padded."""

    rows: Int64Array
    src_length: int
    tgt_length: int

    @property
    def tgt_tokens(self) -> int:
        """Number of padded target tokens."""
        return len(self.rows) * self.tgt_length

    def for_rank(self, rank: int, world_size: int) -> Batch:
        """Return the rows of one rank; it has no rows if there are more ranks than rows."""
        return Batch(self.rows[rank::world_size], self.src_length, self.tgt_length)

    def split(self, max_tokens: int | None) -> Iterator[Batch]:
        """Yield micro-batches of at most `max_tokens` padded target tokens, or of one pair."""
        size = len(self.rows) if max_tokens is None else max(1, max_tokens // self.tgt_length)
        for start in range(0, len(self.rows), size):
            yield Batch(self.rows[start : start + size], self.src_length, self.tgt_length)


def plan_batches(
    src_lengths: Int64Array,
    tgt_lengths: Int64Array,
    batch_tokens: int,
    shapes: BatchShapes,
    pad_to_longest: bool,
) -> Iterator[Batch]:
    """Yield batches that contain each pair once, in ascending order of target lengths.

    Lengths count all tokens of a row, eos included. `batch_tokens` is the maximum number of padded
    target tokens; a longer pair gets a batch of its own. Pairs of equal lengths keep their order.
    If `pad_to_longest`, a batch is padded to its longest pair instead of to one of the shapes.
    """
    leftover = np.empty(0, np.int64)
    buckets = np.searchsorted(shapes.tgt_lengths, tgt_lengths)
    used_buckets = np.unique(buckets)
    for bucket in used_buckets.tolist():
        rows = np.concatenate([leftover, np.flatnonzero(buckets == bucket)])
        src_classes = np.searchsorted(shapes.src_lengths_of(bucket), src_lengths[rows])
        rows = rows[np.argsort(src_classes, kind="stable")]
        tgt_length = shapes.padded_tgt_length(bucket, int(tgt_lengths[rows].max()))
        size = max(1, batch_tokens // tgt_length)
        is_last = bucket == used_buckets[-1]
        end = len(rows) if is_last else len(rows) - len(rows) % size
        for start in range(0, end, size):
            batch_rows = rows[start : start + size]
            longest_src = int(src_lengths[batch_rows].max())
            if pad_to_longest:
                yield Batch(batch_rows, longest_src, int(tgt_lengths[batch_rows].max()))
            else:
                src_length = shapes.padded_src_length(bucket, longest_src)
                yield Batch(batch_rows, src_length, tgt_length)
        leftover = rows[end:]


def plan_eval_batches(
    src_lengths: Int64Array, tgt_lengths: Int64Array, batch_tokens: int
) -> list[Batch]:
    """Return batches for one pass over a text, each padded to its longest pair."""
    counts = length_histogram([WeightedLengths(src_lengths, tgt_lengths, 1.0)])
    shapes = choose_unlimited_shapes(counts, batch_tokens)
    return list(plan_batches(src_lengths, tgt_lengths, batch_tokens, shapes, pad_to_longest=True))


def largest_batches(batches: list[Batch]) -> list[Batch]:
    """Return two batches; one of the two takes the most memory of all batches.

    The first has the most padded tokens of both sides. The second has the most pairs of a source
    and a target token; an additive attention score holds one vector for each such pair.
    """
    return [
        max(batches, key=lambda b: len(b.rows) * (b.src_length + b.tgt_length)),
        max(batches, key=lambda b: len(b.rows) * b.src_length * b.tgt_length),
    ]
