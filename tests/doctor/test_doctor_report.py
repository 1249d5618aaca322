"""The report for people and for programs."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from nastytext import Nasty

from nmt.data_check.findings import KINDS
from nmt.data_check.report import as_json, histogram, page, spans, terminal
from nmt.data_check.scan import Report


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], ""),
        ([3], "3"),
        ([3, 4, 5, 9], "3-5, 9"),
        ([1, 3, 5, 7], "1, 3, …"),
        ([1, 2, 4, 5], "1-2, 4-5"),
    ],
)
def test_spans(lines: list[int], expected: str) -> None:
    assert spans(lines, 2) == expected


def test_the_terminal_names_every_kind_with_a_line(nasty: Nasty, report: Report) -> None:
    lines = terminal(report).split("\n")
    for kind, _ in nasty.planted:
        [place] = [
            i for i, line in enumerate(lines) if f"  {kind}:" in line or f"  {kind}," in line
        ]
        assert lines[place + 1].strip().startswith("line ")
    assert all(line.isprintable() for line in lines)
    assert len([line for line in lines if " | " in line]) >= 10


def test_terminal_report_and_page_name_the_remedy(report: Report) -> None:
    text, html = terminal(report), page([report])
    for finding in report.findings:
        fix = KINDS[finding.kind].fix
        assert f"fix: {fix}\n" in text
        assert fix in html


def test_json_holds_all_lines(nasty: Nasty, report: Report) -> None:
    [found] = json.loads(as_json([report]))["sets"]
    lines = {(f["kind"], f["side"]): f["lines"] for f in found["findings"]}
    assert lines["shifted", "pair"] == nasty.planted["shifted", "pair"]


def test_a_histogram_counts_every_value_once() -> None:
    for values in (
        np.arange(1, 1001) % 30,
        np.linspace(-3, 3, 777),
        np.full(9, 5),
        np.array([1.5]),
    ):
        drawn = histogram(values, "t")
        shown = sum(int(n) for n in re.findall(r": (\d+)</title>", drawn))
        beyond = re.search(r"(\d+) beyond", drawn)
        assert shown + (int(beyond[1]) if beyond else 0) == len(values)
        assert shown >= 0.98 * len(values)
    whole = histogram(np.arange(1, 1001) % 30, "t")
    assert len(set(re.findall(r": (\d+)</title>", whole)) - {"0"}) <= 2  # no comb of empty bars


class Reader(HTMLParser):
    """Collects tags and addresses."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]


def test_the_page_stands_alone_and_shows_text_as_text(report: Report) -> None:
    hostile = replace(report, pairs=[("<script>alert(1)</script>", "& so on")])
    reader = Reader()
    reader.feed(page([hostile]))
    assert reader.addresses == []
    assert "script" not in reader.tags
    assert reader.tags.count("svg") == 3
    assert reader.tags.count("tr") > len(list(report.findings))
