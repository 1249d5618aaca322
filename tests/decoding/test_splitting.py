"""Long lines in parts: nothing is lost, no part is too long, and the parts are where people cut."""

from __future__ import annotations

import textwrap
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nmt.decoding.lines.splitting import LineSplitter, Segment, join_translations

TEXT = st.text(st.sampled_from("ab c.,!?;\u3000。、\u00a0\"'…\u00e9"), min_size=1, max_size=80)


def split(line: str, size: Callable[[str], int], most: int) -> list[Segment]:
    return LineSplitter(most).split(line, size)


def letters(text: str) -> int:
    return len(text)


@given(TEXT, st.integers(1, 30))
def test_the_parts_and_the_blanks_after_them_are_the_line(text: str, most: int) -> None:
    parts = split(text, letters, most)
    assert "".join(part.text + part.trailing_space for part in parts) == text
    assert all(part.text for part in parts)
    if len(text) <= most:
        assert parts == [Segment(text)]


@example(" ;;;", 2)
@given(TEXT, st.integers(2, 30))
def test_no_part_is_longer_than_allowed(text: str, most: int) -> None:
    def words_and_signs(piece: str) -> int:
        """Tokens, blanks none."""
        return len("".join(piece.split()))

    for size in (letters, words_and_signs):
        assert all(size(part.text) <= most for part in split(text, size, most))


@given(st.lists(st.text("ab", min_size=1, max_size=5), min_size=1), st.integers(5, 30))
def test_words_fill_parts_as_they_fill_the_lines_of_a_page(words: list[str], most: int) -> None:
    line = " ".join(words)
    assert [part.text for part in split(line, letters, most)] == textwrap.wrap(line, most)


@pytest.mark.parametrize(
    ("line", "most", "expected"),
    [
        ("One dog. Two cats!", 10, ["One dog.", "Two cats!"]),
        ("A. B. C. D. E. F.", 10, ["A. B. C.", "D. E. F."]),  # initials end no sentence
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
def test_where_a_line_is_cut(line: str, most: int, expected: list[str]) -> None:
    assert [part.text for part in split(line, letters, most)] == expected


@given(TEXT, st.integers(2, 30))
def test_split_by_sentence_keeps_every_character(text: str, most: int) -> None:
    parts = LineSplitter(most, by_sentence=True).split(text, letters)
    assert "".join(part.text + part.trailing_space for part in parts) == text
    assert all(part.text and len(part.text) <= most for part in parts)


def test_split_by_sentence_divides_a_line_that_fits() -> None:
    line = "  One dog.  Two cats!\tDr. No sleeps. "
    assert split(line, letters, 100) == [Segment(line)]
    assert LineSplitter(100, by_sentence=True).split(line, letters) == [
        Segment("  One dog.", "  "),
        Segment("Two cats!", "\t"),
        Segment("Dr. No sleeps. "),
    ]


def test_translations_stand_between_the_same_blanks() -> None:
    parts = [Segment("One.", "  "), Segment("Two.", "\t"), Segment("Three.")]
    assert join_translations(["Eins.", "Zwei.", "Drei."], parts) == "Eins.  Zwei.\tDrei."


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
def test_where_no_blank_stood_a_space_comes_unless_letters_are_wide(
    texts: list[str], expected: str
) -> None:
    assert join_translations(texts, [Segment("我。"), Segment("你。")]) == expected
