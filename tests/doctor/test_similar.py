"""Near duplicates against their definition."""

from __future__ import annotations

import random
import string

import numpy as np
import pytest
from nastytext import demo_lines

from nmt.data_check.near_duplicates import (
    NEAR,
    Index,
    band_keys,
    candidates,
    first_seen,
    grams,
    hashes,
    jaccard,
    near,
    verified,
)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("abcdef", "abcdef", 1.0),
        ("abcdef", "abcdeg", 1 / 3),
        ("abc", "abd", 0.0),
        ("a  b", "a b", 1.0),
    ],
)
def test_jaccard_by_hand(one: str, other: str, expected: float) -> None:
    assert jaccard(grams(one), grams(other)) == pytest.approx(expected)


def changed(text: str, rng: random.Random) -> str:
    """Replace one character."""
    place = rng.randrange(len(text))
    return text[:place] + rng.choice(string.ascii_letters) + text[place + 1 :]


def test_nearly_all_near_duplicates_share_a_key_and_few_others_do() -> None:
    rng = random.Random(1)
    lines = [line for line in demo_lines("train.en") if len(line) > 40][:1000]
    pairs = [(line, changed(line, rng)) for line in lines]
    pairs = [pair for pair in pairs if near(*pair)]
    assert len(pairs) > 500
    both = [line for pair in pairs for line in pair]
    found = {tuple(c) for c in candidates(band_keys(both), np.arange(len(both))).tolist()}
    planted = {(i + 1, i) for i in range(0, len(both), 2)}
    assert len(found & planted) >= 0.99 * len(planted)
    others = [c for c in found if not near(both[c[0]], both[c[1]])]
    assert len(others) < len(both)


def test_found_duplicates_are_near_and_all_exact_ones_are_found() -> None:
    lines = demo_lines("train.fr")[:2000]
    lines += lines[:50]
    rows = np.flatnonzero(first_seen(hashes(lines)) == np.arange(len(lines)))
    assert len(rows) <= 2000
    everything = np.arange(len(lines))
    texts = dict(enumerate(lines))
    found = verified(candidates(band_keys(lines), everything).tolist(), texts)
    assert set(range(2000, 2050)) <= set(found)
    assert all(jaccard(grams(texts[i]), grams(texts[j])) >= NEAR for i, j in found.items())
    assert all(j < i for i, j in found.items())


def test_keys_of_a_line_do_not_depend_on_its_neighbours() -> None:
    lines = ["", "a", "é" * 9, "some longer line of text", "🙂 emoji and \x85 odd ones", " "]
    alone = np.concatenate([band_keys([line]) for line in lines])
    assert (band_keys(lines) == alone).all()
    assert len(band_keys([])) == 0


def test_hashes_see_words_and_not_the_blanks_between() -> None:
    one, other, third, blank = hashes([" a  b", "a b ", "ab", " \t"]).tolist()
    assert one == other != third
    assert blank == 0


def test_an_index_finds_held_out_lines_exactly_and_nearly() -> None:
    held = demo_lines("test.en")
    index = Index(held)
    place = next(i for i, line in enumerate(held) if len(line) > 60)
    lines = [held[place], held[place] + "!", "Nothing like it stands there at all.", ""]
    assert index.exact.get(int(hashes(lines)[0])) == place
    found = index.near(lines, band_keys(lines))
    assert found == {0: place, 1: place}


def test_an_index_of_nothing_finds_nothing() -> None:
    assert Index([]).near(["some line"], band_keys(["some line"])) == {}
    assert Index([""]).near([""], band_keys([""])) == {}
