"""The page in a real browser: Chromium without a screen, driven by selenium."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import choose, depth, find, needs_browser, started
from explain_cases import make_explanation

from nmt.interpret.page import explanation_page

pytestmark = needs_browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with started(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


FAMILY = "👨\u200d👩\u200d👧"
SENTENCES = [
    make_explanation([["▁the"], ["▁Eco", "nomic"], ["▁Area"]], [["▁zone"], ["▁éco", "nomique"]]),
    make_explanation([["日本語"], [FAMILY]], [["הכלב"], ["ישן"]], layers=2, heads=3, seed=2),
]


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Any:
    file = tmp_path / "page.html"
    file.write_text(explanation_page(SENTENCES), encoding="utf-8")
    browser.get(file.as_uri())
    yield browser
    assert browser.get_log("browser") == []  # no error, no request


def depths(browser: Any, selector: str) -> list[float]:
    return [depth(element) for element in find(browser, selector)]


def shown(weights: Any) -> list[float]:
    return pytest.approx([float(w) if w > 0.004 else 0.0 for w in weights], abs=0.006)


def test_the_grid_shows_the_weights_of_words_and_of_pieces(opened: Any) -> None:
    labels = [element.text for element in find(opened, "#grid tbody th")]
    assert labels == ["▁zone", "▁économique", "</s>"]
    assert depths(opened, "#grid td") == shown(SENTENCES[0].by_words.flatten())
    find(opened, "#merge")[0].click()
    assert depths(opened, "#grid td") == shown(SENTENCES[0].weights.flatten())
    assert len(find(opened, "#source .token")) == 5


def test_hovering_and_tapping_a_word_lights_up_what_it_looks_at(opened: Any) -> None:
    from selenium.webdriver import ActionChains

    weights = SENTENCES[0].by_words
    token = find(opened, "#target .token")[1]
    ActionChains(opened).move_to_element(token).perform()
    assert depths(opened, "#source .token") == shown(weights[1])
    ActionChains(opened).move_to_element(find(opened, "#sentence")[0]).perform()
    assert depths(opened, "#source .token") == [0.0] * 4
    token.click()
    ActionChains(opened).move_to_element(find(opened, "#sentence")[0]).perform()
    assert depths(opened, "#source .token") == shown(weights[1])
    ActionChains(opened).move_to_element(find(opened, "#source .token")[2]).perform()
    assert depths(opened, "#target .token") == shown(weights[:, 2])


def test_steps_go_forward_and_back(opened: Any) -> None:
    choose(opened, "view", "steps")
    assert not find(opened, "#gridview")[0].is_displayed()
    back, forward = find(opened, "#back")[0], find(opened, "#forward")[0]
    assert not back.is_enabled()
    walk = SENTENCES[0].trace
    for t, piece in enumerate(SENTENCES[0].target.pieces):
        assert find(opened, "#where")[0].text.startswith(f"step {t + 1} of 4: {piece}")
        cells = [e.text for e in find(opened, "#steps tbody td")]
        expected = [f"{w:.3f}" for w in walk.softmax[0, 0, t] if w > 0]
        assert [c for c in cells if c in expected]
        assert all(number in cells for number in expected)
        assert find(opened, "#steps tbody th")[-1].text == "1.000"
        assert f"{piece} 0.750" in find(opened, "#next")[0].text
        assert [e.text for e in find(opened, "#next .dropped")] == ["-2.500 lost (dropped)"]
        if t < 3:
            forward.click()
    assert not forward.is_enabled()
    find(opened, "body")[0].send_keys("\ue012")  # the left arrow key
    assert find(opened, "#where")[0].text.startswith("step 3 of 4")


def test_sentences_layers_and_heads_can_be_chosen(opened: Any) -> None:
    assert not find(opened, "#layer")[0].is_displayed()
    choose(opened, "sentence", 1)
    other = SENTENCES[1].trace.weights
    assert find(opened, "#layer")[0].is_displayed()
    assert depths(opened, "#grid td") == shown(other[1].mean(0).flatten())
    choose(opened, "layer", 0)
    choose(opened, "head", 2)
    assert depths(opened, "#grid td") == shown(other[0, 2].flatten())


def test_sentences_run_in_the_direction_of_their_script(opened: Any) -> None:
    choose(opened, "sentence", 1)
    first, second = find(opened, "#target .token")[:2]
    assert first.location["x"] > second.location["x"]
    first, second = find(opened, "#source .token")[:2]
    assert first.location["x"] < second.location["x"]
