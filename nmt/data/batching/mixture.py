"""Which pairs an epoch consists of, and in which order: a pure function of (seed, epoch, shares).

An epoch has as many pairs as all sets together. Without weights each pair comes once. With weights
each set gives its share: it is gone through pass after pass, each in another order, and an epoch
goes on where the one before it stopped; so all pairs of a set come equally often.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nmt.data.batching.permutation import Numbers, permute


def temperature_weights(sizes: Sequence[int], temperature: float) -> list[float]:
    """Return weights by size to the power of 1 / temperature (Arivazhagan et al. 2019)."""
    return [size ** (1 / temperature) for size in sizes]


class Mixture:
    """Text sets of `sizes` pairs, mixed by `weights`."""

    def __init__(self, sizes: Sequence[int], weights: Sequence[float] | None, seed: int) -> None:
        self.sizes, self.seed = list(sizes), seed
        self.total = sum(sizes)
        self.counts = self.sizes if weights is None else self._counts(weights)
        """Of each set, the pairs that an epoch takes."""

    def _counts(self, weights: Sequence[float]) -> list[int]:
        """Give each filled set its share, rounded so that the sum is right."""
        parts = np.array([w if size else 0.0 for w, size in zip(weights, self.sizes, strict=True)])
        exact = parts / parts.sum() * self.total
        counts = np.floor(exact).astype(int)
        order = np.argsort(counts - exact, kind="stable")
        counts[order[: self.total - counts.sum()]] += 1
        return [int(count) for count in counts]

    def draw(self, epoch: int, places: Numbers) -> tuple[Numbers, Numbers]:
        """Return the rows at these places of an epoch, and in which pass over its set each is.

        Rows are counted through all sets, places through the epoch, both from 0.
        """
        slots = permute(places, self.total, self.seed, epoch, 0)
        rows, passes = slots.copy(), np.full(len(slots), epoch, np.int64)
        begin = first = 0
        for number, (size, count) in enumerate(zip(self.sizes, self.counts, strict=True)):
            its = np.flatnonzero((slots >= begin) & (slots < begin + count))
            within = slots[its] - begin
            if count == size:
                rows[its] = first + within
            else:
                rows[its], passes[its] = self._stream(number, epoch * count + within)
                rows[its] += first
            begin, first = begin + count, first + size
        return rows, passes

    def _stream(self, number: int, places: Numbers) -> tuple[Numbers, Numbers]:
        """Return (row, pass) at places of the endless order of one set."""
        passes, within = np.divmod(places, self.sizes[number])
        rows = np.empty_like(places)
        for each in np.unique(passes).tolist():
            its = np.flatnonzero(passes == each)
            rows[its] = permute(within[its], self.sizes[number], self.seed, each, number + 1)
        return rows, passes
