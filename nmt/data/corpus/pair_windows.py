"""Read a text set as windows of raw pairs, or as a random sample of pairs."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nmt.data.corpus.text_set_reader import TextSetReader
from nmt.data.text.reader import BOM, Pair

WINDOW = 1000
"""Number of pairs per window."""
MIN_PAIRS_FOR_WORKERS = 20_000
"""Minimum number of pairs for which worker processes are started."""
SAMPLE = 20_000
"""Maximum number of pairs of a sample."""


class PairWindow(NamedTuple):
    """Consecutive raw pairs, with the target lines before and after them."""

    start: int
    """Index of the first pair in the text set."""
    src: list[bytes]
    tgt: list[bytes]
    tgt_before: list[bytes]
    tgt_after: list[bytes]


def read_windows(reader: TextSetReader, margin: int, size: int = WINDOW) -> Iterator[PairWindow]:
    """Yield the pairs of a text set in order, with up to `margin` target lines on both ends."""
    pairs = zip(*reader.sides(), strict=False)  # ends with the shorter side
    start = 0
    tgt_before: list[bytes] = []
    current = list(islice(pairs, size))
    while current:
        following = list(islice(pairs, size))
        tgt = [tgt_line for _, tgt_line in current]
        tgt_after = [tgt_line for _, tgt_line in following[:margin]]
        yield PairWindow(start, [src for src, _ in current], tgt, tgt_before, tgt_after)
        tgt_before = [*tgt_before, *tgt][-margin:]
        start, current = start + len(current), following


def decode_line(raw: bytes) -> str:
    """Decode a raw line without its end; invalid UTF-8 is removed."""
    return raw.removeprefix(BOM).removesuffix(b"\n").removesuffix(b"\r").decode("utf-8", "ignore")


class PairSample(NamedTuple):
    """A random sample of the pairs of a text set."""

    line_counts: tuple[int, int]
    """Number of source and target lines of the text set."""
    pairs: list[Pair]
    """At most SAMPLE pairs, in random order."""


def sample_pairs(reader: TextSetReader) -> PairSample:
    """Count the lines of both sides and sample pairs; reads the text twice."""
    src_count, tgt_count = (sum(1 for _ in lines) for lines in reader.sides())
    size = min(src_count, tgt_count)
    rng = random.Random(1)
    positions = np.array(sorted(rng.sample(range(size), min(SAMPLE, size))), np.int64)
    pairs = list(read_pairs_at(reader, positions).values())
    rng.shuffle(pairs)
    return PairSample((src_count, tgt_count), pairs)


def read_pairs_at(reader: TextSetReader, positions: NDArray[np.int64]) -> dict[int, Pair]:
    """Return the pairs at sorted positions, counted from 0."""
    raw_pairs = zip(*reader.sides(), strict=False)
    pairs: dict[int, Pair] = {}
    next_position = 0
    for position in positions.tolist():
        src, tgt = next(islice(raw_pairs, position - next_position, None))
        pairs[position] = decode_line(src), decode_line(tgt)
        next_position = position + 1
    return pairs
