"""A shortlist learned from attention that is known, counted by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nmt.config.sections.decode import DecodeConfig
from nmt.data.tokenizer.tokenizer import Tokenizers
from nmt.decoding.constraints import shortlist_training
from nmt.decoding.constraints.shortlist import Shortlist
from nmt.decoding.constraints.shortlist_training import learn_shortlist, measure_coverage
from nmt.decoding.trace import FloatArray

EOS = 3


class Pieces:
    """A tokenizer of which only the pieces matter; 0 to 2 are never said."""

    eos, never_output = EOS, [0, 1, 2]

    def __init__(self, words: str) -> None:
        self.words = ["<pad>", "<unk>", "<s>", "</s>", *words.split()]
        self.vocab_size = len(self.words)

    def pieces(self, tokens: list[int]) -> list[str]:
        return [self.words[token] for token in tokens]


class Known:
    """An engine whose attention is given: target x source, ends included."""

    settings = DecodeConfig(batch_size=2)

    def __init__(self, src: str, tgt: str, seen: dict[tuple[int, ...], list[list[float]]]) -> None:
        sides: Any = Pieces(src), Pieces(tgt)
        self.tokenizers = Tokenizers(*sides)
        self.seen = seen

    def attention(self, pairs: list[tuple[list[int], list[int]]]) -> list[FloatArray]:
        return [np.array(self.seen[tuple(source)], np.float32) for source, _ in pairs]


A, B, PARIS = 4, 5, 6
U, V, W, NAME = 4, 5, 6, 7
ENGINE = Known(
    "a b Paris",
    "u v w Paris",
    {
        (A, B): [[0.9, 0.06, 0.04], [0.3, 0.7, 0.0], [0, 0, 1]],
        (A,): [[0.5, 0.5], [0.04, 0.96], [0, 1]],
        (B,): [[0.2, 0.8], [0.0, 1.0]],
    },
)
PAIRS = [([A, B], [U, V]), ([A], [W, U]), ([B], [V])]
"""Attention in all: a-u 0.9 (0.04 is too little), a-v 0.3, a-w 0.5; b-u 0.06, b-v 0.7 + 0.8."""


def learn(best: int) -> Shortlist:
    engine: Any = ENGINE
    return learn_shortlist(engine, PAIRS, best)


def own(shortlist: Shortlist, token: int) -> set[int]:
    return {*shortlist.targets[shortlist.offsets[token] : shortlist.offsets[token + 1]].tolist()}


@pytest.mark.parametrize("held", [1, shortlist_training.MAX_BUFFERED_WEIGHTS])
@pytest.mark.parametrize(
    ("best", "of_a", "of_b"), [(1, {U}, {V}), (2, {U, W}, {U, V}), (3, {U, V, W}, {U, V})]
)
def test_the_best_targets_by_attention(
    best: int, of_a: set[int], of_b: set[int], held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shortlist_training, "MAX_BUFFERED_WEIGHTS", held)
    monkeypatch.setattr(shortlist_training, "WINDOW", 1)
    shortlist = learn(best)
    assert (own(shortlist, A), own(shortlist, B)) == (of_a, of_b)


def test_a_piece_of_both_sides_may_be_copied() -> None:
    assert own(learn(1), PARIS) == {NAME}


def test_frequent_tokens_stand_in_every_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shortlist_training, "FREQUENT_TARGETS", 1)
    assert learn(1).token_ids([]).tolist() == [EOS, U]
    monkeypatch.setattr(shortlist_training, "FREQUENT_TARGETS", 100)
    assert learn(1).token_ids([]).tolist() == [EOS, U, V, W], "no token that was never seen"


def test_coverage_counts_tokens_and_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shortlist_training, "FREQUENT_TARGETS", 1)
    shortlist = learn(1)
    found = measure_coverage(shortlist, [([A], [U, W]), ([B, PARIS], [V, NAME])])
    assert found == (3 / 4, (2 + 4) / 2)
