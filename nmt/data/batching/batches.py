"""Which pairs go together in an update: a pure function of (lengths, budget, shapes).

A batch holds as many pairs as its padded target tokens allow, of one class of target lengths and
of neighbouring source lengths; which classes there are is learned from the data. Pairs left over in
one class move up into the next, so only the very last batch can be small.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nmt.data.batching.buckets import BatchShapes, choose_unlimited_shapes, length_histogram

Lengths = NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """The pairs of one update (or, cut, of one micro-batch) and the shape they are padded to."""

    rows: Lengths
    src_length: int
    tgt_length: int

    @property
    def tgt_tokens(self) -> int:
        """Padded target tokens."""
        return len(self.rows) * self.tgt_length

    def for_rank(self, rank: int, size: int) -> Batch:
        """Return the rows of one of `size` workers, perhaps none."""
        return Batch(self.rows[rank::size], self.src_length, self.tgt_length)

    def split(self, tokens: int | None) -> Iterator[Batch]:
        """Yield micro-batches of at most `tokens` padded target tokens (at least one pair)."""
        size = len(self.rows) if tokens is None else max(1, tokens // self.tgt_length)
        for start in range(0, len(self.rows), size):
            yield Batch(self.rows[start : start + size], self.src_length, self.tgt_length)


def plan_batches(
    src_lengths: Lengths, tgt_lengths: Lengths, batch_tokens: int, shapes: BatchShapes, tight: bool
) -> Iterator[Batch]:
    """Yield batches in which each pair stands once, the shortest first.

    Lengths count all tokens of a row, eos included; rows are indices into them. A pair longer than
    `batch_tokens` gets a batch of its own. Pairs of equal lengths keep their order. `tight` pads a
    batch to the longest of its own pairs, and not to one of the shapes.
    """
    carried = np.empty(0, np.int64)
    classes = np.searchsorted(shapes.targets, tgt_lengths)
    present = np.unique(classes)
    for number in present.tolist():
        rows = np.concatenate([carried, np.flatnonzero(classes == number)])
        sources = np.searchsorted(shapes.edges(number), src_lengths[rows])
        rows = rows[np.argsort(sources, kind="stable")]
        edge = shapes.target(number, int(tgt_lengths[rows].max()))
        size = max(1, batch_tokens // edge)
        full = len(rows) if number == present[-1] else len(rows) - len(rows) % size
        for start in range(0, full, size):
            chosen = rows[start : start + size]
            longest = int(src_lengths[chosen].max())
            if tight:
                yield Batch(chosen, longest, int(tgt_lengths[chosen].max()))
            else:
                yield Batch(chosen, shapes.source(number, longest), edge)
        carried = rows[full:]


def plan_eval_batches(src_lengths: Lengths, tgt_lengths: Lengths, batch_tokens: int) -> list[Batch]:
    """Return batches of a whole text, each padded to the longest of its pairs."""
    shapes = choose_unlimited_shapes(
        length_histogram([(src_lengths, tgt_lengths, 1.0)]), batch_tokens
    )
    return list(plan_batches(src_lengths, tgt_lengths, batch_tokens, shapes, tight=True))


def largest_batches(batches: list[Batch]) -> list[Batch]:
    """Return the two batches of which one takes the most memory.

    They have the most padded tokens of both sides, and the most pairs of a source and a target
    token, of which an additive score holds one vector each.
    """
    return [
        max(batches, key=lambda b: len(b.rows) * (b.src_length + b.tgt_length)),
        max(batches, key=lambda b: len(b.rows) * b.src_length * b.tgt_length),
    ]
