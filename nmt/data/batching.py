"""Which pairs go together in an update: a pure function of (lengths, seed, epoch, budget).

Padded lengths come from a small fixed set (`round_up`), so that few distinct shapes are seen. A
batch holds as many pairs as its padded target tokens allow. Pairs left over in one length class
move up into the next, so only the very last batch of an epoch can be small.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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

    def share(self, rank: int, size: int) -> Batch:
        """Return the rows of one of `size` workers, perhaps none."""
        return Batch(self.rows[rank::size], self.src_length, self.tgt_length)

    def cut(self, tokens: int | None) -> Iterator[Batch]:
        """Yield micro-batches of at most `tokens` padded target tokens (at least one pair)."""
        size = len(self.rows) if tokens is None else max(1, tokens // self.tgt_length)
        for start in range(0, len(self.rows), size):
            yield Batch(self.rows[start : start + size], self.src_length, self.tgt_length)


def round_up(lengths: Lengths) -> Lengths:
    """Round lengths up to the next bucket edge: steps of 2 to 32, 4 to 64, 8 to 128, and so on.

    Less than one eighth is added beyond 32, and there are 16 + 8 log2(longest / 32) edges.
    """
    power = np.floor(np.log2(np.maximum(lengths - 1, 1))).astype(np.int64)
    step = 2 ** np.maximum(power - 3, 1)
    rounded: Lengths = -(-lengths // step) * step
    return rounded


def plan_epoch(
    src_lengths: Lengths, tgt_lengths: Lengths, seed: int, epoch: int, batch_tokens: int
) -> list[Batch]:
    """Return the batches of one epoch in order; each pair stands in exactly one.

    Lengths count all tokens of a row, eos included. A pair longer than `batch_tokens` gets a
    batch of its own.
    """
    rng = np.random.default_rng((seed, epoch))
    order = rng.permutation(len(src_lengths))
    src_edges, tgt_edges = round_up(src_lengths), round_up(tgt_lengths)
    batches = []
    carried = order[:0]
    edges = np.unique(tgt_edges)
    for edge in edges:
        rows = np.concatenate([carried, order[tgt_edges[order] == edge]])
        rows = rows[np.argsort(src_edges[rows], kind="stable")]
        size = max(1, batch_tokens // int(edge))
        full = len(rows) if edge == edges[-1] else len(rows) - len(rows) % size
        for start in range(0, full, size):
            chosen = rows[start : start + size]
            batches.append(Batch(chosen, int(src_edges[chosen].max()), int(edge)))
        carried = rows[full:]
    return [batches[i] for i in rng.permutation(len(batches))]


def worst_batches(batches: list[Batch]) -> list[Batch]:
    """Return the two batches of which one takes the most memory.

    They have the most padded tokens of both sides, and the most pairs of a source and a target
    token, of which an additive score holds one vector each.
    """
    return [
        max(batches, key=lambda b: len(b.rows) * (b.src_length + b.tgt_length)),
        max(batches, key=lambda b: len(b.rows) * b.src_length * b.tgt_length),
    ]
