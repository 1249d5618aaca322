"""Which shapes batches are made for: those that pad a corpus least, few of them or many."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.float64]
Lengths = NDArray[np.int64]
MAX_COUNTED_LENGTH = 1024
"""Lengths from here on are one in the statistics."""
SPREADS = (0.7, 1.0, 1.4, 2.0)
"""Numbers of target edges that are tried, by the square root of the number of shapes."""
A_BATCH = 1.4
"""Shapes for each batch of a window, where any number will do; tried on Multi30k and statutes."""


@dataclass(frozen=True)
class BatchShapes:
    """A set of (source, target) lengths."""

    targets: NDArray[np.int64]
    """Target lengths, rising."""
    sources: list[NDArray[np.int64]]
    """For each of them the source lengths that go with it, rising."""

    def __len__(self) -> int:
        return sum(map(len, self.sources))

    def edges(self, number: int) -> NDArray[np.int64]:
        """Return the source lengths of a class, the last ones where it is longer than all."""
        return self.sources[min(number, len(self.sources) - 1)]

    def target(self, number: int, longest: int) -> int:
        """Return the target length of a class; what is longer than all seen has its own."""
        return int(self.targets[number]) if number < len(self.targets) else longest

    def source(self, number: int, longest: int) -> int:
        """Return the source length of a batch of a class."""
        edges = self.edges(number)
        place = int(np.searchsorted(edges, longest))
        return int(edges[place]) if place < len(edges) else longest


def length_histogram(parts: Iterable[tuple[Lengths, Lengths, float]]) -> Counts:
    """Count pairs by (source, target) length; each part has a weight."""
    counts = np.zeros((MAX_COUNTED_LENGTH + 1, MAX_COUNTED_LENGTH + 1))
    for src, tgt, weight in parts:
        cells = np.minimum(src, MAX_COUNTED_LENGTH) * (MAX_COUNTED_LENGTH + 1) + np.minimum(
            tgt, MAX_COUNTED_LENGTH
        )
        counts += weight * np.bincount(cells, minlength=counts.size).reshape(counts.shape)
    return counts


def choose_unlimited_shapes(counts: Counts, batch_tokens: int, windows: int = 1) -> BatchShapes:
    """Return as many shapes as pad least where any number will do.

    More are of no use than a window has batches: each batch is of one.
    """
    tokens = float(counts.sum(0) @ np.arange(counts.shape[1]))
    return choose_shapes(counts, max(1, round(A_BATCH * tokens / batch_tokens / windows)))


def choose_shapes(counts: Counts, most: int) -> BatchShapes:
    """Return the set of at most `most` shapes that pads a corpus least.

    `counts[s, t]` is how many pairs have s source and t target tokens. Edges of one side are the
    optimum (dynamic programming); how many of them go to which side is tried.
    """
    tried = {min(most, max(1, round(spread * most**0.5))) for spread in SPREADS}
    found = [_shapes(counts, number, most) for number in sorted(tried)]
    return min(found, key=lambda its: its[0])[1]


def _shapes(counts: Counts, targets: int, most: int) -> tuple[float, BatchShapes]:
    """Return the padding with so many target edges, and the shapes."""
    padding, edges = _edges(counts.sum(0), targets)
    cost, upper = padding[-1], edges[-1]
    begins = np.concatenate([[0], upper[:-1] + 1])
    sources = [
        _edges(counts[:, b : e + 1].sum(1), most) for b, e in zip(begins, upper, strict=True)
    ]
    chosen = [0] * len(sources)
    gains = [(its[0][1] - its[0][0], i) for i, its in enumerate(sources) if len(its[0]) > 1]
    heapq.heapify(gains)
    for _ in range(most - len(sources)):
        if not gains:
            break
        _, i = heapq.heappop(gains)
        chosen[i] += 1
        its = sources[i][0]
        if chosen[i] + 1 < len(its):
            heapq.heappush(gains, (its[chosen[i] + 1] - its[chosen[i]], i))
    cost += sum(its[0][n] for its, n in zip(sources, chosen, strict=True))
    picked = [its[1][n].copy() for its, n in zip(sources, chosen, strict=True)]
    longest = 0
    for edges_of in picked:  # pairs left over in a class move up, whatever their source
        longest = edges_of[-1] = max(longest, int(edges_of[-1]))
    return cost, BatchShapes(upper, picked)


def _edges(counts: Counts, most: int) -> tuple[list[float], list[NDArray[np.int64]]]:
    """Return, for 1, 2, ... up to `most` edges, the least padding and the edges that reach it."""
    lengths = np.flatnonzero(counts)
    if not len(lengths):
        return [0.0], [np.array([len(counts) - 1])]
    number = np.concatenate([[0.0], np.cumsum(counts[lengths])])
    tokens = np.concatenate([[0.0], np.cumsum(counts[lengths] * lengths)])
    n = len(lengths)
    # cost[i, j]: lengths i .. j padded to length j
    cost = lengths[None, :] * (number[None, 1:] - number[:-1, None])
    cost = cost - (tokens[None, 1:] - tokens[:-1, None])
    cost[np.tril_indices(n, -1)] = np.inf
    best = cost[0]
    before: list[NDArray[np.int64]] = []
    padding, edges = [float(best[-1])], [lengths[-1:]]
    for _ in range(1, min(most, n)):
        through = best[:-1, None] + cost[1:, :]
        before.append(np.argmin(through, 0))
        best = through[before[-1], np.arange(n)]
        padding.append(float(best[-1]))
        places, at = [n - 1], n - 1
        for earlier in reversed(before):
            at = int(earlier[at])
            places.append(at)
        edges.append(lengths[np.array(places[::-1])])
    return padding, edges
