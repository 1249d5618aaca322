"""Reranking of n-best lists, and tuning against exhaustive search."""

from __future__ import annotations

import math
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sacrebleu.metrics.bleu import BLEU

from nmt.decoding.reranking import (
    Entry,
    bleu_from_statistics,
    feature_matrices,
    rank,
    read_nbest,
    read_weights,
    tune_weights,
    upper_envelope,
    write_weights,
)
from nmt.errors import DataError

SCORES = st.lists(st.floats(-9, 0), min_size=1, max_size=6)


@given(SCORES)
def test_rank_zero_weights_keep_the_order(scores: list[float]) -> None:
    """Hypotheses of a list come best first; ties keep their order."""
    scores.sort(reverse=True)
    features = np.random.default_rng(1).normal(size=(len(scores), 3))
    assert rank(scores, features, np.zeros(3)) == list(range(len(scores)))


@given(
    st.lists(st.tuples(st.integers(-9, 9), st.integers(-4, 4)), min_size=1, max_size=8),
    st.floats(-30, 30),
)
def test_upper_envelope_is_the_maximum_of_the_lines(lines: list[tuple[int, int]], x: float) -> None:
    heights, slopes = (np.array(part, float) for part in zip(*lines, strict=True))
    segments = upper_envelope(heights, slopes)
    assert segments[0][0] == -math.inf
    assert [point for point, _ in segments] == sorted(point for point, _ in segments)
    [top] = [line for point, line in segments if point <= x][-1:]
    assert heights[top] + slopes[top] * x == pytest.approx((heights + slopes * x).max(), abs=1e-9)


WORDS = ["the dog sleeps on the mat", "a dog is on the mat now", "the cat sleeps on a mat"]


def tuning_case(seed: int) -> tuple[list[list[float]], list[np.ndarray], list[np.ndarray]]:
    """Return thirty lines of four hypotheses; the second feature is BLEU with noise."""
    rng = np.random.default_rng(seed)
    metric = BLEU()
    scores, features, stats = [], [], []
    for line in range(30):
        ref = WORDS[line % 3]
        texts = [
            " ".join(word for word in ref.split() if rng.random() > loss)
            for loss in (0.4, 0.2, 0.1, 0.0)
        ]
        metric._ref_cache = metric._cache_references([[ref] * 4])
        stats.append(np.array(metric._extract_corpus_statistics(texts, None), float))
        scores.append(sorted(rng.normal(size=4).tolist(), reverse=True))
        informative = stats[-1][:, 2] + rng.normal(size=4)
        features.append(np.stack([rng.normal(size=4), informative], 1))
    return scores, features, stats


@pytest.mark.parametrize("seed", range(3))
def test_tune_weights_is_as_good_as_a_fine_grid(seed: int) -> None:
    scores, features, stats = tuning_case(seed)

    def bleu(weights: np.ndarray) -> float:
        best_stats = [
            line_stats[rank(line, columns, weights)[0]]
            for line, columns, line_stats in zip(scores, features, stats, strict=True)
        ]
        return float(bleu_from_statistics(np.sum(best_stats, 0)[None])[0])

    result = tune_weights(scores, features, stats)
    grid = max(bleu(np.array(pair)) for pair in product(np.linspace(-4, 4, 33), repeat=2))
    assert result.before == bleu(np.zeros(2))
    assert result.after == pytest.approx(bleu(result.weights))
    assert result.after >= grid - 0.3
    assert result.after > result.before + 5
    assert result.weights[1] > 0


def test_tune_weights_single_hypothesis_keeps_zero_weights() -> None:
    result = tune_weights([[0.0]], [np.ones((1, 2))], [np.arange(10.0)[None]])
    assert result.weights.tolist() == [0, 0]


def test_tune_weights_ties_choose_the_first_hypothesis() -> None:
    """The second hypothesis is right, but the features are equal."""
    wrong_stats = np.array([4.0, 4, 0, 0, 0, 0, 4, 3, 2, 1])
    right_stats = np.array([4.0, 4, 4, 3, 2, 1, 4, 3, 2, 1])
    result = tune_weights([[-1.0, -1.0]], [np.ones((2, 1))], [np.stack([wrong_stats, right_stats])])
    assert result.before == result.after == 0


def test_bleu_from_statistics_equals_sacrebleu() -> None:
    texts = ["the dog sleeps on a mat", "the cat sleeps on a mat"]
    refs = ["the dog sleeps on the mat", "the cat sleeps on a mat in here"]
    score = BLEU(smooth_method="none").corpus_score(texts, [refs])
    stats = np.array([[score.sys_len, score.ref_len, *score.counts, *score.totals]], float)
    assert bleu_from_statistics(stats)[0] == pytest.approx(score.score)
    assert bleu_from_statistics(np.zeros((1, 10)))[0] == 0


def test_read_nbest_reads_moses_format(tmp_path: Path) -> None:
    file = tmp_path / "nbest"
    file.write_text(
        "0 ||| a ||| b ||| -1.5\n0 |||  ||| -2\n"
        "1 ||| c ||| LM0= -4 WordPenalty0= 1 ||| -3\n1 ||| x= 1 ||| -4\n"
    )
    assert read_nbest(file) == [
        [Entry("a ||| b", -1.5), Entry("", -2.0)],
        [Entry("c", -3.0), Entry("x= 1", -4.0)],
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 ||| a ||| -1\n2 ||| b ||| -1\n", ":2: expected line number 1, got 2"),
        ("1 ||| a ||| -1\n", ":1: expected line number 0, got 1"),
        ("0 ||| a ||| -1\n1 ||| b ||| -1\n0 ||| c ||| -1\n", ":3: expected line number 2, got 0"),
        ("0 ||| a\n", r":1: expected NUMBER \|\|\| TEXT \|\|\| SCORE"),
        ("0 ||| a ||| nan\n", r":1: expected NUMBER \|\|\| TEXT"),
        ("a dog\n", r":1: expected NUMBER \|\|\| TEXT"),
    ],
)
def test_read_nbest_bad_line_is_named(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "nbest"
    file.write_text(text)
    with pytest.raises(DataError, match=message):
        read_nbest(file)


def test_feature_matrices_append_the_length() -> None:
    lists = [[Entry("a b", -1.0), Entry("", -2.0)], [Entry("c", -3.0)]]
    first, second = feature_matrices(lists, [[1.0, 2.0, 3.0]])
    assert first.tolist() == [[1, 2], [2, 0]]
    assert second.tolist() == [[3, 1]]


def test_weights_written_and_read_are_equal(tmp_path: Path) -> None:
    file = tmp_path / "weights.json"
    names = ["model 1", "length"]
    result = tune_weights(*tuning_case(1))
    write_weights(file, names, result)
    assert read_weights(file, names).tolist() == result.weights.tolist()
    with pytest.raises(
        DataError, match="expected weights of length, got weights of model 1, length"
    ):
        read_weights(file, ["length"])
    for text in ("{", '{"weights": 3}', '{"weights": {"length": "x"}}', "[]"):
        file.write_text(text)
        with pytest.raises(DataError, match="expected weights"):
            read_weights(file, ["length"])
    with pytest.raises(DataError, match="no such file"):
        read_weights(tmp_path / "none", names)
