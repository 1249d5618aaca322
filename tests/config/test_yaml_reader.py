"""Tests of the YAML reader: numbers, ambiguous text, line numbers and broken documents."""

from __future__ import annotations

import math
from typing import Any

import pytest

from nmt.config.yaml_reader import KeyPath, dotted_key, parse_value, parse_yaml


def value_of(text: str) -> Any:
    document = parse_yaml(f"key: {text}\n")
    assert document.problems == []
    return document.data["key"]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0),
        ("-2", -2),
        ("+7", 7),
        ("1_000", 1000),
        ("010", 10),
        ("1e-3", 0.001),
        ("3E4", 30000),
        (".5", 0.5),
        ("-.5", -0.5),
        ("2.", 2.0),
        ("1.25", 1.25),
        ("-1.5e+2", -150),
        (".inf", math.inf),
        ("-.inf", -math.inf),
        (".Inf", math.inf),
        ("-.INF", -math.inf),
    ],
)
def test_scalar_number_is_parsed(text: str, number: float) -> None:
    assert value_of(text) == number
    assert type(value_of(text)) is type(number)


def test_scalar_nan_is_a_float() -> None:
    assert math.isnan(value_of(".nan"))


@pytest.mark.parametrize(
    "text",
    ["12:30", "2020-01-01", "0x10", "0b1", "1.2.3", "v1", "1e", "e3", "_1", "1,5", "no_way"],
)
def test_scalar_similar_to_number_is_text(text: str) -> None:
    assert value_of(text) == text


@pytest.mark.parametrize("text", ["true", "12", "1e-3", "no", "null", "2020-01-01", "~"])
@pytest.mark.parametrize("quote", ["'", '"'])
def test_scalar_quoted_is_text(text: str, quote: str) -> None:
    assert value_of(f"{quote}{text}{quote}") == text


@pytest.mark.parametrize(("text", "truth"), [("true", True), ("True", True), ("FALSE", False)])
def test_scalar_true_or_false_is_a_boolean(text: str, truth: bool) -> None:
    assert value_of(text) is truth


@pytest.mark.parametrize("text", ["", "~", "null", "Null", "NULL"])
def test_scalar_empty_or_null_is_none(text: str) -> None:
    assert value_of(text) is None


def test_scalar_block_is_text() -> None:
    assert parse_yaml("key: |\n  12\n").data == {"key": "12\n"}


@pytest.mark.parametrize(
    ("text", "boolean"),
    [("yes", "true"), ("on", "true"), ("y", "true"), ("No", "false"), ("OFF", "false")],
)
def test_scalar_bare_yes_or_no_suggests_both_meanings(text: str, boolean: str) -> None:
    document = parse_yaml(f"a: 1\nmodel:\n  key: {text}\n")
    [(path, message)] = document.problems
    assert path == ("model", "key")
    assert document.lines[path] == 3
    assert f"write {boolean} for the boolean" in message
    assert f"'{text}' (quoted) for the text" in message


def test_scalar_language_code_no_suggests_only_quotes() -> None:
    [(path, message)] = parse_yaml("data:\n  tgt: no\n").problems
    assert path == ("data", "tgt")
    assert "write 'no' (quoted)" in message
    assert "boolean" not in message


def test_scalar_ambiguous_word_in_list_names_its_line() -> None:
    document = parse_yaml("key:\n  - a\n  - no\n")
    [(path, _)] = document.problems
    assert (path, document.lines[path]) == (("key", 1), 3)


def test_document_duplicate_key_names_both_lines() -> None:
    document = parse_yaml("a: 1\nb: 2\na: 3\n")
    [(path, message)] = document.problems
    assert path == ("a",)
    assert "got a second one (first on line 1)" in message
    assert document.lines[path] == 3


def test_document_same_key_in_two_sections_is_accepted() -> None:
    assert parse_yaml("a: {x: 1}\nb: {x: 1}\n").problems == []


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ((), 2),
        (("a",), 2),
        (("a", "b"), 3),
        (("a", "b", "c"), 3),
        (("a", "d"), 4),
        (("a", "d", 0), 5),
        (("a", "d", 1), 6),
        (("a", "d", 1, "x"), 6),
        (("a", "d", 1, "y"), 7),
        (("e",), 8),
        (("e", 1), 9),
    ],
)
def test_document_records_line_of_each_value(path: KeyPath, line: int) -> None:
    text = "# comment\na:\n  b: {c: 1}\n  d:\n    - one\n    - x: 1\n      y: 2\ne: [1,\n  2]\n"
    assert parse_yaml(text).lines[path] == line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: 1\nb: [1, 2\nc: 3\n", 3),
        ("a: 'open\n", 2),
        ("a:\n\t- 1\n", 2),
        ("a: b: c\n", 1),
        ("ok: 1\nb: *nowhere\n", 2),
        ("a: 1\n---\nb: 2\n", 2),
        ("a: 1\nb: \x07\n", 2),
    ],
    ids=["flow", "quote", "tab", "colons", "alias", "two documents", "control character"],
)
def test_document_broken_yaml_is_one_problem_with_line(text: str, line: int) -> None:
    document = parse_yaml(text)
    [(path, message)] = document.problems
    assert path == ()
    assert message.startswith("expected YAML, got an error: ")
    assert document.lines[()] == line
    assert document.data is None


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n", "---\n"])
def test_document_empty_text_is_null(text: str) -> None:
    document = parse_yaml(text)
    assert (document.data, document.problems) == (None, [])


def test_document_alias_has_value_of_its_anchor() -> None:
    document = parse_yaml("a: &x {k: 1}\nb: *x\n")
    assert document.data == {"a": {"k": 1}, "b": {"k": 1}}
    assert document.problems == []


@pytest.mark.parametrize("text", ["a: &x [*x]\n", "a: &x {b: *x}\n"])
def test_document_recursive_alias_is_a_problem(text: str) -> None:
    assert parse_yaml(text).problems != []


def test_document_list_as_key_is_a_problem() -> None:
    assert parse_yaml("? [a]\n: 1\n").problems == [
        ((), "expected a word as key, got a list or a mapping")
    ]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3e-4", 0.0003),
        ("12", 12),
        ("true", True),
        ("null", None),
        ("", ""),
        (" ", " "),
        ("a b", "a b"),
        ("'12'", "12"),
        ("[a, 1]", ["a", 1]),
        ("{src: a, tgt: b}", {"src": "a", "tgt": "b"}),
    ],
)
def test_parse_value_of_set_option_returns_yaml_value(text: str, value: object) -> None:
    document = parse_value(text, ())
    assert (document.data, document.problems) == (value, [])


def test_dotted_key_joins_path() -> None:
    assert dotted_key(("data", "train", 0)) == "data.train.0"
