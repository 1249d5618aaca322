"""Break results down by groups of lines and by bands of word frequency."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nmt.evaluation.line_checks import SENTENCE_KINDS
from nmt.evaluation.statistics import SystemStatistics, TestSetStatistics

LENGTH_EDGES = (1, 11, 21, 31, 41, 51, 61)
"""Smallest source length of each group, in words."""
FREQUENCY_EDGES = (0, 1, 2, 5, 10, 100, 1000)
"""Smallest word frequency of each band."""

LineMask = NDArray[np.bool_]
"""One value per line, True if the line belongs to the group."""


class Range(NamedTuple):
    """A range of values: low <= value < high."""

    name: str
    low: int
    high: float

    def mask(self, values: NDArray[np.int64]) -> LineMask:
        """Return a mask of the values in the range."""
        return (self.low <= values) & (values < self.high)


class WordF1(NamedTuple):
    """Precision, recall and F1 of the words of one frequency band."""

    precision: float
    recall: float
    f1: float
    word_count: int
    """Number of words of the references."""


def ranges(edges: tuple[int, ...]) -> Iterator[Range]:
    """Yield the ranges between successive edges; the last range is unbounded."""
    for low, high in pairwise([*edges, np.inf]):
        last = high - 1
        name = f"{low}+" if np.isinf(high) else str(low) if last == low else f"{low}-{last:.0f}"
        yield Range(name, int(low), float(high))


def group_by_length(statistics: TestSetStatistics) -> dict[str, LineMask]:
    """Return the lines of each range of source length; the first range includes blank lines."""
    lengths = np.maximum(statistics.src_words, LENGTH_EDGES[0])
    return {group.name: group.mask(lengths) for group in ranges(LENGTH_EDGES)}


def group_by_rarity(
    statistics: TestSetStatistics, word_counts: Mapping[str, int]
) -> dict[str, LineMask]:
    """Return the lines by the frequency of the rarest word of their first reference."""
    smallest_counts = np.array(
        [
            min((word_counts.get(word, 0) for word in words), default=0)
            for words in statistics.reference_words
        ]
    )
    return {group.name: group.mask(smallest_counts) for group in ranges(FREQUENCY_EDGES)}


def group_by_kind(statistics: TestSetStatistics) -> dict[str, LineMask]:
    """Return the lines of each of SENTENCE_KINDS."""
    return {name: statistics.sentence_kinds[:, i] for i, name in enumerate(SENTENCE_KINDS)}


def word_f1(
    statistics: TestSetStatistics, system: SystemStatistics, word_counts: Mapping[str, int]
) -> dict[str, WordF1]:
    """Return the F1 of the words of the first references by band of frequency.

    A word matches if the hypothesis of its line contains it, at most as often as the reference,
    as in compare-mt (Neubig et al. 2019).
    """
    bands = {}
    for band in ranges(FREQUENCY_EDGES):
        matches = _count_in_band(system.word_matches, band, word_counts)
        hypothesis_count = _count_in_band(system.word_counts, band, word_counts)
        reference_count = _count_in_band(statistics.word_counts, band, word_counts)
        precision = matches / hypothesis_count if hypothesis_count else 0.0
        recall = matches / reference_count if reference_count else 0.0
        total = precision + recall
        f1 = 2 * precision * recall / total if total else 0.0
        bands[band.name] = WordF1(precision, recall, f1, reference_count)
    return bands


def _count_in_band(words: Counter[str], band: Range, word_counts: Mapping[str, int]) -> int:
    """Return the number of occurrences in `words` of words with a frequency in the band."""
    return sum(
        count for word, count in words.items() if band.low <= word_counts.get(word, 0) < band.high
    )
