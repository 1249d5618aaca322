"""Single lines and pairs."""

from __future__ import annotations

import pytest

from nmt.doctor.lines import pair_faults, shown, side_faults


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("plain text, in one line.", []),
        ("a tab\tis text", []),
        ("a\x0bb", ["separator"]),
        ("a\u2028b", ["separator"]),
        ("a\x85b", ["separator"]),
        ("a\x00b", ["control"]),
        ("a\x9bb", ["control"]),
        ("R&D; AT&T & sons", []),
        ("&nosuchthing;", []),
        ("Tom &amp; Jerry", ["entity"]),
        ("&#39;tis", ["entity"]),
        ("&eacute;t&eacute;", ["entity"]),
        ("x\ufeffy", ["mark"]),
        ("x\ufffdy", ["replacement"]),
        ("a" * 2001, ["long"]),
        ("a" * 2000, []),
    ],
)
def test_faults_of_a_line(text: str, kinds: list[str]) -> None:
    assert [kind for kind, _, _ in side_faults(text, "src")] == kinds


@pytest.mark.parametrize(
    ("src", "tgt", "kinds"),
    [
        ("Hello.", "Bonjour.", []),
        ("", "", ["blank_pair"]),
        (" \t", "x", ["blank"]),
        ("Hello.", "\u3000", ["blank"]),
        ("Hello.", "Hello.", ["copy"]),
        ("2.5 x 3", "2.5 x 3", []),
        ("1,000.50 euros", "1.000,50 euros", []),
        ("12 000", "12\u00a0000", ["numbers"]),
        ("1\u202f000", "1\u00a0000", []),
        ("in 1990", "en 1991", ["numbers"]),
        ("٣ books", "3 books", []),
        ("see https://a.org/b1.", "voir https://a.org/b1 !", []),
        ("see https://a.org/b1.", "voir https://a.org/b2.", ["url"]),
    ],
)
def test_faults_of_a_pair(src: str, tgt: str, kinds: list[str]) -> None:
    assert [kind for kind, _, _ in pair_faults(src, tgt)] == kinds


def test_what_is_shown_is_printable_and_short() -> None:
    assert shown("a\x0bb") == "a\\u000bb"
    assert shown("x" * 60) == "x" * 60
    assert shown("x" * 61) == "x" * 59 + "…"
