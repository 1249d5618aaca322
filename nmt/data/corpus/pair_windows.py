"""Raw pairs in windows with the target lines around them, and random samples of pairs."""

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
"""Pairs that one process examines together."""
MIN_PAIRS_FOR_WORKERS = 20_000
"""Use several processes for texts of this many pairs or more."""
SAMPLE = 20_000
"""Pairs of a sample, at most."""


class PairWindow(NamedTuple):
    """Consecutive raw pairs, with the target lines before and after them."""

    start: int
    """Index of the first pair in the text set."""
    src: list[bytes]
    tgt: list[bytes]
    before: list[bytes]
    after: list[bytes]


def read_windows(source: TextSetReader, margin: int, size: int = WINDOW) -> Iterator[PairWindow]:
    """Yield the pairs of a text set in order; `margin` is the number of target lines around."""
    pairs = zip(*source.sides(), strict=False)  # ends with the shorter side
    start = 0
    before: list[bytes] = []
    current = list(islice(pairs, size))
    while current:
        following = list(islice(pairs, size))
        tgt = [pair[1] for pair in current]
        after = [pair[1] for pair in following[:margin]]
        yield PairWindow(start, [pair[0] for pair in current], tgt, before, after)
        before = [*before, *tgt][-margin:]
        start, current = start + len(current), following


def decode_line(raw: bytes) -> str:
    """Return a raw line as text, without bytes that are not UTF-8."""
    return raw.removeprefix(BOM).removesuffix(b"\n").removesuffix(b"\r").decode("utf-8", "ignore")


def sample_pairs(source: TextSetReader) -> tuple[tuple[int, int], list[Pair]]:
    """Return the number of lines of both sides and a sample of pairs in random order."""
    src, tgt = (sum(1 for _ in lines) for lines in source.sides())
    size = min(src, tgt)
    rng = random.Random(1)
    positions = np.array(sorted(rng.sample(range(size), min(SAMPLE, size))), np.int64)
    sample = list(pairs_at(source, positions).values())
    rng.shuffle(sample)
    return (src, tgt), sample


def pairs_at(source: TextSetReader, positions: NDArray[np.int64]) -> dict[int, Pair]:
    """Return the pairs at these positions, which are sorted and counted from 0."""
    pairs = zip(*source.sides(), strict=False)
    texts: dict[int, Pair] = {}
    begin = 0
    for position in positions.tolist():
        src, tgt = next(islice(pairs, position - begin, None))
        texts[position] = decode_line(src), decode_line(tgt)
        begin = position + 1
    return texts
