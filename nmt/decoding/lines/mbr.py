"""Minimum Bayes risk: of many translations of a line, the one that is most like all of them.

The expected utility of y is 1/N sum_n u(y, y_n) over the N candidates, which stand for what the
model finds probable (Kumar & Byrne 2004; over samples: Eikema & Aziz 2020).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

if TYPE_CHECKING:
    from nmt.decoding.hypothesis import Translation

Utility = Literal["chrf", "bleu"]
Numbers = NDArray[np.float64]
Units = str | tuple[str, ...]
"""Letters or words."""


def expected_utilities(candidates: Sequence[str], utility: Utility) -> Numbers:
    """Return the expected utility of each candidate, 0 to 100; one that is there twice, twice."""
    times = Counter(candidates)
    texts = list(times)
    matrix = similarities(texts, utility)
    means = matrix @ np.array([times[text] for text in texts]) / len(candidates)
    by_text = dict(zip(texts, means, strict=True))
    return np.array([by_text[text] for text in candidates])


def similarities(texts: Sequence[str], utility: Utility) -> Numbers:
    """Return N x N: each text scored with each other as its reference, by sacreBLEU's definitions.

    chrf: chrF2 of character 6-grams; bleu: BLEU of a sentence in 13a tokens, "exp" smoothed.
    """
    return _chrf(texts) if utility == "chrf" else _bleu(texts)


def _chrf(texts: Sequence[str]) -> Numbers:
    letters = ["".join(text.split()) for text in texts]
    factor = CHRF.BETA**2
    precision, recall, orders = (np.zeros((len(texts), len(texts))) for _ in range(3))
    for n in range(1, CHRF.CHAR_ORDER + 1):
        matches, totals = _matches(letters, n)
        said, wanted = np.broadcast_arrays(totals[:, None], totals[None])
        both = (said > 0) & (wanted > 0)
        precision += np.divide(matches, said, where=both, out=np.zeros_like(matches))
        recall += np.divide(matches, wanted, where=both, out=np.zeros_like(matches))
        orders += both
    precision, recall = (part / np.maximum(orders, 1) for part in (precision, recall))
    below = factor * precision + recall
    above = (1 + factor) * precision * recall
    return 100 * np.divide(above, below, where=below > 0, out=np.zeros_like(above))


def _bleu(texts: Sequence[str]) -> Numbers:
    metric = BLEU(effective_order=True)
    split: Callable[[str], str] = metric.tokenizer
    words = [tuple(split(text).split()) for text in texts]
    parts = [_matches(words, n) for n in range(1, metric.max_ngram_order + 1)]
    matches = np.stack([matches for matches, _ in parts], -1).astype(int).tolist()
    totals = np.stack([totals for _, totals in parts], -1).astype(int).tolist()
    lengths = [len(each) for each in words]
    score = partial(metric.compute_bleu, smooth_method="exp", effective_order=True)
    return np.array(
        [
            [
                score(matches[i][j], totals[i], lengths[i], length).score
                for j, length in enumerate(lengths)
            ]
            for i in range(len(texts))
        ]
    )


def _matches(texts: Sequence[Units], n: int) -> tuple[Numbers, Numbers]:
    """Return N x N n-grams that two texts share, with repetition, and N that each has."""
    found = [Counter(text[i : i + n] for i in range(len(text) - n + 1)) for text in texts]
    places: dict[object, int] = {}
    for counts in found:
        for gram in counts:
            places.setdefault(gram, len(places))
    table = np.zeros((len(texts), len(places)), np.int32)
    for row, counts in zip(table, found, strict=True):
        row[[places[gram] for gram in counts]] = list(counts.values())
    shared = np.array([np.minimum(row, table).sum(1) for row in table], float)
    return shared.reshape(len(texts), len(texts)), table.sum(1).astype(float)


def rank_by_expected_utility(candidates: list[Translation], utility: Utility) -> list[Translation]:
    """Return different candidates by their expected utility, which becomes their score."""
    utilities = expected_utilities([each.text for each in candidates], utility).tolist()
    scored = [replace(each, score=its) for each, its in zip(candidates, utilities, strict=True)]
    different: dict[str, Translation] = {}
    for each in scored:
        different.setdefault(each.text, each)
    return sorted(different.values(), key=lambda each: -each.score)
