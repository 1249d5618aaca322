"""Checks of single lines, with an example on both sides of each rule."""

from __future__ import annotations

import pytest

from nmt.decoding.lines.repetition import count_repeated_words
from nmt.evaluation.line_checks import (
    COPY_KINDS,
    LINE_CHECKS,
    NO_COPIES,
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
def test_sentence_kinds_of_examples_are_expected(
    source: str, reference: str, expected: set[str]
) -> None:
    results = sentence_kinds(source, reference)
    assert {kind for kind, holds in zip(SENTENCE_KINDS, results, strict=True) if holds} == expected


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
def test_count_copies_of_examples_is_expected(
    source: str, reference: str, hypothesis: str, expected: dict[str, tuple[int, int]]
) -> None:
    results = dict(zip(COPY_KINDS, count_copies(source, [reference], hypothesis), strict=True))
    assert {kind: pair for kind, pair in results.items() if pair.expected} == expected


def test_count_copies_uses_numbers_of_any_reference() -> None:
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
def test_count_repeated_words_of_examples_is_expected(line: str, count: int) -> None:
    assert count_repeated_words(line.split()) == count


def failed_checks(
    hypothesis: str,
    reference: str = "the red dog ran under the old tree .",
    source: str | None = "der rote Hund lief unter den alten Baum .",
    chrf: float = 50,
) -> set[str]:
    words = str.split
    copies = NO_COPIES if source is None else count_copies(source, [reference], hypothesis)
    new_number = source is not None and has_new_number(source, [reference], hypothesis)
    results = check_line(
        source=source,
        hypothesis=hypothesis,
        hypothesis_words=words(hypothesis),
        reference_words=[words(reference)],
        source_words=words(source or ""),
        chrf=chrf,
        copies=copies,
        has_new_number=new_number,
    )
    return {check for check, failed in zip(LINE_CHECKS, results, strict=True) if failed}


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
def test_check_line_of_examples_reports_expected_errors(
    hypothesis: str, expected: set[str]
) -> None:
    assert failed_checks(hypothesis) == expected


def test_check_line_low_chrf_is_a_hallucination() -> None:
    assert failed_checks("my cat likes some green fish so much .", chrf=10) == {"hallucination"}
    assert failed_checks("", chrf=0) == {"empty"}, "a hallucination only without another error"


def test_check_line_names_lost_items() -> None:
    source = "In 1999 we saw Anna at http://a.b ."
    reference = "1999 sahen wir Anna bei http://a.b ."
    results = failed_checks("wir sahen sie dort im Netz .", reference, source)
    assert results == {"lost number", "lost link", "lost name"}


def test_check_line_ignores_blank_references() -> None:
    results = check_line(
        source=None,
        hypothesis="a cat",
        hypothesis_words=["a", "cat"],
        reference_words=[list("abcdef"), []],
        source_words=[],
        chrf=50,
        copies=NO_COPIES,
        has_new_number=False,
    )
    assert [check for check, failed in zip(LINE_CHECKS, results, strict=True) if failed] == [
        "short"
    ]


def test_check_line_without_source_ignores_copies() -> None:
    assert failed_checks("the red dog ran 12 times around a tree", source=None) == set()


def test_check_line_accepts_repetition_of_the_reference() -> None:
    reference = "no no no , he said , no no no"
    assert failed_checks("no no no , he cried , no no no", reference) == set()


def test_word_tokenizer_equals_tokenizer_of_bleu() -> None:
    assert word_tokenizer("en")("Hello, world! ") == ["Hello", ",", "world", "!"]
    assert word_tokenizer("zh")("我喜欢你") == ["我", "喜", "欢", "你"]
