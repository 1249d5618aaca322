"""Random segmentations decode to the same text and have the expected frequencies."""

from __future__ import annotations

import io
import math
import random
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise
from multiprocessing import get_context
from typing import Literal

import pytest
import sentencepiece
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nmt.config.sections.tokenizer import TokenizerConfig
from nmt.data.text.reader import read_lines
from nmt.data.tokenizer.tokenizer import Tokenizer
from nmt.data.tokenizer.training import train_tokenizer
from tests.support.paths import DEMO

DRAWS = 20_000
Kind = Literal["unigram", "bpe"]
KINDS: tuple[Kind, ...] = ("unigram", "bpe")
Segmentation = tuple[int, ...]


def demo_lines(name: str, lines: int) -> list[str]:
    return [
        line for side in ("en", "fr") for line in list(read_lines(DEMO / f"{name}.{side}"))[:lines]
    ]


def train(kind: Kind) -> Tokenizer:
    config = TokenizerConfig(type=kind, vocab_size=800)
    return Tokenizer(train_tokenizer(demo_lines("train", 300), config, False, "the text"))


TRAINED = {kind: train(kind) for kind in KINDS}
UNIGRAM, BPE = TRAINED["unigram"], TRAINED["bpe"]


def load_processor(tokenizer: Tokenizer) -> sentencepiece.SentencePieceProcessor:
    return sentencepiece.SentencePieceProcessor(model_proto=tokenizer.model)


def count_samples(tokenizer: Tokenizer, line: str, alpha: float) -> Counter[Segmentation]:
    rng = random.Random(11)
    return Counter(tuple(tokenizer.sample_segmentation(line, alpha, rng)) for _ in range(DRAWS))


def assert_frequencies(counts: Counter[Segmentation], expected: dict[Segmentation, float]) -> None:
    """Assert that frequencies differ by at most 5 standard errors and one sample."""
    assert set(counts) <= set(expected)
    for segmentation, probability in expected.items():
        error = (probability * (1 - probability) / DRAWS) ** 0.5
        difference = abs(counts[segmentation] / DRAWS - probability)
        assert difference <= 5 * error + 1 / DRAWS, segmentation


LINES = st.one_of(
    st.text(max_size=30),
    st.text("aeinst \u2581.,é", max_size=60),
    st.text("a  \t\u3000\u00a0", max_size=10),
    st.text("🎉👩\u200d🇩🇪漢字ᚠ\x00\n", max_size=10),
    st.sampled_from(demo_lines("test", 50)),
)


@pytest.mark.parametrize("kind", KINDS)
@given(line=LINES, alpha=st.sampled_from([0.0, 0.1, 0.5, 1.0]), seed=st.integers(0, 99))
@example(line="", alpha=0.1, seed=0)
@example(line="  two  blanks ", alpha=0.1, seed=0)
@example(line="<0x41><unk></s> <reserved_0>", alpha=0.1, seed=0)
@settings(max_examples=150, derandomize=True, deadline=None)
def test_sample_decodes_to_the_same_text(kind: Kind, line: str, alpha: float, seed: int) -> None:
    tokenizer = TRAINED[kind]
    tokens = tokenizer.sample_segmentation(line, alpha, random.Random(seed))
    assert tokenizer.decode(tokens) == line.replace("\u2581", " ")
    assert all(4 + len(tokenizer.reserved) <= token < tokenizer.vocab_size for token in tokens)


def test_sample_bpe_without_dropout_equals_encode() -> None:
    lines = demo_lines("test", 300)
    rng = random.Random(1)
    assert [BPE.sample_segmentation(line, 0.0, rng) for line in lines] == BPE.encode(lines)


def test_sample_unigram_large_alpha_equals_encode() -> None:
    """A segmentation with a score 0.01 below the best has probability exp(-50)."""
    lines, model, rng = demo_lines("test", 300), load_processor(UNIGRAM), random.Random(1)
    tie_count = 0
    for line, best in zip(lines, UNIGRAM.encode(lines), strict=True):
        sample = UNIGRAM.sample_segmentation(line, 5000.0, rng)
        sample_score, best_score = (sum(map(model.get_score, ids)) for ids in (sample, best))
        tie_count += sample != best
        assert sample == best or abs(sample_score - best_score) < 0.01
    assert tie_count < len(lines) / 100


def all_segmentations(
    model: sentencepiece.SentencePieceProcessor, word: str
) -> dict[Segmentation, float]:
    """Return the score of each segmentation of a word."""
    if not word:
        return {(): 0.0}
    lowest = min(
        model.get_score(i)
        for i in range(model.get_piece_size())
        if not (model.is_control(i) or model.is_byte(i) or model.is_unknown(i))
    )
    scores: dict[Segmentation, float] = {}
    for end in range(1, len(word) + 1):
        token = model.piece_to_id(word[:end])
        if token != model.unk_id():
            first, first_score = (token,), model.get_score(token)
        elif end == 1:
            first = tuple(model.piece_to_id(f"<0x{byte:02X}>") for byte in word[0].encode())
            first_score = lowest - 10
        else:
            continue
        for segmentation, score in all_segmentations(model, word[end:]).items():
            scores[first + segmentation] = first_score + score
    return scores


@pytest.mark.parametrize("alpha", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("word", ["these", "tes漢es", "tete"])
def test_sample_unigram_frequencies_match_equation(word: str, alpha: float) -> None:
    scores = all_segmentations(load_processor(UNIGRAM), f"\u2581{word}")
    assert len(scores) > 3
    weights = {segmentation: math.exp(alpha * score) for segmentation, score in scores.items()}
    total = sum(weights.values())
    expected = {segmentation: weight / total for segmentation, weight in weights.items()}
    assert_frequencies(count_samples(UNIGRAM, word, alpha), expected)


@pytest.mark.parametrize("dropout", [0.0, 0.1, 0.5, 1.0])
def test_sample_bpe_single_merge_frequency_is_dropout(dropout: float) -> None:
    model = load_processor(BPE)
    merged, blank, letter = (model.piece_to_id(piece) for piece in ("\u2581a", "\u2581", "a"))
    assert model.unk_id() not in (merged, blank, letter)
    assert_frequencies(
        count_samples(BPE, "a", dropout), {(merged,): 1 - dropout, (blank, letter): dropout}
    )


def bpe_outcomes(
    model: sentencepiece.SentencePieceProcessor, parts: tuple[str, ...], dropout: float
) -> dict[tuple[str, ...], float]:
    """Return the probability of each outcome of algorithm 1 (Provilkov et al. 2020)."""
    possible = sorted(
        (-model.get_score(model.piece_to_id(a + b)), i)
        for i, (a, b) in enumerate(pairwise(parts))
        if model.piece_to_id(a + b) != model.unk_id()
    )
    probabilities = {parts: dropout ** len(possible)}
    for better_merges, (_, i) in enumerate(possible):
        merge_probability = (1 - dropout) * dropout**better_merges
        merged = (*parts[:i], parts[i] + parts[i + 1], *parts[i + 2 :])
        for outcome, probability in bpe_outcomes(model, merged, dropout).items():
            probabilities[outcome] = (
                probabilities.get(outcome, 0.0) + merge_probability * probability
            )
    return probabilities


@pytest.mark.parametrize("dropout", [0.1, 0.5])
@pytest.mark.parametrize("word", ["these", "tete", "les"])
def test_sample_bpe_frequencies_match_algorithm(word: str, dropout: float) -> None:
    model = load_processor(BPE)
    outcomes = bpe_outcomes(model, tuple(f"\u2581{word}"), dropout)
    assert len(outcomes) > 3
    assert sum(outcomes.values()) == pytest.approx(1)
    expected = {
        tuple(map(model.piece_to_id, pieces)): probability
        for pieces, probability in outcomes.items()
    }
    assert_frequencies(count_samples(BPE, word, dropout), expected)


def test_sample_bpe_full_dropout_gives_characters() -> None:
    line = "The hero has two names"
    pieces = BPE.pieces(BPE.sample_segmentation(line, 1.0, random.Random(1)))
    assert pieces == list("\u2581" + line.replace(" ", "\u2581"))


@pytest.mark.parametrize("kind", KINDS)
def test_sample_tags_precede_the_pieces(kind: Kind) -> None:
    plain = TRAINED[kind]
    tagged = plain.with_tags((5, 4))
    expected = plain.sample_segmentation("These names", 0.3, random.Random(2))
    assert tagged.sample_segmentation("These names", 0.3, random.Random(2)) == [5, 4, *expected]


@pytest.mark.parametrize("kind", KINDS)
def test_sample_words_are_independent(kind: Kind) -> None:
    """Two words sampled one after the other give the same pieces as both on one line."""
    tokenizer, word_rng, line_rng = TRAINED[kind], random.Random(4), random.Random(4)
    for _ in range(50):
        first = tokenizer.sample_segmentation("these", 0.3, word_rng)
        second = tokenizer.sample_segmentation("names", 0.3, word_rng)
        line = tokenizer.sample_segmentation("these names", 0.3, line_rng)
        assert line == [*first, *second]


def sample_lines(kind: Kind, seed: int) -> list[list[int]]:
    rng = random.Random(seed)
    return [TRAINED[kind].sample_segmentation(line, 0.2, rng) for line in demo_lines("test", 40)]


@pytest.mark.parametrize("kind", KINDS)
def test_sample_depends_on_seed_only(kind: Kind) -> None:
    samples = sample_lines(kind, 1)
    same_tokenizer = Tokenizer(TRAINED[kind].model)
    [line] = demo_lines("test", 40)[:1]
    assert same_tokenizer.sample_segmentation(line, 0.2, random.Random(1)) == samples[0]
    assert sample_lines(kind, 1) == samples
    assert sample_lines(kind, 2) != samples
    assert samples != TRAINED[kind].encode(demo_lines("test", 40))


def test_sample_is_equal_in_another_process() -> None:
    with ProcessPoolExecutor(1, get_context("spawn")) as executor:
        samples = list(executor.map(sample_lines, KINDS, (3, 3)))
    assert samples == [sample_lines(kind, 3) for kind in KINDS]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("line", ["a漢b", "漢字 a", "a 漢字b 漢"])
def test_sample_unknown_characters_equal_encode(kind: Kind, line: str) -> None:
    output = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(demo_lines("train", 300)),
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
