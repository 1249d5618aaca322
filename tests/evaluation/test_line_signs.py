"""What one line tells: words by hand, one case for each rule and one beside it."""

from __future__ import annotations

import pytest

from nmt.decoding.lines.repetition import count_repeated_words
from nmt.evaluation.line_checks import (
    COPY_KINDS,
    LINE_CHECKS,
    SENTENCE_KINDS,
    check_line,
    count_copies,
    has_new_number,
    sentence_kinds,
    word_tokenizer,
)


@pytest.mark.parametrize(
    ("source", "reference", "expected"),
    [
        ("Who is it?", "Wer ist das?", {"question"}),
        ('He asked "who is it?"', "Er fragte.", {"question", "quotation"}),
        ("Is it? No.", "Ist es? Nein.", {"plain"}),
        ("It cost 12 coins.", "Es kostete zwölf Münzen.", {"number"}),
        ("I saw Anna there.", "Ich sah Anna dort.", {"name"}),
        ("Anna came.", "Anna kam.", {"plain"}),
        ("I saw Munich.", "Ich sah München.", {"plain"}),
        ("It's o'clock", "Es ist Uhr", {"plain"}),
        ("你是谁？", "Who are you?", {"question"}),
    ],
)
def test_kinds_of_sentences(source: str, reference: str, expected: set[str]) -> None:
    found = sentence_kinds(source, reference)
    assert {kind for kind, has in zip(SENTENCE_KINDS, found, strict=True) if has} == expected


@pytest.mark.parametrize(
    ("source", "reference", "hypothesis", "expected"),
    [
        ("1,000 men", "1.000 Mann", "1 000 Mann", {"numbers": (1, 0)}),
        ("1,000 men", "1.000 Mann", "1000 Mann", {"numbers": (1, 1)}),
        ("12 and 12", "12 und 12", "nur 12", {"numbers": (2, 1)}),
        ("two 7", "zwei sieben", "nichts", {}),
        ("see http://a.b/c.", "x", "siehe http://a.b/c!", {"links": (1, 1)}),
        ("mail me@b.org now", "x", "schreib me@b.de", {"links": (1, 0)}),
        ("in Paris, Texas", "in Paris, Texas", "in Paris", {"names": (2, 1)}),
        ("in Paris and Paris", "in Paris", "in Paris", {"names": (1, 1)}),
        ("请访问www.a.cn了解", "see www.a.cn", "see www.a.cn", {"links": (1, 1)}),
        ("写信给me@b.org了解", "mail me@b.org", "mail me@b.org", {"links": (1, 1)}),
        ("in 2023", "2023年", "２０２３年", {"numbers": (1, 1)}),
    ],
)
def test_what_is_copied(
    source: str, reference: str, hypothesis: str, expected: dict[str, tuple[int, int]]
) -> None:
    found = dict(zip(COPY_KINDS, count_copies(source, [reference], hypothesis), strict=True))
    assert {kind: pair for kind, pair in found.items() if pair.expected} == expected


def test_a_number_of_any_reference_is_expected_and_none_is_new() -> None:
    references = ["zwei", "2 Hunde"]
    assert count_copies("2 dogs", references, "Hunde")[0] == (1, 0)
    assert not has_new_number("2 dogs", references, "2 Hunde")
    assert has_new_number("2 dogs", references, "3 Hunde")
    assert not has_new_number("1,000", ["1.000"], "1 000".replace(" ", "'"))


@pytest.mark.parametrize(
    ("line", "count"),
    [
        ("", 0),
        ("a b c", 0),
        ("a b a c a", 0),
        ("a a", 1),
        ("a a a a", 3),
        ("x a b a b y", 2),
        ("a b c a b c", 3),
        ("a b c a b d", 0),
        (" ".join([*map(str, range(20))] * 2), 20),
        (" ".join([*map(str, range(21))] * 2), 0),
    ],
)
def test_repeated_words(line: str, count: int) -> None:
    assert count_repeated_words(line.split()) == count


def suspected(
    hypothesis: str,
    reference: str = "the red dog ran under the old tree .",
    source: str | None = "der rote Hund lief unter den alten Baum .",
    chrf: float = 50,
) -> set[str]:
    words = str.split
    copies = [] if source is None else count_copies(source, [reference], hypothesis)
    invented = source is not None and has_new_number(source, [reference], hypothesis)
    found = check_line(
        source=source,
        hypothesis=hypothesis,
        hypothesis_words=words(hypothesis),
        reference_words=[words(reference)],
        source_words=words(source or ""),
        chrf=chrf,
        copies=copies,
        has_new_number=invented,
    )
    return {kind for kind, has in zip(LINE_CHECKS, found, strict=True) if has}


@pytest.mark.parametrize(
    ("hypothesis", "expected"),
    [
        ("the red dog ran under an old tree .", set()),
        ("", {"empty"}),
        ("the red dog ran under a", {"short"}),
        ("the red dog ran under the tree", set()),
        ("the red dog ran and it ran under the old tree of my friend .", {"long"}),
        ("the red dog ran under the old tree the old tree", {"repetition"}),
        ("the red red dog ran under the old tree", set()),
        ("der rote Hund lief unter den alten Baum .", {"untranslated"}),
        ("der rote dog lief unter the alten tree .", {"untranslated"}),
        ("the rote dog ran unter the old tree .", set()),
        ("the red dog ran under 7 old trees .", {"new number"}),
    ],
)
def test_what_looks_wrong(hypothesis: str, expected: set[str]) -> None:
    assert suspected(hypothesis) == expected


def test_what_has_nothing_of_the_reference_may_be_made_up() -> None:
    assert suspected("my cat likes some green fish so much .", chrf=10) == {"hallucination"}
    assert suspected("", chrf=0) == {"empty"}, "and not what is wrong anyway"


def test_what_was_to_be_copied_and_is_lost_is_named() -> None:
    source = "In 1999 we saw Anna at http://a.b ."
    reference = "1999 sahen wir Anna bei http://a.b ."
    found = suspected("wir sahen sie dort im Netz .", reference, source)
    assert found == {"lost number", "lost link", "lost name"}


def test_a_blank_line_among_the_references_is_none() -> None:
    found = check_line(
        source=None,
        hypothesis="a cat",
        hypothesis_words=["a", "cat"],
        reference_words=[list("abcdef"), []],
        source_words=[],
        chrf=50,
        copies=[],
        has_new_number=False,
    )
    assert [kind for kind, has in zip(LINE_CHECKS, found, strict=True) if has] == ["short"]


def test_without_a_source_nothing_is_said_of_copies() -> None:
    assert suspected("the red dog ran 12 times around a tree", source=None) == set()


def test_a_repetition_of_the_reference_is_none() -> None:
    reference = "no no no , he said , no no no"
    assert suspected("no no no , he cried , no no no", reference) == set()


def test_words_are_cut_as_bleu_counts_them() -> None:
    assert word_tokenizer("en")("Hello, world! ") == ["Hello", ",", "world", "!"]
    assert word_tokenizer("zh")("我喜欢你") == ["我", "喜", "欢", "你"]
