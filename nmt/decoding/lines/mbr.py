"""Minimum Bayes risk: rank the translations of a line by their similarity to each other.

The expected utility of y is 1/N sum_n u(y, y_n) over the N candidates, which approximate the
distribution of the model (Kumar & Byrne 2004; with samples: Eikema & Aziz 2020).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from nmt.decoding.lines.translation import Translation

Utility = Literal["chrf", "bleu"]
FloatArray = NDArray[np.float64]
Units = str | tuple[str, ...]
"""A text as a string of characters or a tuple of words."""


def expected_utilities(candidates: Sequence[str], utility: Utility) -> FloatArray:
    """Return the expected utility of each of N candidates, 0 to 100.

    A candidate that occurs several times counts as often.
    """
    counts = Counter(candidates)
    texts = list(counts)
    weights = np.array([counts[text] for text in texts])
    means = similarities(texts, utility) @ weights / len(candidates)
    mean_of_text = dict(zip(texts, means, strict=True))
    return np.array([mean_of_text[text] for text in candidates])


def similarities(texts: Sequence[str], utility: Utility) -> FloatArray:
    """Return the N x N scores of text i with text j as reference, 0 to 100, as sacreBLEU defines.

    chrf: chrF2 of character 6-grams. bleu: sentence BLEU of 13a tokens with exponential smoothing.
    """
    return _chrf_matrix(texts) if utility == "chrf" else _bleu_matrix(texts)


def rank_by_expected_utility(candidates: list[Translation], utility: Utility) -> list[Translation]:
    """Return the distinct candidates, best first, with their expected utility as score."""
    utilities = expected_utilities([candidate.text for candidate in candidates], utility).tolist()
    distinct: dict[str, Translation] = {}
    for candidate, score in zip(candidates, utilities, strict=True):
        distinct.setdefault(candidate.text, replace(candidate, score=score))
    return sorted(distinct.values(), key=lambda candidate: -candidate.score)


def _chrf_matrix(texts: Sequence[str]) -> FloatArray:
    """Return the N x N chrF scores: F_2 of the mean n-gram precision and recall."""
    characters = ["".join(text.split()) for text in texts]
    shape = (len(texts), len(texts))
    precision, recall, orders = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    for n in range(1, CHRF.CHAR_ORDER + 1):
        matches, totals = _count_matches(characters, n)
        hypothesis_totals, reference_totals = np.broadcast_arrays(totals[:, None], totals[None])
        has_ngrams = (hypothesis_totals > 0) & (reference_totals > 0)
        precision += _divide(matches, hypothesis_totals, has_ngrams)
        recall += _divide(matches, reference_totals, has_ngrams)
        orders += has_ngrams
    precision, recall = precision / np.maximum(orders, 1), recall / np.maximum(orders, 1)
    beta_squared = CHRF.BETA**2
    denominator = beta_squared * precision + recall
    numerator = (1 + beta_squared) * precision * recall
    return 100 * _divide(numerator, denominator, denominator > 0)


def _bleu_matrix(texts: Sequence[str]) -> FloatArray:
    """Return the N x N sentence BLEU scores."""
    metric = BLEU(effective_order=True)
    tokenize: Callable[[str], str] = metric.tokenizer
    words = [tuple(tokenize(text).split()) for text in texts]
    by_order = [_count_matches(words, n) for n in range(1, metric.max_ngram_order + 1)]
    matches = np.stack([matches for matches, _ in by_order], -1).astype(int).tolist()
    totals = np.stack([totals for _, totals in by_order], -1).astype(int).tolist()
    scores = np.zeros((len(texts), len(texts)))
    for i, hypothesis in enumerate(words):
        for j, reference in enumerate(words):
            scores[i, j] = metric.compute_bleu(
                matches[i][j],
                totals[i],
                len(hypothesis),
                len(reference),
                smooth_method="exp",
                effective_order=True,
            ).score
    return scores


def _count_matches(texts: Sequence[Units], n: int) -> tuple[FloatArray, FloatArray]:
    """Return the N x N numbers of n-grams that two texts share, and the N numbers of n-grams."""
    counts = [Counter(text[i : i + n] for i in range(len(text) - n + 1)) for text in texts]
    columns: dict[Units, int] = {}
    for text_counts in counts:
        for ngram in text_counts:
            columns.setdefault(ngram, len(columns))
    table = np.zeros((len(texts), len(columns)), np.int32)
    for row, text_counts in zip(table, counts, strict=True):
        row[[columns[ngram] for ngram in text_counts]] = list(text_counts.values())
    shared = np.array([np.minimum(row, table).sum(1) for row in table], float)
    return shared.reshape(len(texts), len(texts)), table.sum(1).astype(float)


def _divide(numerator: FloatArray, denominator: FloatArray, valid: NDArray[np.bool_]) -> FloatArray:
    """Return the quotient, 0 where it is not `valid`."""
    return np.divide(numerator, denominator, where=valid, out=np.zeros_like(numerator))
