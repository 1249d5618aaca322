"""Where a system is good and where not: groups of lines, and bands of word frequency."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from nmt.evaluation.line_checks import KINDS
from nmt.evaluation.statistics import Measured, SystemLines

LENGTHS = (1, 11, 21, 31, 41, 51, 61)
"""Where groups of source lengths begin, in words."""
FREQUENCIES = (0, 1, 2, 5, 10, 100, 1000)
"""Where bands of word frequency begin."""

Rows = NDArray[np.bool_]


def spans(edges: tuple[int, ...]) -> Iterator[tuple[str, int, float]]:
    """Yield the name, the first and the end of each group that begins at an edge."""
    for low, high in pairwise([*edges, np.inf]):
        last = high - 1
        name = f"{low}+" if np.isinf(high) else str(low) if last == low else f"{low}-{last:.0f}"
        yield name, int(low), float(high)


def by_length(measured: Measured) -> dict[str, Rows]:
    """Return the lines of each source length; blank ones are in the first group."""
    lengths = np.maximum(measured.src_words, LENGTHS[0])
    return {name: (low <= lengths) & (lengths < high) for name, low, high in spans(LENGTHS)}


def by_rarity(measured: Measured, counts: Mapping[str, int]) -> dict[str, Rows]:
    """Return the lines by how often the rarest word of their first reference was seen."""
    rarest = np.array(
        [min((counts.get(word, 0) for word in line), default=0) for line in measured.references]
    )
    return {name: (low <= rarest) & (rarest < high) for name, low, high in spans(FREQUENCIES)}


def by_kind(measured: Measured) -> dict[str, Rows]:
    """Return the lines of each of KINDS."""
    return {name: measured.kinds[:, i] for i, name in enumerate(KINDS)}


def word_f1(
    measured: Measured, system: SystemLines, counts: Mapping[str, int]
) -> dict[str, tuple[float, float, float, int]]:
    """Return precision, recall, F1 and the words of the references, by how often words were seen.

    A word of the first reference is found if the hypothesis of its line has it (as often), as
    compare-mt counts (Neubig et al. 2019).
    """
    found = {}
    for name, low, high in spans(FREQUENCIES):

        def inside(words: Counter[str], low: int = low, high: float = high) -> int:
            return sum(n for word, n in words.items() if low <= counts.get(word, 0) < high)

        matched, given, wanted = map(inside, (system.matches, system.counts, measured.counts))
        precision = matched / given if given else 0.0
        recall = matched / wanted if wanted else 0.0
        both = precision + recall
        found[name] = precision, recall, 2 * precision * recall / both if both else 0.0, wanted
    return found
