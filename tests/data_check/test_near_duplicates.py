"""Near-duplicate search compared with the definition of near duplicates."""

from __future__ import annotations

import random
import string

import numpy as np
import pytest

from nmt.data_check.near_duplicates import (
    MIN_JACCARD,
    DuplicateIndex,
    compute_minhash_keys,
    extract_ngrams,
    find_candidates,
    find_first_occurrences,
    hash_lines,
    is_near_duplicate,
    jaccard_index,
    verify_candidates,
)
from tests.support.data.difficult_text import demo_lines


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("abcdef", "abcdef", 1.0),
        ("abcdef", "abcdeg", 1 / 3),
        ("abc", "abd", 0.0),
        ("a  b", "a b", 1.0),
    ],
)
def test_jaccard_index_of_words_equals_manual_result(
    first: str, second: str, expected: float
) -> None:
    assert jaccard_index(extract_ngrams(first), extract_ngrams(second)) == pytest.approx(expected)


def replace_character(text: str, rng: random.Random) -> str:
    """Replace one random character by a random letter."""
    index = rng.randrange(len(text))
    return text[:index] + rng.choice(string.ascii_letters) + text[index + 1 :]


def test_find_candidates_edited_lines_are_found_with_few_extras() -> None:
    rng = random.Random(1)
    lines = [line for line in demo_lines("train.en") if len(line) > 40][:1000]
    pairs = [(line, replace_character(line, rng)) for line in lines]
    pairs = [pair for pair in pairs if is_near_duplicate(*pair)]
    assert len(pairs) > 500
    lines = [line for pair in pairs for line in pair]
    keys, rows = compute_minhash_keys(lines), np.arange(len(lines))
    candidates = {tuple(pair) for pair in find_candidates(keys, rows).tolist()}
    planted = {(i + 1, i) for i in range(0, len(lines), 2)}
    assert len(candidates & planted) >= 0.99 * len(planted)
    false_candidates = [(i, j) for i, j in candidates if not is_near_duplicate(lines[i], lines[j])]
    assert len(false_candidates) < len(lines)


def test_verify_candidates_exact_copies_are_duplicates() -> None:
    lines = demo_lines("train.fr")[:2000]
    lines += lines[:50]
    rows = np.flatnonzero(find_first_occurrences(hash_lines(lines)) == np.arange(len(lines)))
    assert len(rows) <= 2000
    texts = dict(enumerate(lines))
    candidates = find_candidates(compute_minhash_keys(lines), np.arange(len(lines))).tolist()
    duplicates = verify_candidates(candidates, texts)
    assert set(range(2000, 2050)) <= set(duplicates)
    assert all(
        jaccard_index(extract_ngrams(texts[i]), extract_ngrams(texts[j])) >= MIN_JACCARD
        for i, j in duplicates.items()
    )
    assert all(earlier < later for later, earlier in duplicates.items())


def test_compute_minhash_keys_of_a_line_ignores_other_lines() -> None:
    lines = ["", "a", "é" * 9, "some longer line of text", "🙂 emoji and \x85 odd ones", " "]
    single_keys = np.concatenate([compute_minhash_keys([line]) for line in lines])
    assert (compute_minhash_keys(lines) == single_keys).all()
    assert len(compute_minhash_keys([])) == 0


def test_hash_lines_ignores_repeated_spaces() -> None:
    first, same, different, blank = hash_lines([" a  b", "a b ", "ab", " \t"]).tolist()
    assert first == same != different
    assert blank == 0


def test_duplicate_index_finds_exact_and_near_copies() -> None:
    held_out = demo_lines("test.en")
    index = DuplicateIndex(held_out)
    position = next(i for i, line in enumerate(held_out) if len(line) > 60)
    line = held_out[position]
    lines = [line, f"{line}!", "A line that the set does not contain.", ""]
    assert index.exact.get(int(hash_lines(lines)[0])) == position
    assert index.find_near_duplicates(lines, compute_minhash_keys(lines)) == {
        0: position,
        1: position,
    }


def test_duplicate_index_without_text_finds_nothing() -> None:
    lines = ["some line"]
    assert DuplicateIndex([]).find_near_duplicates(lines, compute_minhash_keys(lines)) == {}
    assert DuplicateIndex([""]).find_near_duplicates([""], compute_minhash_keys([""])) == {}
