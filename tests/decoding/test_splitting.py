"""Test that LineSplitter keeps all text, fits the token limit and splits at good boundaries."""

from __future__ import annotations

import textwrap
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nmt.decoding.lines.splitting import LineSplitter, Segment, join_translations

TEXT = st.text(st.sampled_from("ab c.,!?;\u3000。、\u00a0\"'…\u00e9"), min_size=1, max_size=80)


def split(line: str, count_tokens: Callable[[str], int], max_tokens: int) -> list[Segment]:
    return LineSplitter(max_tokens).split(line, count_tokens)


def count_characters(text: str) -> int:
    return len(text)


@given(TEXT, st.integers(1, 30))
def test_split_segments_and_spaces_equal_the_line(text: str, max_tokens: int) -> None:
    segments = split(text, count_characters, max_tokens)
    assert "".join(segment.text + segment.trailing_space for segment in segments) == text
    assert all(segment.text for segment in segments)
    if len(text) <= max_tokens:
        assert segments == [Segment(text)]


@example(" ;;;", 2)
@given(TEXT, st.integers(2, 30))
def test_split_segments_fit_the_token_limit(text: str, max_tokens: int) -> None:
    def count_visible_characters(piece: str) -> int:
        """Count characters without white space."""
        return len("".join(piece.split()))

    for count_tokens in (count_characters, count_visible_characters):
        assert all(
            count_tokens(segment.text) <= max_tokens
            for segment in split(text, count_tokens, max_tokens)
        )


@given(st.lists(st.text("ab", min_size=1, max_size=5), min_size=1), st.integers(5, 30))
def test_split_words_fill_segments_like_textwrap(words: list[str], max_tokens: int) -> None:
    line = " ".join(words)
    assert [segment.text for segment in split(line, count_characters, max_tokens)] == textwrap.wrap(
        line, max_tokens
    )


@pytest.mark.parametrize(
    ("line", "max_tokens", "expected"),
    [
        ("One dog. Two cats!", 10, ["One dog.", "Two cats!"]),
        ("A. B. C. D. E. F.", 10, ["A. B. C.", "D. E. F."]),  # initials do not end a sentence
        ("Mr. Poe met Dr. Li. He left.", 19, ["Mr. Poe met Dr. Li.", "He left."]),
        ('He said "no." She left.', 14, ['He said "no."', "She left."]),
        ("in the house, by the sea, at the end", 26, ["in the house, by the sea,", "at the end"]),
        ("one two three four", 8, ["one two", "three", "four"]),
        ("a b c      d e", 6, ["a b c", "d e"]),
        ("abcdefghij", 4, ["abcd", "efgh", "ij"]),
        ("我喝茶。你喝水。", 4, ["我喝茶。", "你喝水。"]),
        ("3.5 is a number, 1,000 too.", 20, ["3.5 is a number,", "1,000 too."]),
    ],
)
def test_split_chooses_expected_boundaries(line: str, max_tokens: int, expected: list[str]) -> None:
    assert [segment.text for segment in split(line, count_characters, max_tokens)] == expected


@given(TEXT, st.integers(2, 30))
def test_split_by_sentence_keeps_every_character(text: str, max_tokens: int) -> None:
    segments = LineSplitter(max_tokens, by_sentence=True).split(text, count_characters)
    assert "".join(segment.text + segment.trailing_space for segment in segments) == text
    assert all(segment.text and len(segment.text) <= max_tokens for segment in segments)


def test_split_by_sentence_splits_a_line_that_fits() -> None:
    line = "  One dog.  Two cats!\tDr. No sleeps. "
    assert split(line, count_characters, 100) == [Segment(line)]
    assert LineSplitter(100, by_sentence=True).split(line, count_characters) == [
        Segment("  One dog.", "  "),
        Segment("Two cats!", "\t"),
        Segment("Dr. No sleeps. "),
    ]


def test_join_translations_keeps_white_space() -> None:
    segments = [Segment("One.", "  "), Segment("Two.", "\t"), Segment("Three.")]
    assert join_translations(["Eins.", "Zwei.", "Drei."], segments) == "Eins.  Zwei.\tDrei."


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["我。", "你。"], "我。你。"),
        (["Me.", "You."], "Me. You."),
        (["Me.", "你。"], "Me.你。"),
        (["", "You."], "You."),
        (["Me.", ""], "Me."),
        (["Me. ", "You."], "Me. You."),
    ],
)
def test_join_translations_adds_space_unless_wide(texts: list[str], expected: str) -> None:
    assert join_translations(texts, [Segment("我。"), Segment("你。")]) == expected
