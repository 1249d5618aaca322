"""Filters of training text and the log of dropped pairs."""

from __future__ import annotations

import io
from typing import Any

import pytest

from nmt.config.sections.data import CleanConfig
from nmt.data.corpus.filters import Cleaner, DropLog, DuplicateFilter, letter_share
from nmt.data.corpus.preprocessing import (
    PreparedChunk,
    Preprocessor,
    drop_duplicates,
    prepare_chunks,
)
from nmt.data.corpus.text_set_reader import CHUNK
from nmt.data.text.reader import Links, Pair
from nmt.errors import DataError
from tests.support.data.memory_chunks import make_chunks


def pairs_of(chunk: PreparedChunk) -> list[Pair]:
    return list(zip(chunk.lines("src"), chunk.lines("tgt"), strict=True))


def clean(
    pairs: list[Pair], size: int = CHUNK, **settings: Any
) -> tuple[list[Pair], list[list[str]]]:
    """Return the pairs that pass the filters, and the rows of the log of dropped pairs."""
    table = io.BytesIO()
    drops = DropLog(table)
    config = CleanConfig(**settings)
    preprocessor = Preprocessor(Cleaner(config, ("en", "fr")))
    duplicate_filter = DuplicateFilter(config.duplicates) if config.duplicates else None
    chunks = drop_duplicates(
        prepare_chunks(make_chunks(pairs, name="a.en", size=size), preprocessor, 1),
        drops,
        duplicate_filter,
    )
    passing_pairs = [pair for chunk in chunks for pair in pairs_of(chunk)]
    head, *rows = table.getvalue().decode().split("\n")[:-1]
    assert head.split("\t") == ["reason", "place", "source", "target"]
    assert sum(drops.counts.values()) == len(rows) == len(pairs) - len(passing_pairs)
    return passing_pairs, [row.split("\t") for row in rows]


@pytest.mark.parametrize(
    ("settings", "dropped_pair", "passing_pair", "reason"),
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
def test_cleaner_filter_drops_with_its_reason(
    settings: dict[str, Any],
    dropped_pair: tuple[str, str],
    passing_pair: tuple[str, str],
    reason: str,
) -> None:
    first = ("same", "même")
    assert clean([first, passing_pair, dropped_pair], **settings) == (
        [first, passing_pair],
        [[reason, "a.en:3", *dropped_pair]],
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
def test_cleaner_normalizer_changes_both_sides(name: str, text: str, expected: str) -> None:
    assert clean([(text, text)], normalise=[name]) == ([(expected, expected)], [])


def test_cleaner_reads_normalized_and_logs_raw_text() -> None:
    passed, rows = clean([("a  b", "x"), ("a b", "x ")], normalise=["spaces"], duplicates="pair")
    assert passed == [("a b", "x")]
    assert rows == [["duplicate pair", "a.en:2", "a b", "x "]]


def test_duplicate_filter_ignores_dropped_pairs() -> None:
    """Pairs that an earlier filter drops do not count as first occurrences."""
    pairs = [("a b c", "x"), ("a b c", "x"), ("a b", "x")]
    passed, rows = clean(pairs, max_words=2, duplicates="tgt")
    assert passed == [("a b", "x")]
    assert [row[0] for row in rows] == ["over 2 words"] * 2


def test_drop_log_replaces_tabs_and_line_ends() -> None:
    passed, rows = clean([("a\tb", "a\tb"), ("a", "x")], copies=True)
    assert passed == [("a", "x")]
    assert rows == [["copy", "a.en:1", "a b", "a b"]]


@pytest.mark.parametrize("duplicates", ["pair", "src", "tgt"])
def test_drop_duplicates_keeps_links_with_pairs(duplicates: str) -> None:
    pairs = [("a", "a"), ("a b", "x"), ("b", "b"), ("a b", "x"), ("a", "y")]
    links: list[Links] = [{(0, 0)}, {(1, 0)}, {(0, 0)}, {(0, 0)}, set()]
    config = CleanConfig(copies=True, duplicates=duplicates)
    preprocessor = Preprocessor(Cleaner(config, ("en", "fr")))
    duplicate_filter = DuplicateFilter(duplicates)
    [chunk] = drop_duplicates(
        prepare_chunks(make_chunks(pairs, links), preprocessor, 1), DropLog(), duplicate_filter
    )
    assert pairs_of(chunk) == [("a b", "x"), ("a", "y")]
    assert chunk.links == [{(1, 0)}, set()]


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_drop_log_is_in_line_order_for_any_chunks(
    size: int,
) -> None:
    pairs = [("a", "x"), ("b", "b"), ("a", "x"), ("", "y"), ("a", "x"), ("b", "z"), ("b", "z")]
    settings = {"copies": True, "duplicates": "pair"}
    passed, rows = clean(pairs, size, **settings)
    assert passed == [("a", "x"), ("b", "z")]
    assert [(row[0], row[1]) for row in rows] == [
        ("copy", "a.en:2"),
        ("duplicate pair", "a.en:3"),
        ("blank", "a.en:4"),
        ("duplicate pair", "a.en:5"),
        ("duplicate pair", "a.en:7"),
    ]


def test_prepare_chunks_without_filters_keeps_all() -> None:
    pairs = [("", ""), ("a", "a"), ("a", "a")]
    drops = DropLog()
    [chunk] = drop_duplicates(prepare_chunks(make_chunks(pairs), Preprocessor(), 1), drops, None)
    assert pairs_of(chunk) == pairs
    assert not drops.counts


def test_cleaner_unidentifiable_language_is_refused() -> None:
    with pytest.raises(DataError, match="got 'klingon'"):
        Cleaner(CleanConfig(language=True), ("en", "klingon"))
    Cleaner(CleanConfig(copies=True), ("en", "klingon"))


def test_cleaner_related_language_is_kept() -> None:
    spanish = "Hoy hace buen tiempo y los niños juegan en la calle."
    english = "The weather is fine today and the children play in the street."
    config = CleanConfig(language=True)
    assert Cleaner(config, ("en", "pt")).drop_reason(english, spanish) is None
    assert Cleaner(config, ("en", "de")).drop_reason(english, spanish) == "language es, not de"


@pytest.mark.parametrize(("text", "share"), [("", 0.0), (" ", 0.0), ("ab 12", 0.5), ("été", 1.0)])
def test_letter_share_ignores_whitespace(text: str, share: float) -> None:
    assert letter_share(text) == share


def test_cleaner_entity_of_line_end_keeps_one_line() -> None:
    assert clean([("a&#10;b", "a&#13;b")], normalise=["entities"]) == ([("a b", "a b")], [])
