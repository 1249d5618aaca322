"""The explanation page in headless Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nmt.interpret.page import explanation_page
from tests.support.browser import (
    background_opacity,
    find,
    needs_browser,
    open_browser,
    select_option,
)
from tests.support.evaluation.explanations import make_explanation

pytestmark = needs_browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with open_browser(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


FAMILY = "👨\u200d👩\u200d👧"
SENTENCES = [
    make_explanation([["▁the"], ["▁Eco", "nomic"], ["▁Area"]], [["▁zone"], ["▁éco", "nomique"]]),
    make_explanation([["日本語"], [FAMILY]], [["הכלב"], ["ישן"]], layers=2, heads=3, seed=2),
]


@pytest.fixture
def page(browser: Any, tmp_path: Path) -> Any:
    file = tmp_path / "page.html"
    file.write_text(explanation_page(SENTENCES), encoding="utf-8")
    browser.get(file.as_uri())
    yield browser
    assert browser.get_log("browser") == []  # no error, no request


def depths(browser: Any, selector: str) -> list[float]:
    return [background_opacity(element) for element in find(browser, selector)]


def expected_depths(weights: Any) -> list[float]:
    return pytest.approx([float(w) if w > 0.004 else 0.0 for w in weights], abs=0.006)


def test_browser_heat_map_shows_words_and_pieces(page: Any) -> None:
    labels = [element.text for element in find(page, "#grid tbody th")]
    assert labels == ["▁zone", "▁économique", "</s>"]
    assert depths(page, "#grid tbody td") == expected_depths(SENTENCES[0].by_words.flatten())
    find(page, "#merge")[0].click()
    assert depths(page, "#grid tbody td") == expected_depths(SENTENCES[0].weights.flatten())
    assert len(find(page, "#source .token")) == 5


def test_browser_highlights_attention_of_a_word(page: Any) -> None:
    from selenium.webdriver import ActionChains

    weights = SENTENCES[0].by_words
    token = find(page, "#target .token")[1]
    ActionChains(page).move_to_element(token).perform()
    assert depths(page, "#source .token") == expected_depths(weights[1])
    ActionChains(page).move_to_element(find(page, "#sentence")[0]).perform()
    assert depths(page, "#source .token") == [0.0] * 4
    token.click()
    ActionChains(page).move_to_element(find(page, "#sentence")[0]).perform()
    assert depths(page, "#source .token") == expected_depths(weights[1])
    ActionChains(page).move_to_element(find(page, "#source .token")[2]).perform()
    assert depths(page, "#target .token") == expected_depths(weights[:, 2])


def test_browser_steps_forward_and_back(page: Any) -> None:
    select_option(page, "view", "steps")
    assert not find(page, "#gridview")[0].is_displayed()
    back, forward = find(page, "#back")[0], find(page, "#forward")[0]
    assert not back.is_enabled()
    trace = SENTENCES[0].trace
    for t, piece in enumerate(SENTENCES[0].target.pieces):
        assert find(page, "#where")[0].text.startswith(f"step {t + 1} of 4: {piece}")
        cells = [e.text for e in find(page, "#steps tbody td")]
        expected = [f"{w:.3f}" for w in trace.softmax[0, 0, t] if w > 0]
        assert [c for c in cells if c in expected]
        assert all(number in cells for number in expected)
        assert find(page, "#steps tbody th")[-1].text == "1.000"
        assert f"{piece} 0.750" in find(page, "#next")[0].text
        assert [e.text for e in find(page, "#next .dropped")] == ["-2.500 lost (dropped)"]
        if t < 3:
            forward.click()
    assert not forward.is_enabled()
    find(page, "body")[0].send_keys("\ue012")  # the left arrow key
    assert find(page, "#where")[0].text.startswith("step 3 of 4")


def test_browser_selects_sentence_layer_and_head(page: Any) -> None:
    assert not find(page, "#layer")[0].is_displayed()
    select_option(page, "sentence", 1)
    weights = SENTENCES[1].trace.weights
    assert find(page, "#layer")[0].is_displayed()
    assert depths(page, "#grid tbody td") == expected_depths(weights[1].mean(0).flatten())
    select_option(page, "layer", 0)
    select_option(page, "head", 2)
    assert depths(page, "#grid tbody td") == expected_depths(weights[0, 2].flatten())


def test_browser_explanation_respects_text_direction(page: Any) -> None:
    select_option(page, "sentence", 1)
    first, second = find(page, "#target .token")[:2]
    assert first.location["x"] > second.location["x"]
    first, second = find(page, "#source .token")[:2]
    assert first.location["x"] < second.location["x"]
