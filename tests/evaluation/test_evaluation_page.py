"""What the page of an evaluation holds; how it looks is test_evaluation_browser.py's."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from typing import Any

import numpy as np
import pytest
from page_cases import LINES, NASTY, ODD, Looking, analysed, news, paged, reported, talks, unsourced

from nmt.evaluation.reports import page as page_module


def data_of(text: str) -> dict[str, Any]:
    """Return the JSON in a page, as far as a browser would read it: to the first end of script."""
    [found] = re.findall(r'<script type="application/json" id="data">(.*?)</script', text, re.S)
    data = json.loads(found)
    assert isinstance(data, dict)
    return data


def test_the_page_holds_the_report_as_it_is() -> None:
    found = [analysed(news, ("10", "9")), analysed(talks, ("10", "9"))]
    data = data_of(paged(found))
    assert data["report"] == reported(found, ["a caution for all"]).model_dump(mode="json")
    assert data["systems"] == ["10", "9"]
    assert list(data["sets"]) == ["news", "talks"]
    assert data["curves"] == {}


def test_no_text_ends_the_script() -> None:
    text = paged([analysed(news, ("<script>",))])
    ends = (
        files("nmt.evaluation.reports").joinpath("page.html").read_text("utf-8").count("</script")
    )
    assert text.count("</script") == ends
    assert "<!--" not in text
    [example] = [e for e in data_of(text)["sets"]["news"]["examples"] if e["line"] == ODD]
    assert example["hypotheses"] == {"<script>": NASTY}


def test_the_page_asks_nothing_of_the_network() -> None:
    text = paged([analysed(news, ("one",))])
    assert not re.search(r"https?:|//\w+\.|url\(|@import|\bsrc=|fetch\(|XMLHttp", text)
    assert re.findall(r'href="(?!#)', text) == []
    assert "innerHTML" not in text


@pytest.mark.parametrize("names", [("one",), tuple("abcdef")])
def test_the_lines_are_counted_by_their_chrf(names: tuple[str, ...]) -> None:
    its = analysed(news, names)
    bars = data_of(paged([its]))["sets"]["news"]["histograms"]
    assert tuple(bars) == names
    for name, lines in zip(names, its.statistics.systems, strict=True):
        expected = [0] * 20
        for score in lines.chrf:
            expected[min(19, int(score // 5))] += 1
        assert bars[name] == expected
        assert sum(bars[name]) == LINES


def test_examples_know_their_length_and_what_a_system_looked_at() -> None:
    its, looking = analysed(news, ("one", "two")), Looking("two")
    shown = data_of(paged([its], {"two": looking}))["sets"]["news"]
    assert [example["line"] for example in shown["examples"]] == list(range(1, LINES + 1))
    assert {example["words"] for example in shown["examples"]} == {9}  # with the full stop
    assert shown["attention"]["one"] == {}
    assert len(shown["attention"]["two"]) == LINES
    first = its.example(0)
    assert looking.seen[0] == first.hypotheses["two"]
    looked = shown["attention"]["two"]["1"]
    assert looked["source"] == [*str(first.source).split(), "</s>"]
    assert looked["target"] == [*first.hypotheses["two"].split(), "</s>"]
    weights = np.array(looked["weights"])
    assert weights.shape == (len(looked["target"]), len(looked["source"]))
    # the cases' weights sum to one half; each is rounded to a whole percent
    assert np.abs(weights.sum(1) - 50).max() <= len(looked["source"]) / 2


def test_without_a_source_lengths_are_those_of_the_reference() -> None:
    shown = data_of(paged([analysed(unsourced, ("one",))]))["sets"]["news"]
    assert {example["source"] for example in shown["examples"]} == {None}
    assert {example["words"] for example in shown["examples"]} == {9}
    assert shown["attention"] == {"one": {}}


def test_listed_and_suspicious_lines_come_before_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_module, "MAX_MORE_EXAMPLES", 4)
    its = analysed(news, ("one", "two"))
    lines = [e["line"] for e in data_of(paged([its]))["sets"]["news"]["examples"]]
    listed = {e.line for each in its.report.examples for e in each.examples}
    suspicious = {
        line
        for system in its.report.systems.values()
        for kind in system.suspicions.values()
        for line in kind.lines
    }
    assert lines == sorted(set(lines))
    assert listed < set(lines)
    assert set(lines) - listed <= suspicious
    assert len(lines) == len(listed) + 4
