"""Hard word alignments from attention, their symmetrization and their error rate.

A link is a pair (source word, target word) of indices from 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from nmt.data.corpus.word_alignment import GoldAlignment
from nmt.data.text.reader import Links
from nmt.decoding.search.trace import FloatArray

MIN_WEIGHT = 0.05
"""Smallest weight for which an otherwise unaligned source word is linked."""
NEIGHBOUR_OFFSETS = ((-1, 0), (0, -1), (1, 0), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1))
"""Offsets of neighbouring links, in the order of Koehn et al. 2005. The order matters."""


def hard_alignment(weights: FloatArray) -> Links:
    """Link each target word to the source word of largest weight.

    `weights` is target x source words, with the end of the sentence last on both sides. A target
    word with its largest weight on the end stays unaligned. A source word without a link is linked
    to the target word that gives it the largest weight, if that is at least MIN_WEIGHT.
    """
    target_rows = weights[:-1]
    if not len(target_rows):
        return set()
    end = weights.shape[1] - 1
    links = {
        (int(s), t)
        for t, s in enumerate(target_rows.argmax(1))
        if s < end and target_rows[t, s] > 0
    }
    aligned = {s for s, _ in links}
    best_targets = target_rows.argmax(0)
    for s in range(end):
        if s not in aligned and target_rows[best_targets[s], s] >= MIN_WEIGHT:
            links.add((s, int(best_targets[s])))
    return links


@dataclass(frozen=True)
class AlignmentScores:
    """Scores of alignments A against sure links S and possible links P (Och & Ney 2003, eq. 7)."""

    precision: float
    """|A & P| / |A|."""
    recall: float
    """|A & S| / |S|."""
    aer: float
    """Alignment error rate, 1 - (|A & S| + |A & P|) / (|A| + |S|)."""
    lines: int


def score_alignments(
    alignments: Iterable[Links], gold_alignments: Iterable[GoldAlignment]
) -> AlignmentScores:
    """Return the scores of alignments, with counts summed over all lines."""
    sure_hits = possible_hits = link_count = sure_count = lines = 0
    for links, gold in zip(alignments, gold_alignments, strict=True):
        sure_hits += len(links & gold.sure)
        possible_hits += len(links & gold.possible)
        link_count += len(links)
        sure_count += len(gold.sure)
        lines += 1
    total = link_count + sure_count
    return AlignmentScores(
        precision=possible_hits / link_count if link_count else 0.0,
        recall=sure_hits / sure_count if sure_count else 0.0,
        aer=1 - (sure_hits + possible_hits) / total if total else 0.0,
        lines=lines,
    )


def intersection(forward: Links, backward: Links) -> Links:
    """Return the links of both directions."""
    return forward & backward


def grow_diag_final_and(forward: Links, backward: Links) -> Links:
    """Symmetrize alignments of both directions by grow-diag-final-and (Koehn et al. 2005).

    The links of both are (source word, target word) pairs; swap those of the backward model before.
    Start with the intersection. Add links of the union next to a link, also diagonally, if
    their source or target word is unaligned. Finally add links of either direction if their source
    and target word are both unaligned.
    """
    union, links = forward | backward, forward & backward
    sources, targets = {s for s, _ in links}, {t for _, t in links}

    def add(link: tuple[int, int]) -> None:
        links.add(link)
        sources.add(link[0])
        targets.add(link[1])

    is_growing = True
    while is_growing:
        is_growing = False
        for s, t in sorted(links):
            for source_offset, target_offset in NEIGHBOUR_OFFSETS:
                neighbour = (s + source_offset, t + target_offset)
                is_free = neighbour[0] not in sources or neighbour[1] not in targets
                if is_free and neighbour in union:
                    add(neighbour)
                    is_growing = True
    for direction in (forward, backward):
        for s, t in sorted(direction):
            if s not in sources and t not in targets:
                add((s, t))
    return links


Symmetrize = Callable[[Links, Links], Links]
SYMMETRIZATIONS: dict[str, Symmetrize] = {
    "grow-diag-final-and": grow_diag_final_and,
    "intersection": intersection,
}
"""Symmetrization methods by name."""
