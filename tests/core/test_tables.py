"""Tables as plain text."""

from __future__ import annotations

import sys

import pytest
from rich.cells import cell_len

from nmt.core.rendering.tables import align_columns, format_fields


def test_align_columns_aligns_text_and_numbers() -> None:
    assert align_columns([("a", "bb", "c"), ("ddd", "e", "f")]) == ["a    bb  c", "ddd  e   f"]
    assert align_columns([("a", "bb"), ("ddd", "1")], number_columns=[1]) == ["a    bb", "ddd   1"]


def test_format_fields_aligns_values() -> None:
    assert format_fields([("a", "1"), ("long name", "2")]) == "  a          1\n  long name  2"


def test_align_columns_measures_wide_and_combining_characters() -> None:
    rows = [("日本語", "1", "|"), ("e\u0301", "語", "|"), ("👨\u200d👩\u200d👧", "123", "|")]
    lines = align_columns(rows, number_columns=[1])
    assert lines[0] == "日本語    1  |"
    assert {cell_len(line) for line in lines} == {14}


@pytest.mark.parametrize("text", ["[bold]a[/bold]", "[/]", ":smile:", "\\[red]", "x" * 500])
def test_align_columns_keeps_cells_unchanged(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    width = len(text)
    assert align_columns([(text, "1"), ("b", "2")]) == [f"{text}  1", f"{'b':{width}}  2"]


def test_align_columns_leaves_no_trailing_spaces() -> None:
    assert align_columns([("a", "long cell"), ("b", ""), ("", "")]) == ["a  long cell", "b", ""]
