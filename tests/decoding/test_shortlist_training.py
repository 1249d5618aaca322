"""A shortlist learned from known attention weights, compared with hand computation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nmt.config.sections.decode import DecodeConfig
from nmt.data.tokenizer.tokenizer import Tokenizers
from nmt.decoding import shortlist_training
from nmt.decoding.search.shortlist import Shortlist
from nmt.decoding.search.trace import FloatArray
from nmt.decoding.shortlist_training import learn_shortlist, measure_coverage

EOS = 3


class FakeTokenizer:
    """A tokenizer with pieces only; tokens 0 to 2 are never output."""

    eos, never_output = EOS, [0, 1, 2]

    def __init__(self, words: str) -> None:
        self.words = ["<pad>", "<unk>", "<s>", "</s>", *words.split()]
        self.vocab_size = len(self.words)

    def pieces(self, tokens: list[int]) -> list[str]:
        return [self.words[token] for token in tokens]


class FakeDecoder:
    """A decoder with given attention weights, target x source with ends of sentences."""

    settings = DecodeConfig(batch_size=2)

    def __init__(
        self, src: str, tgt: str, weights: dict[tuple[int, ...], list[list[float]]]
    ) -> None:
        sides: Any = FakeTokenizer(src), FakeTokenizer(tgt)
        self.tokenizers = Tokenizers(*sides)
        self.weights = weights

    def attention(self, pairs: list[tuple[list[int], list[int]]]) -> list[FloatArray]:
        return [np.array(self.weights[tuple(source)], np.float32) for source, _ in pairs]


A, B, PARIS = 4, 5, 6
U, V, W, NAME = 4, 5, 6, 7
DECODER = FakeDecoder(
    "a b Paris",
    "u v w Paris",
    {
        (A, B): [[0.9, 0.06, 0.04], [0.3, 0.7, 0.0], [0, 0, 1]],
        (A,): [[0.5, 0.5], [0.04, 0.96], [0, 1]],
        (B,): [[0.2, 0.8], [0.0, 1.0]],
    },
)
PAIRS = [([A, B], [U, V]), ([A], [W, U]), ([B], [V])]
"""Sums of attention: a-u 0.9 (0.04 is too small), a-v 0.3, a-w 0.5; b-u 0.06, b-v 0.7 + 0.8."""


def learn_from_pairs(best: int) -> Shortlist:
    engine: Any = DECODER
    return learn_shortlist(engine, PAIRS, best)


def targets_of(shortlist: Shortlist, token: int) -> set[int]:
    return {*shortlist.targets[shortlist.offsets[token] : shortlist.offsets[token + 1]].tolist()}


@pytest.mark.parametrize("buffer_size", [1, shortlist_training.MAX_BUFFERED_WEIGHTS])
@pytest.mark.parametrize(
    ("best", "targets_of_a", "targets_of_b"),
    [(1, {U}, {V}), (2, {U, W}, {U, V}), (3, {U, V, W}, {U, V})],
)
def test_learn_shortlist_keeps_best_targets(
    best: int,
    targets_of_a: set[int],
    targets_of_b: set[int],
    buffer_size: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shortlist_training, "MAX_BUFFERED_WEIGHTS", buffer_size)
    monkeypatch.setattr(shortlist_training, "WINDOW", 1)
    shortlist = learn_from_pairs(best)
    assert (targets_of(shortlist, A), targets_of(shortlist, B)) == (targets_of_a, targets_of_b)


def test_learn_shortlist_allows_copies() -> None:
    assert targets_of(learn_from_pairs(1), PARIS) == {NAME}


def test_learn_shortlist_always_allows_frequent_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shortlist_training, "FREQUENT_TARGETS", 1)
    assert learn_from_pairs(1).token_ids([]).tolist() == [EOS, U]
    monkeypatch.setattr(shortlist_training, "FREQUENT_TARGETS", 100)
    assert learn_from_pairs(1).token_ids([]).tolist() == [EOS, U, V, W], (
        "only tokens of the training text"
    )


def test_measure_coverage_counts_tokens_and_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shortlist_training, "FREQUENT_TARGETS", 1)
    shortlist = learn_from_pairs(1)
    coverage = measure_coverage(shortlist, [([A], [U, W]), ([B, PARIS], [V, NAME])])
    assert coverage == (3 / 4, (2 + 4) / 2)
