"""Hard word alignments from attention, their symmetrisation and their error rate."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from nmt.data.corpus.word_alignment import GoldAlignment
from nmt.data.text.reader import Links
from nmt.decoding.trace import FloatArray

LEAST_WEIGHT = 0.05
"""A source word that no target word looks at most is linked if one gives it this much."""


def hard_alignment(weights: FloatArray) -> Links:
    """Link each target word to the source word that it looks at most, unless that is the end.

    `weights` is target x source words, the end of the sentence last on both sides. A source word
    that this leaves alone is linked to the target word that looks at it most.
    """
    inner = weights[:-1]
    best = inner.argmax(1)
    end = weights.shape[1] - 1
    links = {(int(s), t) for t, s in enumerate(best) if s < end and inner[t, s] > 0}
    if not len(inner):
        return links
    chosen = {s for s, _ in links}
    looks = inner.argmax(0)
    for s in range(end):
        if s not in chosen and inner[looks[s], s] >= LEAST_WEIGHT:
            links.add((s, int(looks[s])))
    return links


@dataclass(frozen=True)
class AlignmentScores:
    """Scores of a set of alignments against gold (Och & Ney 2003, eq. 7)."""

    precision: float
    """Links that are possible, of those given."""
    recall: float
    """Sure links that are given, of all sure ones."""
    aer: float
    """1 - (|A & S| + |A & P|) / (|A| + |S|)."""
    lines: int


def score_alignments(found: Iterable[Links], gold: Iterable[GoldAlignment]) -> AlignmentScores:
    """Score alignments of the same lines; the counts are summed over all of them."""
    sure_hits = possible_hits = links = sure = lines = 0
    for ours, theirs in zip(found, gold, strict=True):
        sure_hits += len(ours & theirs.sure)
        possible_hits += len(ours & theirs.possible)
        links += len(ours)
        sure += len(theirs.sure)
        lines += 1
    return AlignmentScores(
        precision=possible_hits / links if links else 0.0,
        recall=sure_hits / sure if sure else 0.0,
        aer=1 - (sure_hits + possible_hits) / (links + sure) if links + sure else 0.0,
        lines=lines,
    )


def intersection(forward: Links, backward: Links) -> Links:
    """The links on which both directions agree."""
    return forward & backward


NEIGHBOURS = ((-1, 0), (0, -1), (1, 0), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1))
"""In the order of Koehn et al. 2005, on which the result hangs."""


def grow_diag_final_and(forward: Links, backward: Links) -> Links:
    """Grow the intersection by neighbours, then by links between free words (Koehn et al. 2005).

    A link of the union that touches one already there, also diagonally, is added if its source or
    its target word is free; in the end one of either direction if both its words are free.
    """
    union, links = forward | backward, forward & backward
    sources, targets = {s for s, _ in links}, {t for _, t in links}

    def add(link: tuple[int, int]) -> None:
        links.add(link)
        sources.add(link[0])
        targets.add(link[1])

    grown = True
    while grown:
        grown = False
        for s, t in sorted(links):
            for ds, dt in NEIGHBOURS:
                near = (s + ds, t + dt)
                free = near[0] not in sources or near[1] not in targets
                if free and near in union:
                    add(near)
                    grown = True
    for direction in (forward, backward):
        for s, t in sorted(direction):
            if s not in sources and t not in targets:
                add((s, t))
    return links


SYMMETRISE = {"grow-diag-final-and": grow_diag_final_and, "intersection": intersection}
