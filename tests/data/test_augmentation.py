"""Modifiers of training text have the configured effect at the configured rate."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nmt.config.sections.data import AugmentConfig
from nmt.data.batching.augmentation import (
    SYMBOLS,
    TYPOS_PER_WORD,
    add_typos,
    augment_pair,
    insert_symbol,
    misspell,
    neighbor_key,
    title_case,
)

CASES = settings(max_examples=80, derandomize=True, deadline=None)
WORDS = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=8)
LINES = st.lists(WORDS, min_size=1, max_size=12).map(" ".join)
SRC, TGT = "A small dog is running over there.", "Un petit chien court là-bas."
ROUNDS = 4000


def augment(rng: random.Random, src: str = SRC, tgt: str = TGT, **rates: float) -> tuple[str, str]:
    return augment_pair(src, tgt, AugmentConfig(**rates), rng)


IS_MODIFIED = {
    "upper": lambda src, tgt: (src, tgt) == (SRC.upper(), TGT.upper()),
    "title": lambda src, tgt: src.startswith("A Small Dog Is ") and tgt.startswith("Un Petit "),
    "typos": lambda src, tgt: src != SRC and tgt == TGT,
    "noise": lambda src, tgt: len(src) == len(SRC) + 2 and len(tgt) == len(TGT) + 2,
    "punctuation": lambda src, tgt: (src, tgt) == (SRC[:-1], TGT[:-1]),
}


def test_modifier_cases_cover_all_settings_of_augment() -> None:
    assert set(IS_MODIFIED) == set(AugmentConfig.model_fields)


@pytest.mark.parametrize("rate", [0.03, 0.3])
@pytest.mark.parametrize("name", IS_MODIFIED)
def test_augment_pair_applies_modifier_at_its_rate(name: str, rate: float) -> None:
    rng = random.Random(5)
    pairs = [augment(rng, **{name: rate}) for _ in range(ROUNDS)]
    modified_pairs = [pair for pair in pairs if pair != (SRC, TGT)]
    # A typo may swap equal letters or find no adjacent key, here 1 of 30.
    effective = 0.95 if name == "typos" else 1.0
    deviation = (rate * (1 - rate) * ROUNDS) ** 0.5
    assert all(IS_MODIFIED[name](*pair) for pair in modified_pairs)
    assert (
        effective * rate * ROUNDS - 5 * deviation
        < len(modified_pairs)
        < rate * ROUNDS + 5 * deviation
    )


def test_augment_pair_modifiers_are_independent() -> None:
    rng = random.Random(5)
    counts = Counter(
        (src.isupper(), tgt[-1:] == ".")
        for src, tgt in (augment(rng, upper=0.5, punctuation=0.5) for _ in range(ROUNDS))
    )
    assert len(counts) == 4
    assert all(abs(count - ROUNDS / 4) < 5 * (ROUNDS * 3 / 16) ** 0.5 for count in counts.values())


@given(LINES, LINES, st.integers(0, 99))
@CASES
def test_augment_pair_with_rates_0_keeps_pair(src: str, tgt: str, seed: int) -> None:
    assert augment_pair(src, tgt, AugmentConfig(), random.Random(seed)) == (src, tgt)


RATES = st.fixed_dictionaries(dict.fromkeys(IS_MODIFIED, st.sampled_from([0.0, 0.3, 0.9])))


@given(LINES, LINES, RATES, st.integers(0, 99))
@CASES
def test_augment_pair_depends_on_rng_only(
    src: str, tgt: str, rates: dict[str, float], seed: int
) -> None:
    random.seed(seed)
    global_state = random.getstate()
    first, second = (augment(random.Random(seed), src, tgt, **rates) for _ in range(2))
    assert first == second
    assert random.getstate() == global_state


@given(LINES, LINES, st.sampled_from(["upper", "title", "typos"]), st.integers(0, 99))
@CASES
def test_augment_pair_keeps_number_of_words(src: str, tgt: str, name: str, seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(5):
        augmented = augment(rng, src, tgt, **{name: 0.9})
        assert [side.count(" ") for side in augmented] == [src.count(" "), tgt.count(" ")]
        assert all(word for side in augmented for word in side.split(" "))


@given(LINES, LINES, st.integers(0, 99))
@CASES
def test_augment_pair_noise_adds_same_symbol_to_both_sides(src: str, tgt: str, seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(5):
        augmented = augment(rng, src, tgt, noise=0.9)
        if augmented == (src, tgt):
            continue
        symbols = []
        for original, modified in zip((src, tgt), augmented, strict=True):
            new_words = Counter(modified.split(" ")) - Counter(original.split(" "))
            [symbol] = new_words.elements()
            words = modified.split(" ")
            indices = [i for i, word in enumerate(words) if word == symbol]
            assert any([*words[:i], *words[i + 1 :]] == original.split(" ") for i in indices)
            symbols.append(symbol)
        assert symbols[0] == symbols[1]
        assert symbols[0] in SYMBOLS


def test_augment_pair_noise_uses_all_symbols_and_positions() -> None:
    rng = random.Random(1)
    pairs = [augment(rng, "a b", "c", noise=0.99) for _ in range(ROUNDS)]
    assert {symbol for src, _ in pairs for symbol in src} - set("a b") == set(SYMBOLS)
    positions = Counter(
        next(i for i, c in enumerate(src) if c in SYMBOLS) for src, _ in pairs if len(src) > 3
    )
    assert set(positions) == {0, 2, 4}
    assert min(positions.values()) > ROUNDS / 4


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_symbols_are_single_caseless_characters(symbol: str) -> None:
    assert not symbol.isalnum()
    assert symbol.upper() == symbol
    assert not symbol.isspace()


@pytest.mark.parametrize(
    ("text", "position", "expected"),
    [
        ("a b c", 0.0, "★ a b c"),
        ("a b c", 0.3, "a ★ b c"),
        ("a b c", 0.6, "a b ★ c"),
        ("a b c", 0.99, "a b c ★"),
        ("word", 0.2, "★ word"),
        ("word", 0.9, "word ★"),
        ("a  b", 0.4, "a ★  b"),
        ("a ", 0.99, "a ★"),
        ("", 0.5, "★"),
    ],
)
def test_insert_symbol_position_moves_to_word_boundary(
    text: str, position: float, expected: str
) -> None:
    assert insert_symbol(text, "★", position) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a small dog", "A Small Dog"),
        ("l'été de McDonald", "L'été De McDonald"),
        ("3d (see note) ünder", "3d (see Note) Ünder"),
        ("  two\tblanks\u00a0here ", "  Two\tBlanks\u00a0Here "),
        ("漢字 🎉 мир", "漢字 🎉 Мир"),
        ("", ""),
    ],
)
def test_title_case_capitalizes_first_letters(text: str, expected: str) -> None:
    assert title_case(text) == expected


def test_augment_pair_upper_precedes_title_and_keeps_noise() -> None:
    rates = {"upper": 0.9, "title": 0.9, "noise": 0.9}
    rng = random.Random(3)
    pairs = {augment(rng, "a cat", "un chat", **rates) for _ in range(1000)}
    plain = {
        "".join(c for c in src if c not in SYMBOLS).strip().replace("  ", " ") for src, _ in pairs
    }
    assert plain == {"a cat", "A CAT", "A Cat"}


@pytest.mark.parametrize(
    ("src", "tgt", "expected"),
    [
        ("One.", "Un.", ("One", "Un")),
        ("What?!", "Quoi !", ("What", "Quoi")),
        ("Really?", "Vraiment\u00a0?", ("Really", "Vraiment")),
        ("Well…", "Bon...", ("Well", "Bon")),
        ("你好。", "Hello.", ("你好", "Hello")),
        ("One.", "Un", ("One.", "Un")),
        ("One", "Un.", ("One", "Un.")),
        ("One,", "Un,", ("One,", "Un,")),
        ("...", "?", ("...", "?")),
        ("e.g. this.", "p. ex. ceci.", ("e.g. this", "p. ex. ceci")),
    ],
    ids=ascii,
)
def test_augment_pair_punctuation_is_removed_from_both_sides(
    src: str, tgt: str, expected: tuple[str, str]
) -> None:
    rng = random.Random(1)
    pairs = {augment(rng, src, tgt, punctuation=0.9) for _ in range(50)}
    assert pairs == {(src, tgt), expected}


def possible_typos(word: str) -> dict[str, set[str]]:
    """Return all results of `misspell` for a lower-case word, by kind of typo."""
    keys = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
    adjacent = {
        a: {b for row in keys for b in row if a in row and abs(row.index(a) - row.index(b)) == 1}
        for row in keys
        for a in row
    }
    positions = range(1, len(word))
    return {
        "left out": {word[:i] + word[i + 1 :] for i in positions},
        "doubled": {word[: i + 1] + word[i:] for i in positions},
        "swapped": {word[: i - 1] + word[i] + word[i - 1] + word[i + 1 :] for i in positions},
        "replaced": {
            word[:i] + key + word[i + 1 :]
            for i in positions
            for key in adjacent.get(word[i], {word[i]})
        },
    }


@pytest.mark.parametrize("word", ["cat", "world", "été", "x1y"])
def test_misspell_makes_every_kind_of_typo(word: str) -> None:
    rng = random.Random(2)
    counts = Counter(misspell(word, rng) for _ in range(ROUNDS))
    possible = possible_typos(word)
    assert set(counts) == set().union(*possible.values())
    for kind in possible.values():  # a quarter each, or more if kinds overlap
        assert sum(counts[typo] for typo in kind) > ROUNDS / 4 - 5 * (ROUNDS * 3 / 16) ** 0.5


@pytest.mark.parametrize(
    ("letter", "keys"),
    [("q", "w"), ("p", "o"), ("s", "ad"), ("S", "AD"), ("m", "n"), ("é", "é"), ("7", "7")],
)
def test_neighbor_key_returns_adjacent_keys(letter: str, keys: str) -> None:
    rng = random.Random(1)
    counts = Counter(neighbor_key(letter, rng) for _ in range(400))
    assert set(counts) == set(keys)
    assert min(counts.values()) > 400 / len(keys) / 2


def test_add_typos_changes_a_tenth_of_long_words() -> None:
    words = [f"number{i}" for i in range(40)] + ["to", "a"] * 10
    rng = random.Random(1)
    for _ in range(50):
        changed = add_typos(" ".join(words), rng).split(" ")
        assert changed[40:] == words[40:]
        count = sum(a != b for a, b in zip(changed, words, strict=True))
        # A swap of equal letters changes nothing; digits have no adjacent keys.
        assert 0 < count <= TYPOS_PER_WORD * 40
    assert add_typos("to be or", rng) == "to be or"
    assert add_typos("", rng) == ""
    assert {add_typos("a dog", rng) for _ in range(100)} > {"a dg", "a odg", "a dogg"}
