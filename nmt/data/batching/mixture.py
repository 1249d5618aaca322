"""Choose the pairs of an epoch and their order: a pure function of (sizes, weights, seed, epoch).

An epoch has as many pairs as all text sets together. Without weights, each pair occurs once. With
weights, each text set contributes its share of the epoch. Then a text set is read pass after pass,
each pass in another order, and an epoch continues the pass at which the epoch before stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from nmt.data.batching.permutation import Int64Array, permute


def temperature_weights(sizes: Sequence[int], temperature: float) -> list[float]:
    """Return the weights size ** (1 / temperature) of text sets (Arivazhagan et al. 2019)."""
    return [size ** (1 / temperature) for size in sizes]


class SampledRows(NamedTuple):
    """Pairs at some positions of an epoch; both arrays have one entry per position."""

    rows: Int64Array
    """Indices of the pairs in the corpus."""
    passes: Int64Array
    """Number of complete passes over the text set before this occurrence of the pair."""


class Mixture:
    """The order of pairs of several text sets in each epoch."""

    def __init__(self, sizes: Sequence[int], weights: Sequence[float] | None, seed: int) -> None:
        self.sizes, self.seed = list(sizes), seed
        self.total = sum(sizes)
        """Number of pairs per epoch."""
        self.counts = self.sizes if weights is None else self._weighted_counts(weights)
        """Number of pairs per epoch from each text set."""

    def _weighted_counts(self, weights: Sequence[float]) -> list[int]:
        """Return the share of each text set, rounded so that the sum is `total`."""
        shares = np.array([w if size else 0.0 for w, size in zip(weights, self.sizes, strict=True)])
        exact = shares / shares.sum() * self.total
        counts = np.floor(exact).astype(int)
        order = np.argsort(counts - exact, kind="stable")
        counts[order[: self.total - counts.sum()]] += 1
        return [int(count) for count in counts]

    def sample(self, epoch: int, positions: Int64Array) -> SampledRows:
        """Return the pairs at these positions of an epoch; positions are 0 .. total - 1."""
        # Slots are positions before shuffling: text set after text set, `counts` slots each.
        slots = permute(positions, self.total, self.seed, epoch, 0)
        rows, passes = slots.copy(), np.full(len(slots), epoch, np.int64)
        first_slot = first_row = 0
        for set_index, (size, count) in enumerate(zip(self.sizes, self.counts, strict=True)):
            indices = np.flatnonzero((slots >= first_slot) & (slots < first_slot + count))
            offsets = slots[indices] - first_slot
            if count == size:
                rows[indices] = first_row + offsets
            else:
                sampled = self._sample_set(set_index, epoch * count + offsets)
                rows[indices] = first_row + sampled.rows
                passes[indices] = sampled.passes
            first_slot, first_row = first_slot + count, first_row + size
        return SampledRows(rows, passes)

    def _sample_set(self, set_index: int, positions: Int64Array) -> SampledRows:
        """Return the pairs at positions of the endless sequence of passes over one text set."""
        size = self.sizes[set_index]
        passes, offsets = np.divmod(positions, size)
        rows = np.empty_like(positions)
        for pass_number in np.unique(passes).tolist():
            indices = np.flatnonzero(passes == pass_number)
            rows[indices] = permute(offsets[indices], size, self.seed, pass_number, set_index + 1)
        return SampledRows(rows, passes)
