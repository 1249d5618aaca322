"""Scan reports as text, HTML and JSON."""

from __future__ import annotations

import json
import re
from copy import deepcopy
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from nmt.data_check.kinds import KINDS
from nmt.data_check.report import (
    draw_histogram,
    format_line_ranges,
    render_html,
    render_json,
    render_text,
)
from nmt.data_check.scan import ScanReport
from tests.support.data.difficult_text import FaultyText


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
def test_format_line_ranges_joins_consecutive_lines(lines: list[int], expected: str) -> None:
    assert format_line_ranges(lines, 2) == expected


def test_render_text_lists_every_planted_kind(faulty_text: FaultyText, report: ScanReport) -> None:
    lines = render_text(report).split("\n")
    for kind, _ in faulty_text.faults:
        [index] = [
            i for i, line in enumerate(lines) if f"  {kind}:" in line or f"  {kind}," in line
        ]
        assert lines[index + 1].strip().startswith("line ")
    assert all(line.isprintable() for line in lines)
    assert len([line for line in lines if " | " in line]) >= 10


def test_render_text_and_html_contain_each_remedy(report: ScanReport) -> None:
    text, html = render_text(report), render_html([report])
    for finding in report.findings:
        fix = KINDS[finding.kind].fix
        assert f"fix: {fix}\n" in text
        assert fix in html


def test_render_json_contains_all_lines(faulty_text: FaultyText, report: ScanReport) -> None:
    [text_set] = json.loads(render_json([report]))["sets"]
    lines = {(f["kind"], f["side"]): f["lines"] for f in text_set["findings"]}
    assert lines["shifted", "pair"] == faulty_text.faults["shifted", "pair"]


def test_draw_histogram_counts_every_value_once() -> None:
    for values in (
        np.arange(1, 1001) % 30,
        np.linspace(-3, 3, 777),
        np.full(9, 5),
        np.array([1.5]),
    ):
        svg = draw_histogram(values, "t")
        in_bars = sum(int(count) for count in re.findall(r": (\d+)</title>", svg))
        beyond = re.search(r"(\d+) beyond", svg)
        assert in_bars + (int(beyond[1]) if beyond else 0) == len(values)
        assert in_bars >= 0.98 * len(values)


def test_draw_histogram_of_integers_has_no_gaps() -> None:
    svg = draw_histogram(np.arange(1, 1001) % 30, "t")
    assert len(set(re.findall(r": (\d+)</title>", svg)) - {"0"}) <= 2


class LinkCollector(HTMLParser):
    """Collects tags and URLs."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.urls: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.urls += [value or "" for name, value in attrs if name in ("src", "href")]


def test_render_html_is_self_contained_and_escaped(report: ScanReport) -> None:
    hostile = replace(report, pairs=[("<script>alert(1)</script>", "& so on")])
    collector = LinkCollector()
    collector.feed(render_html([hostile]))
    assert collector.urls == []
    assert "script" not in collector.tags
    assert collector.tags.count("svg") == 3
    assert collector.tags.count("tr") > len(list(report.findings))


def test_render_html_escapes_names_and_examples(report: ScanReport) -> None:
    hostile = replace(
        deepcopy(report), name="<b>news</b>", pairs=[("</script><b>1 & 2</b>", '"{{ 3 }}"')]
    )
    next(iter(hostile.findings)).examples[:] = ["<b>an example</b>"]
    page = render_html([hostile])
    assert "<b>" not in page
    assert "<h2>&lt;b&gt;news&lt;/b&gt;</h2>" in page
    assert "&lt;b&gt;an example&lt;/b&gt;" in page
    assert "&lt;/script&gt;&lt;b&gt;1 &amp; 2&lt;/b&gt;<td>&#34;{{ 3 }}&#34;" in page
