"""Filters of training text, and the record of what they dropped."""

from __future__ import annotations

import io
from typing import Any

import pytest

from nmt.config import CleanConfig
from nmt.data.cleaning import Cleaner, Drops, cleaned, letters
from nmt.data.text import located
from nmt.errors import DataError


def clean(pairs: list[Any], **settings: Any) -> tuple[list[Any], list[list[str]]]:
    """Return the pairs that are kept and the rows of the table of those that are not."""
    table = io.BytesIO()
    drops = Drops(table)
    cleaner = Cleaner(CleanConfig(**settings), ("en", "fr"))
    kept = [line.pair for line in cleaned(located(pairs, "a.en"), cleaner, drops)]
    head, *rows = table.getvalue().decode().split("\n")[:-1]
    assert head.split("\t") == ["reason", "place", "source", "target"]
    assert sum(drops.counts.values()) == len(rows) == len(pairs) - len(kept)
    return kept, [row.split("\t") for row in rows]


@pytest.mark.parametrize(
    ("settings", "dropped", "kept", "reason"),
    [
        ({"max_words": 2}, ("a b c", "x"), ("a b", "x y"), "over 2 words"),
        ({"max_words": 2}, ("a", "x y z"), ("a", "x"), "over 2 words"),
        ({"max_ratio": 1.5}, ("a b c d", "x y"), ("a b c", "x y"), "over 1.5 times the words"),
        ({"max_ratio": 2.0}, ("a", "x y z"), ("a", "x y"), "over 2 times the words"),
        ({"copies": True}, ("Paris", "Paris"), ("Paris", "paris"), "copy"),
        ({"numbers": True}, ("in 1990", "en 1991"), ("1,000", "1.000"), "numbers differ"),
        ({"min_letters": 0.5}, ("a ---", "bien"), ("a -", "bien"), "under 0.5 letters"),
        ({"entities": True}, ("A &amp; B", "A et B"), ("A & B", "A et B"), "entity"),
        ({"duplicates": "pair"}, ("same", "même"), ("same", "autre"), "duplicate pair"),
        ({"duplicates": "src"}, ("same", "autre"), ("other", "même"), "duplicate src"),
        ({"duplicates": "tgt"}, ("other", "même"), ("same", "autre"), "duplicate tgt"),
        (
            {"language": True},
            ("The dog runs over a green field.", "Der Hund läuft über eine grüne Wiese."),
            ("The dog runs over a green field.", "Le chien court dans un champ tout vert."),
            "language de, not fr",
        ),
        ({"copies": True}, ("  ", "x"), ("y", "x"), "blank"),
    ],
)
def test_each_filter_drops_its_pairs_and_keeps_the_others(
    settings: dict[str, Any], dropped: tuple[str, str], kept: tuple[str, str], reason: str
) -> None:
    first = ("same", "même")
    assert clean([first, kept, dropped], **settings) == (
        [first, kept],
        [[reason, "a.en:3", *dropped]],
    )


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("entities", "A &amp; B &lt;", "A & B <"),
        ("nfc", "e\u0301te\u0301", "été"),
        ("quotes", "«Bon» “l’été”", '"Bon" "l\'été"'),
        ("spaces", " a \u00a0 b\tc ", "a b c"),
    ],
)
def test_each_normaliser_changes_both_sides(name: str, text: str, expected: str) -> None:
    assert clean([(text, text)], normalise=[name]) == ([(expected, expected)], [])


def test_filters_see_normalised_text_and_the_table_shows_what_stood_there() -> None:
    kept, rows = clean([("a  b", "x"), ("a b", "x ")], normalise=["spaces"], duplicates="pair")
    assert kept == [("a b", "x")]
    assert rows == [["duplicate pair", "a.en:2", "a b", "x "]]


def test_a_dropped_duplicate_does_not_make_another_one() -> None:
    """What an earlier filter dropped was not seen by the last."""
    pairs = [("a b c", "x"), ("a b c", "x"), ("a b", "x")]
    kept, rows = clean(pairs, max_words=2, duplicates="tgt")
    assert kept == [("a b", "x")]
    assert [row[0] for row in rows] == ["over 2 words"] * 2


def test_links_stay_with_their_pair_and_odd_characters_in_their_field() -> None:
    kept, rows = clean([("a\tb", "a\tb"), ("a", "x", {(0, 0)})], copies=True)
    assert kept == [("a", "x", {(0, 0)})]
    assert rows == [["copy", "a.en:1", "a b", "a b"]]


def test_without_filters_every_pair_passes() -> None:
    lines = list(located([("", ""), ("a", "a")], "t"))
    assert list(cleaned(lines, None, Drops())) == lines


def test_a_language_that_cannot_be_told_is_refused() -> None:
    with pytest.raises(DataError, match="'klingon' is none"):
        Cleaner(CleanConfig(language=True), ("en", "klingon"))
    Cleaner(CleanConfig(copies=True), ("en", "klingon"))


@pytest.mark.parametrize(("text", "share"), [("", 0.0), (" ", 0.0), ("ab 12", 0.5), ("été", 1.0)])
def test_the_share_of_letters(text: str, share: float) -> None:
    assert letters(text) == share
