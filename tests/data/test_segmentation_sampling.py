"""Lines cut by chance: always the same text, as often each way as the formulas say."""

from __future__ import annotations

import io
import math
import random
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

import pytest
import sentencepiece
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nmt.config.sections.tokenizer import TokenizerConfig
from nmt.data.text.reader import read_lines
from nmt.data.tokenizer.tokenizer import Tokenizer
from nmt.data.tokenizer.training import train_tokenizer

DEMO = Path(__file__).resolve().parents[2] / "data" / "demo"
DRAWS = 20_000
Kind = Literal["unigram", "bpe"]
KINDS: tuple[Kind, ...] = ("unigram", "bpe")
Way = tuple[int, ...]


def demo(name: str, lines: int) -> list[str]:
    return [
        line for side in ("en", "fr") for line in list(read_lines(DEMO / f"{name}.{side}"))[:lines]
    ]


def train(kind: Kind) -> Tokenizer:
    config = TokenizerConfig(type=kind, vocab_size=800)
    return Tokenizer(train_tokenizer(demo("train", 300), config, False, "the text"))


TRAINED = {kind: train(kind) for kind in KINDS}
UNIGRAM, BPE = TRAINED["unigram"], TRAINED["bpe"]


def processor(tokenizer: Tokenizer) -> sentencepiece.SentencePieceProcessor:
    return sentencepiece.SentencePieceProcessor(model_proto=tokenizer.model)


def draws(tokenizer: Tokenizer, line: str, alpha: float) -> Counter[Way]:
    rng = random.Random(11)
    return Counter(tuple(tokenizer.sample_segmentation(line, alpha, rng)) for _ in range(DRAWS))


def same_shares(found: Counter[Way], expected: dict[Way, float]) -> None:
    """Each way comes as often as expected, within 5 standard errors and one draw."""
    assert set(found) <= set(expected)
    for way, share in expected.items():
        error = (share * (1 - share) / DRAWS) ** 0.5
        assert abs(found[way] / DRAWS - share) <= 5 * error + 1 / DRAWS, way


SIGNS = st.one_of(
    st.text(max_size=30),
    st.text("aeinst \u2581.,é", max_size=60),
    st.text("a  \t\u3000\u00a0", max_size=10),
    st.text("🎉👩\u200d🇩🇪漢字ᚠ\x00\n", max_size=10),
    st.sampled_from(demo("test", 50)),
)


@pytest.mark.parametrize("kind", KINDS)
@given(line=SIGNS, alpha=st.sampled_from([0.0, 0.1, 0.5, 1.0]), seed=st.integers(0, 99))
@example(line="", alpha=0.1, seed=0)
@example(line="  two  blanks ", alpha=0.1, seed=0)
@example(line="<0x41><unk></s> <reserved_0>", alpha=0.1, seed=0)
@settings(max_examples=150, derandomize=True, deadline=None)
def test_no_text_is_changed(kind: Kind, line: str, alpha: float, seed: int) -> None:
    tokenizer = TRAINED[kind]
    drawn = tokenizer.sample_segmentation(line, alpha, random.Random(seed))
    assert tokenizer.decode(drawn) == line.replace("\u2581", " ")
    assert all(4 + len(tokenizer.reserved) <= i < tokenizer.vocab_size for i in drawn)


def test_bpe_without_dropout_is_sentencepiece() -> None:
    lines = demo("test", 300)
    rng = random.Random(1)
    assert [BPE.sample_segmentation(line, 0.0, rng) for line in lines] == BPE.encode(lines)


def test_a_large_alpha_leaves_only_the_best_way_which_is_sentencepieces() -> None:
    """A way that lies 0.01 below the best is drawn once in exp(50) draws; nearer ones are ties."""
    lines, model, rng = demo("test", 300), processor(UNIGRAM), random.Random(1)
    ties = 0
    for line, best in zip(lines, UNIGRAM.encode(lines), strict=True):
        drawn = UNIGRAM.sample_segmentation(line, 5000.0, rng)
        scores = [sum(model.get_score(i) for i in way) for way in (drawn, best)]
        ties += drawn != best
        assert drawn == best or abs(scores[0] - scores[1]) < 0.01
    assert ties < len(lines) / 100


def ways(model: sentencepiece.SentencePieceProcessor, word: str) -> dict[Way, float]:
    """Return every way to cut a word into pieces, with its score."""
    if not word:
        return {(): 0.0}
    lowest = min(
        model.get_score(i)
        for i in range(model.get_piece_size())
        if not (model.is_control(i) or model.is_byte(i) or model.is_unknown(i))
    )
    found = {}
    for end in range(1, len(word) + 1):
        i = model.piece_to_id(word[:end])
        begin: tuple[Way, float] | None = None
        if i != model.unk_id():
            begin = (i,), model.get_score(i)
        elif end == 1:
            spelled = tuple(model.piece_to_id(f"<0x{byte:02X}>") for byte in word[0].encode())
            begin = spelled, lowest - 10
        if begin is not None:
            for way, score in ways(model, word[end:]).items():
                found[begin[0] + way] = begin[1] + score
    return found


@pytest.mark.parametrize("alpha", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("word", ["these", "tes漢es", "tete"])
def test_unigram_ways_come_in_proportion_to_their_smoothed_probability(
    word: str, alpha: float
) -> None:
    found = ways(processor(UNIGRAM), f"\u2581{word}")
    assert len(found) > 3
    powers = {way: math.exp(alpha * score) for way, score in found.items()}
    expected = {way: power / sum(powers.values()) for way, power in powers.items()}
    same_shares(draws(UNIGRAM, word, alpha), expected)


@pytest.mark.parametrize("dropout", [0.0, 0.1, 0.5, 1.0])
def test_a_single_merge_is_left_out_as_often_as_dropout_says(dropout: float) -> None:
    model = processor(BPE)
    merged, blank, letter = (model.piece_to_id(piece) for piece in ("\u2581a", "\u2581", "a"))
    assert model.unk_id() not in (merged, blank, letter)
    same_shares(draws(BPE, "a", dropout), {(merged,): 1 - dropout, (blank, letter): dropout})


def merges(
    model: sentencepiece.SentencePieceProcessor, parts: tuple[str, ...], dropout: float
) -> dict[tuple[str, ...], float]:
    """Return how likely each end of algorithm 1 is: of the merges kept the best is done."""
    possible = sorted(
        (-model.get_score(model.piece_to_id(a + b)), i)
        for i, (a, b) in enumerate(pairwise(parts))
        if model.piece_to_id(a + b) != model.unk_id()
    )
    found = {parts: dropout ** len(possible)}
    for better, (_, i) in enumerate(possible):
        rest = merges(model, (*parts[:i], parts[i] + parts[i + 1], *parts[i + 2 :]), dropout)
        for end, share in rest.items():
            found[end] = found.get(end, 0.0) + (1 - dropout) * dropout**better * share
    return found


@pytest.mark.parametrize("dropout", [0.1, 0.5])
@pytest.mark.parametrize("word", ["these", "tete", "les"])
def test_bpe_ways_come_as_often_as_the_algorithm_says(word: str, dropout: float) -> None:
    model = processor(BPE)
    ends = merges(model, tuple(f"\u2581{word}"), dropout)
    assert len(ends) > 3
    assert sum(ends.values()) == pytest.approx(1)
    expected = {tuple(map(model.piece_to_id, end)): share for end, share in ends.items()}
    same_shares(draws(BPE, word, dropout), expected)


def test_the_merges_of_full_dropout_are_none() -> None:
    line = "The hero has two names"
    drawn = BPE.pieces(BPE.sample_segmentation(line, 1.0, random.Random(1)))
    assert drawn == list("\u2581" + line.replace(" ", "\u2581"))


@pytest.mark.parametrize("kind", KINDS)
def test_tags_stand_before_what_is_drawn(kind: Kind) -> None:
    plain = TRAINED[kind]
    tagged = plain.with_tags((5, 4))
    drawn = [
        its.sample_segmentation("These names", 0.3, random.Random(2)) for its in (tagged, plain)
    ]
    assert drawn[0] == [5, 4, *drawn[1]]


@pytest.mark.parametrize("kind", KINDS)
def test_words_are_drawn_apart(kind: Kind) -> None:
    """What is drawn for two words one after the other is what is drawn for both."""
    apart, together = random.Random(4), random.Random(4)
    for _ in range(50):
        one, two = (
            TRAINED[kind].sample_segmentation(word, 0.3, apart) for word in ("these", "names")
        )
        assert TRAINED[kind].sample_segmentation("these names", 0.3, together) == [*one, *two]


def drawn_lines(kind: Kind, seed: int) -> list[list[int]]:
    rng = random.Random(seed)
    return [TRAINED[kind].sample_segmentation(line, 0.2, rng) for line in demo("test", 40)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_decides_what_is_drawn(kind: Kind) -> None:
    first = drawn_lines(kind, 1)
    assert (
        Tokenizer(TRAINED[kind].model).sample_segmentation(
            demo("test", 1)[0], 0.2, random.Random(1)
        )
        == first[0]
    )
    assert drawn_lines(kind, 1) == first
    assert drawn_lines(kind, 2) != first
    assert first != TRAINED[kind].encode(demo("test", 40))


def test_another_process_draws_the_same() -> None:
    with ProcessPoolExecutor(1, get_context("spawn")) as other:
        there = list(other.map(drawn_lines, KINDS, (3, 3)))
    assert there == [drawn_lines(kind, 3) for kind in KINDS]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("line", ["a漢b", "漢字 a", "a 漢字b 漢"])
def test_unknown_characters_of_a_model_without_bytes_are_those_of_sentencepiece(
    kind: Kind, line: str
) -> None:
    output = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(demo("train", 300)),
        model_writer=output,
        model_type=kind,
        vocab_size=300,
        minloglevel=2,
    )
    tokenizer = Tokenizer(output.getvalue())
    assert tokenizer.unk in tokenizer.encode([line])[0]
    alpha = 0.0 if kind == "bpe" else 5000.0
    assert (
        tokenizer.sample_segmentation(line, alpha, random.Random(1)) == tokenizer.encode([line])[0]
    )
