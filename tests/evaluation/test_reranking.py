"""Ranking n-best lists anew, and tuning, against looking at everything."""

from __future__ import annotations

import math
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sacrebleu.metrics.bleu import BLEU

from nmt.errors import DataError
from nmt.evaluation.reranking import (
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

SCORES = st.lists(st.floats(-9, 0), min_size=1, max_size=6)


@given(SCORES)
def test_weights_of_zero_change_nothing(scores: list[float]) -> None:
    """A list is sorted as it came: best first, of equal ones the earlier first."""
    scores.sort(reverse=True)
    features = np.random.default_rng(1).normal(size=(len(scores), 3))
    assert rank(scores, features, np.zeros(3)) == list(range(len(scores)))


@given(
    st.lists(st.tuples(st.integers(-9, 9), st.integers(-4, 4)), min_size=1, max_size=8),
    st.floats(-30, 30),
)
def test_the_envelope_names_the_highest_line(lines: list[tuple[int, int]], x: float) -> None:
    heights, slopes = (np.array(part, float) for part in zip(*lines, strict=True))
    found = upper_envelope(heights, slopes)
    assert found[0][0] == -math.inf
    assert [point for point, _ in found] == sorted(point for point, _ in found)
    [top] = [line for point, line in found if point <= x][-1:]
    assert heights[top] + slopes[top] * x == pytest.approx((heights + slopes * x).max(), abs=1e-9)


WORDS = ["the dog sleeps on the mat", "a dog is on the mat now", "the cat sleeps on a mat"]


def case(seed: int) -> tuple[list[list[float]], list[np.ndarray], list[np.ndarray]]:
    """Thirty lines of four hypotheses: the second feature tells good ones, with noise."""
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
        good = stats[-1][:, 2] + rng.normal(size=4)
        features.append(np.stack([rng.normal(size=4), good], 1))
    return scores, features, stats


@pytest.mark.parametrize("seed", range(3))
def test_tuning_finds_weights_as_good_as_a_fine_grid(seed: int) -> None:
    scores, features, stats = case(seed)

    def bleu(weights: np.ndarray) -> float:
        chosen = [
            its[rank(line, columns, weights)[0]]
            for line, columns, its in zip(scores, features, stats, strict=True)
        ]
        return float(bleu_from_statistics(np.sum(chosen, 0)[None])[0])

    found = tune_weights(scores, features, stats)
    grid = max(bleu(np.array(pair)) for pair in product(np.linspace(-4, 4, 33), repeat=2))
    assert found.before == bleu(np.zeros(2))
    assert found.after == pytest.approx(bleu(found.weights))
    assert found.after >= grid - 0.3
    assert found.after > found.before + 5
    assert found.weights[1] > 0


def test_tuning_leaves_lists_of_one_as_they_are() -> None:
    found = tune_weights([[0.0]], [np.ones((1, 2))], [np.arange(10.0)[None]])
    assert found.weights.tolist() == [0, 0]


def test_of_equal_hypotheses_the_first_is_chosen_in_tuning_too() -> None:
    """The second is right, but nothing tells the two apart."""
    wrong = np.array([4.0, 4, 0, 0, 0, 0, 4, 3, 2, 1])
    right = np.array([4.0, 4, 4, 3, 2, 1, 4, 3, 2, 1])
    found = tune_weights([[-1.0, -1.0]], [np.ones((2, 1))], [np.stack([wrong, right])])
    assert found.before == found.after == 0


def test_bleu_is_sacrebleus_where_every_order_matches() -> None:
    texts = ["the dog sleeps on a mat", "the cat sleeps on a mat"]
    refs = ["the dog sleeps on the mat", "the cat sleeps on a mat in here"]
    score = BLEU(smooth_method="none").corpus_score(texts, [refs])
    stats = np.array([[score.sys_len, score.ref_len, *score.counts, *score.totals]], float)
    assert bleu_from_statistics(stats)[0] == pytest.approx(score.score)
    assert bleu_from_statistics(np.zeros((1, 10)))[0] == 0


def test_lists_are_read_as_they_are_written(tmp_path: Path) -> None:
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
def test_what_is_no_list_is_named_by_its_line(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "nbest"
    file.write_text(text)
    with pytest.raises(DataError, match=message):
        read_nbest(file)


def test_features_are_the_columns_and_the_words() -> None:
    lists = [[Entry("a b", -1.0), Entry("", -2.0)], [Entry("c", -3.0)]]
    first, second = feature_matrices(lists, [[1.0, 2.0, 3.0]])
    assert first.tolist() == [[1, 2], [2, 0]]
    assert second.tolist() == [[3, 1]]


def test_weights_are_kept_by_name(tmp_path: Path) -> None:
    file = tmp_path / "weights.json"
    names = ["model 1", "length"]
    found = tune_weights(*case(1))
    write_weights(file, names, found)
    assert read_weights(file, names).tolist() == found.weights.tolist()
    with pytest.raises(DataError, match="has weights of model 1, length; the scorers given are"):
        read_weights(file, ["length"])
    for text in ("{", '{"weights": 3}', '{"weights": {"length": "x"}}', "[]"):
        file.write_text(text)
        with pytest.raises(DataError, match="expected weights"):
            read_weights(file, ["length"])
    with pytest.raises(DataError, match="no such file"):
        read_weights(tmp_path / "none", names)
