"""Terms, and what is protected: what a line demands, and whether it stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from nmt.decoding.protect import kept, lost, protect
from nmt.decoding.terms import Terms, read_terms, standing
from nmt.errors import DataError

TERMS = Terms({"dog": "Köter", "hot dog": "Wurst", "dog park": "Wiese", "c++": "C++"})


@pytest.mark.parametrize(
    ("line", "demanded"),
    [
        ("A dog.", ["Köter"]),
        ("Dog, DOG and dogs", ["Köter", "Köter"]),
        ("A hot dog park", ["Wurst"]),
        ("The dog park", ["Wiese"]),
        ("He knows C++, not dogma", ["C++"]),
        ("nothing", []),
    ],
)
def test_what_a_line_demands(line: str, demanded: list[str]) -> None:
    assert TERMS.of(line) == demanded


def test_no_terms_demand_nothing() -> None:
    assert Terms({}).of("A dog.") == []


@pytest.mark.parametrize(
    ("phrase", "text", "times"),
    [
        ("Hund", "Ein Hund, der Hund.", 2),
        ("Hund", "Hunde und Schweinehund", 0),
        ("C++", "C++ und C++17", 2),
        ("a a", "a a a", 2),
        ("狗", "大狗狗", 2),
    ],
)
def test_how_often_a_phrase_stands(phrase: str, text: str, times: int) -> None:
    assert standing(phrase, text) == times


@pytest.mark.parametrize("terms", [{"": "x"}, {"x": " "}])
def test_a_blank_term_is_refused(terms: dict[str, str]) -> None:
    with pytest.raises(DataError, match="must not be blank"):
        Terms(terms)


@pytest.mark.parametrize("letters", ["x", "1", "{", "a@", "%(", "1.", "a.", "{a} ", "1 ", "www."])
def test_a_line_of_a_megabyte_takes_no_time_worth_a_word(letters: str) -> None:
    """A pattern that looked at letters again and again would not come back from this."""
    line = letters * (2**20 // len(letters))
    found = protect(line)
    assert lost(line, found.restore(found.text)) == []


def test_terms_are_read_from_two_columns(tmp_path: Path) -> None:
    file = tmp_path / "terms.tsv"
    file.write_text("Dog\tKöter\nhot dog \t Wurst\ndog\tKöter\n", encoding="utf-8")
    assert read_terms(file).targets == {"dog": "Köter", "hot dog": "Wurst"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dog\tHund\ncat\n", "terms.tsv:2: must be a source term, a tab and its translation"),
        ("dog\tHund\tmore\n", "terms.tsv:1: must be"),
        ("dog\t \n", "terms.tsv:1: must be"),
        ("\n", "terms.tsv:1: must be"),
        ("dog\tHund\nDog\tKöter\n", "terms.tsv:2: 'Dog' must have one translation, has 'Hund' and"),
    ],
)
def test_other_lines_are_refused_by_their_number(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "terms.tsv"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message.replace(".", r"\.")):
        read_terms(file)


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
        ("A380 and x2 hold none", []),
    ],
)
def test_what_is_protected(line: str, found: list[str]) -> None:
    assert kept(line) == found


def test_stand_ins_are_numbers_the_line_does_not_hold() -> None:
    line = "Write to a@b.org or {x}, not a@b.org; 17 of 233."  # 17 is what it knows
    found = protect(line)
    assert set(found.originals.values()) == {"a@b.org", "{x}", "233"}
    assert not {"17", "233"} & set(found.originals)
    assert found.restore(found.text) == line
    assert len(kept(found.text)) == 5
    assert all(each.isdigit() and len(each) <= 3 for each in kept(found.text))
    assert "17" in kept(found.text)


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
    assert lost("Write to a@b.org at 17", translation) == missing
