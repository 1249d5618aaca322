"""Content of the evaluation page; test_page_browser.py tests its appearance."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from typing import Any

import numpy as np
import pytest

from nmt.evaluation.reports import page as page_module
from tests.support.evaluation.evaluation_pages import (
    HOSTILE_HYPOTHESIS,
    HOSTILE_LINE,
    LINES,
    AttendingSystem,
    analyse,
    make_page,
    make_report,
    news_set,
    sourceless_set,
    talks_set,
)


def page_data(text: str) -> dict[str, Any]:
    """Return the JSON of a page up to the first end of script, where a browser stops."""
    [content] = re.findall(r'<script type="application/json" id="data">(.*?)</script', text, re.S)
    data = json.loads(content)
    assert isinstance(data, dict)
    return data


def test_page_contains_the_report() -> None:
    analyses = [analyse(news_set, ("10", "9")), analyse(talks_set, ("10", "9"))]
    data = page_data(make_page(analyses))
    assert data["report"] == make_report(analyses, ["a caution for all"]).model_dump(mode="json")
    assert data["systems"] == ["10", "9"]
    assert list(data["sets"]) == ["news", "talks"]
    assert data["curves"] == {}


def test_page_text_cannot_close_the_script() -> None:
    text = make_page([analyse(news_set, ("<script>",))])
    templates = ("core/rendering/base.html", "evaluation/reports/page.html")
    ends = sum(
        files("nmt").joinpath(name).read_text("utf-8").count("</script") for name in templates
    )
    assert text.count("</script") == ends
    assert "<!--" not in text
    [example] = [
        e for e in page_data(text)["sets"]["news"]["examples"] if e["line"] == HOSTILE_LINE
    ]
    assert example["hypotheses"] == {"<script>": HOSTILE_HYPOTHESIS}


def test_page_content_requires_no_network() -> None:
    text = make_page([analyse(news_set, ("one",))])
    assert not re.search(r"https?:|//\w+\.|url\(|@import|\bsrc=|fetch\(|XMLHttp", text)
    assert re.findall(r'href="(?!#)', text) == []
    assert "innerHTML" not in text


@pytest.mark.parametrize("names", [("one",), tuple("abcdef")])
def test_page_histogram_counts_lines_by_chrf(names: tuple[str, ...]) -> None:
    analysis = analyse(news_set, names)
    histograms = page_data(make_page([analysis]))["sets"]["news"]["histograms"]
    assert tuple(histograms) == names
    for name, lines in zip(names, analysis.statistics.systems, strict=True):
        expected = [0] * 20
        for score in lines.chrf:
            expected[min(19, int(score // 5))] += 1
        assert histograms[name] == expected
        assert sum(histograms[name]) == LINES


def test_page_examples_have_length_and_attention() -> None:
    analysis, system = analyse(news_set, ("one", "two")), AttendingSystem("two")
    news = page_data(make_page([analysis], {"two": system}))["sets"]["news"]
    assert [example["line"] for example in news["examples"]] == list(range(1, LINES + 1))
    assert {example["words"] for example in news["examples"]} == {9}  # with the full stop
    assert news["attention"]["one"] == {}
    assert len(news["attention"]["two"]) == LINES
    first = analysis.example(0)
    assert system.hypotheses[0] == first.hypotheses["two"]
    attention = news["attention"]["two"]["1"]
    assert attention["source"] == [*str(first.source).split(), "</s>"]
    assert attention["target"] == [*first.hypotheses["two"].split(), "</s>"]
    weights = np.array(attention["weights"])
    assert weights.shape == (len(attention["target"]), len(attention["source"]))
    # weights sum to one half, and each is rounded to a whole percent
    assert np.abs(weights.sum(1) - 50).max() <= len(attention["source"]) / 2


def test_page_without_source_uses_reference_length() -> None:
    news = page_data(make_page([analyse(sourceless_set, ("one",))]))["sets"]["news"]
    assert {example["source"] for example in news["examples"]} == {None}
    assert {example["words"] for example in news["examples"]} == {9}
    assert news["attention"] == {"one": {}}


def test_page_prefers_listed_and_flagged_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_module, "MAX_MORE_EXAMPLES", 4)
    analysis = analyse(news_set, ("one", "two"))
    lines = [e["line"] for e in page_data(make_page([analysis]))["sets"]["news"]["examples"]]
    listed_lines = {e.line for examples in analysis.report.examples for e in examples.examples}
    flagged_lines = {
        line
        for system in analysis.report.systems.values()
        for check in system.suspicions.values()
        for line in check.lines
    }
    assert lines == sorted(set(lines))
    assert listed_lines < set(lines)
    assert set(lines) - listed_lines <= flagged_lines
    assert len(lines) == len(listed_lines) + 4
