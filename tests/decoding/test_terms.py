"""Terms, and what is protected: what a line demands, and whether it stands."""

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
    ("line", "demanded"),
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
def test_what_a_line_demands(line: str, demanded: list[str]) -> None:
    assert [place.target for place in TERMS.find(line)] == demanded


def test_thousands_of_terms_on_a_line_of_a_megabyte_take_no_time_worth_a_word() -> None:
    terms = Terminology({f"word{n} more": "x" for n in range(20_000)})
    assert len(terms.find("word7 more, word7 mor " * (2**20 // 22))) == 2**20 // 22


def test_no_terms_demand_nothing() -> None:
    assert Terminology({}).find("A dog.") == []


@pytest.mark.parametrize(
    ("phrase", "text", "times"),
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
def test_how_often_a_phrase_stands(phrase: str, text: str, times: int) -> None:
    assert count_phrase(phrase, text) == times


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({"": "x"}, "expected a term and its translation"),
        ({"x": " "}, "expected a term and its translation"),
        ({"Dog": "Hund", "dog": "Hund", "DOG": "Köter"}, "expected one translation of 'DOG'"),
    ],
)
def test_terms_that_say_nothing_or_two_things_are_refused(
    terms: dict[str, str], message: str
) -> None:
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
def test_a_line_of_a_megabyte_takes_no_time_worth_a_word(letters: str) -> None:
    """A pattern that looked at letters again and again would not come back from this."""
    line = "{a}" + letters * (2**20 // len(letters))
    found = protect(line)
    assert found.find_missing(found.restore(found.text)) == []


def test_terms_are_read_from_two_columns(tmp_path: Path) -> None:
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
def test_other_lines_are_refused_by_their_number(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "terms.tsv"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message.replace(".", r"\.")):
        read_terminology(file)


@pytest.mark.parametrize(
    ("line", "found"),
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
def test_what_is_protected(line: str, found: list[str]) -> None:
    assert [line[begin:end] for begin, end in find_protected_spans(line)] == found


def test_stand_ins_are_numbers_the_line_does_not_hold() -> None:
    line = "Write to a@b.org or {x}, not a@b.org; 17 of 233."  # 17 is what it knows
    found = protect(line)
    assert found.originals == ("a@b.org", "{x}", "a@b.org", "17", "233")
    first, second, again, known, third = (place.target for place in found.constraints)
    assert first == again
    assert known == "17"
    assert len({first, second, known, third, "233"}) == 5
    assert all(len(each) == 2 for each in (first, second, third))
    assert found.restore(found.text) == line


def test_stand_ins_are_numbers_of_no_text_beside_and_of_no_term() -> None:
    alone = protect("{a} {b} {c} {d}")
    taken = [place.target for place in alone.constraints]
    terms = Terminology({f"area {taken[2]}": "Gebiet", "dog": f"Hund {taken[3]}"})
    found = protect("{a} {b} {c} {d}", terms, [f"Am {taken[0]}. ", f"x{taken[1]}"])
    assert not {place.target for place in found.constraints} & set(taken)
    assert len({place.target for place in found.constraints}) == 4


def test_what_the_translation_holds_anyhow_is_not_demanded_again() -> None:
    found = protect("{x} and {x}, 12 and 12", required_texts=["Zwei {x}", "12 12"])
    assert len(found.originals) == 4
    assert [found.restore(place.target) for place in found.constraints] == ["{x}"]


def test_what_stands_in_a_term_is_left_to_it() -> None:
    terms = Terminology({"windows 2000": "Fenster 2000", "org": "Orgel", "dog": "Hund"})
    found = protect("Windows 2000, 2000 and www.dog.org", terms)
    assert found.originals == ("2000", "www.dog.org")
    assert found.text.startswith("Windows 2000, ")
    assert [place.target for place in terms.find(found.text)] == ["Fenster 2000"]


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
def test_whatever_is_protected_comes_back_and_is_demanded(line: str) -> None:
    found = protect(line)
    assert found.restore(found.text) == line
    assert found.find_missing(line) == []
    for place in found.constraints:
        assert found.text[place.begin : place.end] == place.target
        assert place.target.isdigit()
        assert is_whole_word(found.text, place.begin, place.end)
    if found.originals:
        assert found.find_missing("") == sorted(found.originals, key=found.originals.index)


@given(
    st.text("ab \u4e2d-1\u00df\u0130\u03a3\u03c3\u03c2", max_size=30),
    st.sets(st.text("ab \u4e2d-1\u03c2", min_size=1, max_size=4).filter(str.strip), max_size=5),
)
def test_terms_are_those_that_a_search_at_every_letter_finds(line: str, sources: set[str]) -> None:
    terms = Terminology({source: source for source in sources})
    expected, begin = [], 0
    while begin < len(line):
        here = [
            source
            for source in sources
            if fold_case(line[begin : begin + len(source)]) == fold_case(source)
            and is_whole_word(line, begin, begin + len(source))
        ]
        longest = max(here, key=len, default="")
        if longest:
            expected.append((begin, begin + len(longest), longest))
        begin += len(longest) or 1
    assert [tuple(place) for place in terms.find(line)] == expected


@pytest.mark.parametrize(
    ("translation", "missing"),
    [
        ("Schreib an a@b.org um 17", []),
        ("Schreib an a@b.org um 1,7", ["17"]),
        ("Schreib an a@b.orge um 17", ["a@b.org"]),
        ("", ["a@b.org", "17"]),
    ],
)
def test_what_is_lost(translation: str, missing: list[str]) -> None:
    assert protect("Write to a@b.org at 17").find_missing(translation) == missing
