"""Test terminology matching and the protection of spans by placeholders."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nmt.data.text.word_boundaries import count_phrase, is_whole_word
from nmt.decoding.constraints.placeholders import find_protected_spans, protect
from nmt.decoding.constraints.terminology import Terminology, fold_case, read_terminology
from nmt.errors import DataError

TERMS = Terminology({"dog": "Köter", "hot dog": "Wurst", "dog park": "Wiese", "c++": "C++"})


@pytest.mark.parametrize(
    ("line", "targets"),
    [
        ("A dog.", ["Köter"]),
        ("Dog, DOG and dogs", ["Köter", "Köter"]),
        ("A hot dog park", ["Wurst"]),
        ("The dog park", ["Wiese"]),
        ("He knows C++, not dogma", ["C++"]),
        ("nothing", []),
        ("用DOG算", ["Köter"]),
        ("DO\u0130 İDOG", []),
        ("dog-dog", ["Köter", "Köter"]),
    ],
)
def test_terminology_find_matches_whole_words_in_any_case(line: str, targets: list[str]) -> None:
    assert [constraint.target for constraint in TERMS.find(line)] == targets


def test_terminology_find_many_terms_in_long_line_is_fast() -> None:
    terms = Terminology({f"word{n} more": "x" for n in range(20_000)})
    assert len(terms.find("word7 more, word7 mor " * (2**20 // 22))) == 2**20 // 22


def test_terminology_find_without_terms_returns_nothing() -> None:
    assert Terminology({}).find("A dog.") == []


@pytest.mark.parametrize(
    ("phrase", "text", "expected"),
    [
        ("Hund", "Ein Hund, der Hund.", 2),
        ("Hund", "Hunde und Schweinehund", 0),
        ("C++", "C++ und C++17", 2),
        ("a a", "a a a", 2),
        ("狗", "大狗狗", 2),
        ("GPU", "用GPU算", 1),
        ("ป", "ปป", 2),
        ("किताब", "किताब किताबें", 1),
        ("cafe", "cafe\u0301", 0),
        ("a", "a_b", 0),
    ],
)
def test_count_phrase_inside_longer_word_is_not_counted(
    phrase: str, text: str, expected: int
) -> None:
    assert count_phrase(phrase, text) == expected


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({"": "x"}, "expected a term and its translation"),
        ({"x": " "}, "expected a term and its translation"),
        ({"Dog": "Hund", "dog": "Hund", "DOG": "Köter"}, "expected one translation of 'DOG'"),
    ],
)
def test_terminology_blank_or_ambiguous_raises(terms: dict[str, str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Terminology(terms)


@pytest.mark.parametrize(
    "letters",
    [
        "x",
        "1",
        "{",
        "a@",
        "%(",
        "1.",
        "a.",
        "{a} ",
        "1 ",
        "www.",
        "{a}",
        "a-",
        "-",
        "www.(",
        "a://",
        "{}.",
        "x1",
    ],
)
def test_protect_long_line_is_fast(letters: str) -> None:
    """A pattern with quadratic backtracking would not finish."""
    line = "{a}" + letters * (2**18 // len(letters))
    protected = protect(line)
    assert protected.find_missing(protected.restore(protected.text)) == []


def test_read_terminology_reads_two_columns(tmp_path: Path) -> None:
    file = tmp_path / "terms.tsv"
    file.write_text("Dog\tKöter\nhot dog \t Wurst\ndog\tKöter\n", encoding="utf-8")
    assert read_terminology(file).targets == {"dog": "Köter", "hot dog": "Wurst"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dog\tHund\ncat\n", "terms.tsv:2: expected a source term, a tab and its translation"),
        ("dog\tHund\tmore\n", "terms.tsv:1: expected"),
        ("dog\t \n", "terms.tsv:1: expected"),
        ("\n", "terms.tsv:1: expected"),
        ("dog\tHund\nDog\tKöter\n", "terms.tsv:2: expected one translation of 'Dog', got 'Hund'"),
    ],
)
def test_read_terminology_invalid_line_is_named(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "terms.tsv"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message.replace(".", r"\.")):
        read_terminology(file)


@pytest.mark.parametrize(
    ("line", "spans"),
    [
        ("See https://a.org/b?c=d&e=1, now.", ["https://a.org/b?c=d&e=1"]),
        ("(www.example.com/x_y).", ["www.example.com/x_y"]),
        ("Mail joe.d+x@mail.example.org!", ["joe.d+x@mail.example.org"]),
        (
            "Dear {name}, {{title}} ${var} %(count)d %s",
            ["{name}", "{{title}}", "${var}", "%(count)d", "%s"],
        ),
        ("1,234.50 on 2024-01-31 at 12:30, 7%", ["1,234.50", "2024-01-31", "12:30", "7"]),
        ("A380, x2, 300km and COVID-19 hold none", []),
        ("from -300 to +5, .5 and -.5", ["-300", "+5", ".5", "-.5"]),
        ("10-20, 7/8 or 3:1", ["10-20", "7/8", "3:1"]),
        ("{first}{last} {n}px x{n} 1000{unit}", ["{first}{last}", "{n}px", "x{n}", "1000{unit}"]),
        ("{h}:{m} {user}@{host}.org, id-{n}.", ["{h}:{m}", "{user}@{host}.org", "{n}"]),
        ("{} {file}.txt no.{n} {x}-coloured, {x}.", ["{}", "{file}.txt", "no.{n}", "{x}", "{x}"]),
        ("HTTPS://A.B/C s3://b/k file:///etc", ["HTTPS://A.B/C", "s3://b/k", "file:///etc"]),
        ("(https://a.b/c) https://a.b/c_(d), www.", ["https://a.b/c", "https://a.b/c_(d)"]),
        ("http://例え.jp/パス 。", ["http://例え.jp/パス"]),
        (
            "https://a.org/{id}/b, https://a.org/{id}",
            ["https://a.org/{id}/b", "https://a.org/{id}"],
        ),
        ("价格{n}元，第300章", ["{n}", "300"]),
        ("请访问https://a.org/b，联系a@b.org谢谢", ["https://a.org/b", "a@b.org"]),
        (
            "de.wikipedia.org: https://de.wikipedia.org/wiki/Köln",
            ["https://de.wikipedia.org/wiki/Köln"],
        ),
    ],
)
def test_find_protected_spans_finds_expected_spans(line: str, spans: list[str]) -> None:
    assert [line[begin:end] for begin, end in find_protected_spans(line)] == spans


def test_protect_placeholders_do_not_occur_in_the_line() -> None:
    line = "Write to a@b.org or {x}, not a@b.org; 17 of 233."  # 17 is a short number
    protected = protect(line)
    assert protected.originals == ("a@b.org", "{x}", "a@b.org", "17", "233")
    first, second, repeated, short, third = (
        constraint.target for constraint in protected.constraints
    )
    assert first == repeated
    assert short == "17"
    assert len({first, second, short, third, "233"}) == 5
    assert all(len(number) == 2 for number in (first, second, third))
    assert protected.restore(protected.text) == line


def test_protect_placeholders_avoid_required_texts_and_terms() -> None:
    first = protect("{a} {b} {c} {d}")
    used_numbers = [constraint.target for constraint in first.constraints]
    terms = Terminology({f"area {used_numbers[2]}": "Gebiet", "dog": f"Hund {used_numbers[3]}"})
    protected = protect(
        "{a} {b} {c} {d}", terms, [f"Am {used_numbers[0]}. ", f"x{used_numbers[1]}"]
    )
    assert not {constraint.target for constraint in protected.constraints} & set(used_numbers)
    assert len({constraint.target for constraint in protected.constraints}) == 4


def test_protect_required_texts_satisfy_constraints() -> None:
    protected = protect("{x} and {x}, 12 and 12", required_texts=["Zwei {x}", "12 12"])
    assert len(protected.originals) == 4
    assert [protected.restore(constraint.target) for constraint in protected.constraints] == ["{x}"]


def test_protect_skips_spans_inside_terms() -> None:
    terms = Terminology({"windows 2000": "Fenster 2000", "org": "Orgel", "dog": "Hund"})
    protected = protect("Windows 2000, 2000 and www.dog.org", terms)
    assert protected.originals == ("2000", "www.dog.org")
    assert protected.text.startswith("Windows 2000, ")
    assert [constraint.target for constraint in terms.find(protected.text)] == ["Fenster 2000"]


WORDS = st.sampled_from(
    [
        *(
            "dog",
            "{a}",
            "{{b}}",
            "%s",
            "%(n)d",
            "$",
            "1",
            "42",
            "1,000",
            "-3",
            ".5",
            "https://x.org/",
        ),
        *(
            "a@b.org",
            ",",
            ".",
            "-",
            "/",
            "@",
            "(",
            ")",
            " ",
            "  ",
            "\u4e2d",
            "px",
            "_",
            "\u00e9",
            "%",
        ),
    ]
)


@given(st.lists(WORDS, max_size=12).map("".join))
def test_protect_restores_and_requires_all_spans(line: str) -> None:
    protected = protect(line)
    assert protected.restore(protected.text) == line
    assert protected.find_missing(line) == []
    for constraint in protected.constraints:
        assert protected.text[constraint.begin : constraint.end] == constraint.target
        assert constraint.target.isdigit()
        assert is_whole_word(protected.text, constraint.begin, constraint.end)
    if protected.originals:
        assert protected.find_missing("") == sorted(
            protected.originals, key=protected.originals.index
        )


@given(
    st.text("ab \u4e2d-1\u00df\u0130\u03a3\u03c3\u03c2", max_size=30),
    st.sets(st.text("ab \u4e2d-1\u03c2", min_size=1, max_size=4).filter(str.strip), max_size=5),
)
def test_terminology_find_equals_search_at_every_position(line: str, sources: set[str]) -> None:
    terms = Terminology({source: source for source in sources})
    expected, begin = [], 0
    while begin < len(line):
        matches = [
            source
            for source in sources
            if fold_case(line[begin : begin + len(source)]) == fold_case(source)
            and is_whole_word(line, begin, begin + len(source))
        ]
        longest = max(matches, key=len, default="")
        if longest:
            expected.append((begin, begin + len(longest), longest))
        begin += len(longest) or 1
    assert [tuple(constraint) for constraint in terms.find(line)] == expected


@pytest.mark.parametrize(
    ("translation", "missing"),
    [
        ("Schreib an a@b.org um 17", []),
        ("Schreib an a@b.org um 1,7", ["17"]),
        ("Schreib an a@b.orge um 17", ["a@b.org"]),
        ("", ["a@b.org", "17"]),
    ],
)
def test_protected_line_find_missing_returns_changed_spans(
    translation: str, missing: list[str]
) -> None:
    assert protect("Write to a@b.org at 17").find_missing(translation) == missing
