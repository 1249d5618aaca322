"""The evaluation page in headless Chromium."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nmt.core.run_dir import RunDir
from nmt.evaluation.systems import RunSystem
from tests.support.browser import (
    background_opacity,
    find,
    needs_browser,
    open_browser,
    select_option,
)
from tests.support.evaluation.evaluation_pages import (
    EMPTY_LINE,
    HOSTILE_HYPOTHESIS,
    HOSTILE_LINE,
    LINES,
    LOST_NUMBER_LINE,
    AttendingSystem,
    analyse,
    make_page,
    news_set,
    sourceless_set,
    talks_set,
)

pytestmark = needs_browser
NAMES = ("first", "second")
ENTER = "\ue007"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with open_browser(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


Show = Callable[[str], Any]


@pytest.fixture
def show(browser: Any, tmp_path: Path) -> Iterator[Show]:
    """Return a function that opens a page; check that the browser logs no error or request."""

    def open_page(text: str) -> Any:
        file = tmp_path / "page.html"
        file.write_text(text, encoding="utf-8")
        browser.get(file.as_uri())
        return browser

    yield open_page
    assert browser.get_log("browser") == []


def make_run_system(folder: Path) -> RunSystem:
    """Return a run with learning curves and an engine without attention."""
    run = RunDir(folder)
    records = [
        {"kind": "train", "update": 10, "loss": 3.0},
        {"kind": "valid", "update": 20, "loss": 2.5, "bleu": 11.0},
        {"kind": "valid", "update": 40, "loss": 2.0, "bleu": 23.0},
    ]
    run.metrics.parent.mkdir(parents=True, exist_ok=True)
    run.metrics.write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
    config: Any = None  # the page does not use it
    return RunSystem("first", run, config, "cpu", "ctranslate2")


@pytest.fixture
def page(show: Show, tmp_path: Path) -> Any:
    analyses = [analyse(news_set, NAMES), analyse(talks_set, NAMES)]
    systems = {"first": make_run_system(tmp_path / "run"), "second": AttendingSystem("second")}
    return show(make_page(analyses, systems))


def texts(browser: Any, selector: str) -> list[str]:
    return [element.text for element in find(browser, selector)]


def line_numbers(browser: Any) -> list[int]:
    """Return the line numbers in the table of examples."""
    return [int(text) for text in texts(browser, "#examples tr.row button")]


def sort_by(browser: Any, table: str, title: str) -> Any:
    """Press the header of a column and return it."""
    [header] = [th for th in find(browser, f"#{table} thead th") if th.text == title]
    header.find_element("css selector", "button").send_keys(ENTER)
    return header


def unfold(browser: Any, line: int) -> Any:
    """Unfold a line and return the element with its details."""
    [button] = [b for b in find(browser, "#examples tr.row button") if b.text == str(line)]
    button.send_keys(ENTER)
    assert button.get_attribute("aria-expanded") == "true"
    return find(browser, "#examples .detail")[0]


def test_browser_sorts_examples_by_each_column(page: Any) -> None:
    first, second = (system.chrf for system in analyse(news_set, NAMES).statistics.systems)
    worst = sorted(range(LINES), key=lambda i: round(second[i], 2) - round(first[i], 2))
    displayed = line_numbers(page)
    assert len(displayed) == 50
    assert displayed[0] == worst[0] + 1
    find(page, "#more")[0].click()
    assert sorted(line_numbers(page)) == list(range(1, LINES + 1))
    assert not find(page, "#more")[0].is_displayed()
    for title, scores in (("chrF first", first), ("chrF second", second)):
        for order, sign in (("ascending", 1), ("descending", -1)):
            assert sort_by(page, "examples", title).get_attribute("aria-sort") == order
            assert len(find(page, "#examples th[aria-sort$=ending]")) == 1
            displayed = [round(sign * float(scores[line - 1]), 2) for line in line_numbers(page)]
            assert displayed == sorted(displayed)
    sort_by(page, "examples", "line")
    assert line_numbers(page) == list(range(1, LINES + 1))


def test_browser_sorts_systems_by_score(page: Any) -> None:
    reports = analyse(news_set, NAMES).report.systems
    best = sorted(NAMES, key=lambda name: -reports[name].scores.bleu)
    sort_by(page, "table", "BLEU")
    assert texts(page, "#table tbody td:first-child") == best
    sort_by(page, "table", "BLEU")
    assert texts(page, "#table tbody td:first-child") == best[::-1]
    displayed = texts(page, "#table tbody td:nth-child(2)")
    worst = reports[best[1]]
    assert displayed[0] == f"{worst.scores.bleu:.2f} ± {worst.intervals['bleu'].half:.2f}"


def test_browser_check_button_shows_its_lines(page: Any) -> None:
    find(page, "#search")[0].send_keys("no line has this")
    assert line_numbers(page) == []
    [empty_button] = [b for b in find(page, "#kinds button") if b.text == "empty"]
    empty_button.send_keys(ENTER)
    assert line_numbers(page) == [EMPTY_LINE]
    assert empty_button.get_attribute("aria-pressed") == "true"
    select_option(page, "kind", "lost number")
    systems = analyse(news_set, NAMES).report.systems.values()
    lost_lines = {line for system in systems for line in system.suspicions["lost number"].lines}
    assert LOST_NUMBER_LINE in lost_lines
    assert set(line_numbers(page)) == lost_lines
    assert empty_button.get_attribute("aria-pressed") == "false"
    select_option(page, "kind", "")
    assert len(line_numbers(page)) == 50


def test_browser_search_finds_examples(page: Any) -> None:
    find(page, "#search")[0].send_keys("<SCRIPT>")
    assert line_numbers(page) == [HOSTILE_LINE]
    find(page, "#search")[0].clear()
    find(page, "#search")[0].send_keys("sees 131 old")
    assert line_numbers(page) == [31]
    assert find(page, "#count")[0].text.startswith("1 of 60 lines")


def test_browser_selects_example_lists(page: Any) -> None:
    for i, example_list in enumerate(analyse(news_set, NAMES).report.examples):
        select_option(page, "list", i)
        assert sorted(line_numbers(page)) == sorted(
            example.line for example in example_list.examples
        )


def test_browser_unfolded_line_shows_exact_texts(page: Any) -> None:
    find(page, "#search")[0].send_keys("105")
    detail = unfold(page, HOSTILE_LINE)
    [example] = [analyse(news_set, NAMES).example(HOSTILE_LINE - 1)]
    displayed = [
        e.get_attribute("textContent") for e in detail.find_elements("css selector", ".said")
    ]
    assert displayed[:2] == [example.source, example.references[0]]
    text_element = detail.find_elements("css selector", ".said")[2]
    hypothesis = page.execute_script(
        "const copy = arguments[0].cloneNode(true);"
        "copy.querySelectorAll('del').forEach(node => node.remove()); return copy.textContent",
        text_element,
    )
    assert hypothesis.split() == HOSTILE_HYPOTHESIS.split()
    tags = [tag.text for tag in detail.find_elements("css selector", ".tag")]
    assert tags == [kind for name in NAMES for kind in example.suspicions[name]]
    find(page, "#examples tr.row button")[0].click()
    assert find(page, "#examples .detail") == []


def test_browser_marks_differences_from_reference(page: Any) -> None:
    find(page, "#search")[0].send_keys("112")
    detail = unfold(page, LOST_NUMBER_LINE)
    text_element = detail.find_elements("css selector", ".said")[2]
    assert [e.text for e in text_element.find_elements("css selector", "del")] == ["112"]
    assert [e.text for e in text_element.find_elements("css selector", "ins")] == ["les"]
    for tag, line in (("del", "line-through"), ("ins", "underline")):
        [element] = text_element.find_elements("css selector", tag)
        assert line in element.value_of_css_property("text-decoration")


def test_browser_heat_map_shows_attention(page: Any) -> None:
    detail = unfold(page, line_numbers(page)[0])
    [table] = detail.find_elements("css selector", ".heat")  # the first system has no attention
    example = analyse(news_set, NAMES).example(line_numbers(page)[0] - 1)
    pair = str(example.source), example.hypotheses["second"]
    [attention] = AttendingSystem("second").attention(news_set(), [pair])
    assert attention is not None
    targets = [th.text for th in table.find_elements("css selector", ":scope > tbody th")]
    assert targets == attention.target_words
    sources = [th.text for th in table.find_elements("css selector", ":scope > thead th")]
    assert sources == attention.source_words
    depths = [
        background_opacity(cell)
        for cell in table.find_elements("css selector", ":scope > tbody td")
    ]
    assert depths == pytest.approx(attention.weights.flatten().tolist(), abs=0.008)


def test_browser_switches_test_set_and_metric(page: Any) -> None:
    assert find(page, "#about")[0].text == "60 lines, en → fr, 1 reference"
    assert any(text.startswith("BLEU by source length") for text in texts(page, "figcaption"))
    select_option(page, "metric", "chrf")
    assert any(text.startswith("chrF by source length") for text in texts(page, "figcaption"))
    assert not any(text.startswith("BLEU by") for text in texts(page, "figcaption"))
    select_option(page, "set", "talks")
    assert find(page, "#about")[0].text == "3 lines, en → he, 2 references"
    assert sorted(line_numbers(page)) == [1, 2, 3]
    assert find(page, "#metric")[0].get_attribute("value") == "chrf"


def test_browser_switches_learning_curves(page: Any) -> None:
    select_option(page, "curve", "loss")
    titles = "#charts figure:last-child title"
    displayed = [e.get_attribute("textContent") for e in find(page, titles)]
    assert displayed == ["first: 2.500 after 20 updates", "first: 2.000 after 40 updates"]
    select_option(page, "curve", "bleu")
    displayed = [e.get_attribute("textContent") for e in find(page, titles)]
    assert displayed == ["first: 11.000 after 20 updates", "first: 23.000 after 40 updates"]


def test_browser_respects_direction_and_script(page: Any) -> None:
    select_option(page, "set", "talks")
    text_elements = unfold(page, 1).find_elements("css selector", ".said")
    directions = [text.value_of_css_property("direction") for text in text_elements]
    assert directions == ["ltr", "rtl", "rtl", "rtl", "rtl"]
    find(page, "#examples tr.row button[aria-expanded=true]")[0].click()
    detail = unfold(page, 2)
    marked_element = detail.find_elements("css selector", ".said")[4]
    assert [e.text for e in marked_element.find_elements("css selector", "del")] == ["が"]
    assert [e.text for e in marked_element.find_elements("css selector", "ins")] == ["は"]
    assert "against reference 1" in detail.text


def brightness(browser: Any, name: str) -> float:
    colour = find(browser, "body")[0].value_of_css_property(name)
    return sum(float(part) for part in colour[colour.index("(") + 1 : -1].split(",")[:3]) / 3


@pytest.mark.parametrize(
    ("names", "width", "scheme"),
    [
        (NAMES[:1], 390, "dark"),
        (NAMES[:1], 1280, "light"),
        (tuple("abcdef"), 390, "light"),
        (tuple("abcdef"), 1280, "dark"),
    ],
)
def test_browser_fits_every_width_and_color_scheme(
    browser: Any, show: Show, names: tuple[str, ...], width: int, scheme: str
) -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    show(make_page([analyse(news_set, names)], {names[-1]: AttendingSystem(names[-1])}))
    detail = unfold(browser, line_numbers(browser)[0])
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    ink, paper = brightness(browser, "color"), brightness(browser, "background-color")
    assert (ink < paper) == (scheme == "light")
    for text in detail.find_elements("css selector", ".said"):
        assert text.rect["x"] + text.rect["width"] <= width
    columns = {e.rect["x"] for e in detail.find_elements("css selector", ".columns > div")}
    assert len(columns) == (1 if width == 390 or len(names) == 1 else 2)
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_browser_shows_file_without_source(show: Show) -> None:
    browser = show(make_page([analyse(sourceless_set, ("one",))]))
    titles = texts(browser, "#examples thead th")
    assert titles == ["line", "reference words", "chrF one", "reference"]
    assert not find(browser, "#set")[0].is_displayed()
    assert not find(browser, "#legend")[0].is_displayed()
    detail = unfold(browser, line_numbers(browser)[0])
    assert len(detail.find_elements("css selector", ".said")) == 2
    captions = texts(browser, "figcaption h3")
    assert "BLEU by reference length" in captions
    assert "learning curves" not in captions


def test_browser_shows_warnings_of_all_test_sets(page: Any) -> None:
    sets = {"news": analyse(news_set, NAMES), "talks": analyse(talks_set, NAMES)}
    expected = [
        f"{name}: {text}" for name, analysis in sets.items() for text in analysis.report.cautions
    ]
    assert texts(page, "#beware li") == [*expected, "a caution for all"]
    assert len(expected) >= 2
