"""The web page in headless Chromium, with a server in this process."""

from __future__ import annotations

import hashlib
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs nmt[serve]")

from nmt.serving import libretranslate_routes
from nmt.serving.admission.api_keys import ApiKeys
from nmt.serving.app import build_app
from nmt.serving.service import Service, ServiceLimits
from nmt.serving.translation.loading import ModelOptions
from nmt.serving.translation.routes import LanguageRoutes
from nmt.serving.translation.served_model import ServedModel
from tests.support.browser import find, needs_browser, open_browser, select_option
from tests.support.command_line import assert_success
from tests.support.kept_model import load_in_threads
from tests.support.paths import FROZEN_V1
from tests.support.serving import run_app
from tests.support.tiny_runs import make_exportable, make_tiny

pytestmark = needs_browser
SECONDS = 60
"""Time limit of each wait, which a busy machine needs."""
ENTER, ESCAPE, TAB = "\ue007", "\ue00c", "\ue004"
LEFT, UP, RIGHT, DOWN = "\ue012", "\ue013", "\ue014", "\ue015"
PAIR = {"source": "en", "target": "fr"}
TEXT = "1 2 3 4"
HOSTILE = "<img src=x onerror=window.isAttacked=1>"


class UnalignedModel(ServedModel):
    """A model without attention and constraints, like those of CTranslate2."""

    def __init__(self, *arguments: Any) -> None:
        """Load a model, and forget what its engine supports."""
        super().__init__(*arguments)
        self.has_attention = self.supports_constraints = False


def load_model(
    folder: Path, source: str, target: str, kind: type[ServedModel] = ServedModel
) -> ServedModel:
    """Load a model with a language pair; it translates sentence by sentence."""
    languages = (f"data.src={source}", f"data.tgt={target}", "decode.split=sentences")
    options = ModelOptions(device="cpu", overrides=languages, batch_wait=0.001)
    return load_in_threads(folder, options, kind)


@pytest.fixture(scope="module")
def transformer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the run of a Transformer with 2 layers of 2 heads, which is hardly trained."""
    tiny = make_exportable(tmp_path_factory.mktemp("transformer"))
    tiny.replace("num_layers: 1", "num_layers: 2")
    assert_success(tiny.train())
    return tiny.run


@pytest.fixture(scope="module")
def luong(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the run of a model with the attention of Luong et al., which is hardly trained."""
    tiny = make_tiny(tmp_path_factory.mktemp("luong"))
    tiny.replace("  d_embed: 8\n", "  d_embed: 8\n  attention: luong\n  score: general\n")
    assert_success(tiny.train())
    return tiny.run


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with open_browser(tmp_path_factory.mktemp("profile")) as driver:
        driver.set_script_timeout(SECONDS)
        yield driver


@pytest.fixture(scope="module", autouse=True)
def _short_pause() -> Iterator[None]:
    """Let the page translate soon after the last key."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(libretranslate_routes, "FRONTEND_TIMEOUT", 30)
        yield


@pytest.fixture(scope="module")
def log() -> list[str]:
    """Return the lines of the access log of `url`."""
    return []


@pytest.fixture(scope="module")
def url(transformer: Path, luong: Path, log: list[str]) -> Iterator[str]:
    """Serve digits from English to French and back, and other models for other languages."""
    models = [
        load_model(FROZEN_V1, "en", "fr"),
        load_model(FROZEN_V1, "fr", "en"),
        load_model(transformer, "en", "de"),
        load_model(luong, "en", "nl"),
        load_model(FROZEN_V1, "en", "cs", UnalignedModel),
    ]
    service = Service(LanguageRoutes(models), ServiceLimits(max_characters=2000))
    with run_app(build_app(service, (), log.append)) as address:
        yield address


@pytest.fixture
def page(browser: Any, url: str) -> Iterator[Any]:
    """Open the page; check that the browser logs no error and no forbidden request."""
    browser.get(url)
    yield browser
    assert browser.get_log("browser") == []


def wait_for(browser: Any, condition: Callable[[], Any]) -> Any:
    """Wait until a condition holds, and return its value; elements may vanish meanwhile."""
    from selenium.common.exceptions import StaleElementReferenceException
    from selenium.webdriver.support.ui import WebDriverWait

    wait = WebDriverWait(browser, SECONDS, 0.02, [StaleElementReferenceException])
    return wait.until(lambda _: condition())


def text_of(browser: Any, selector: str) -> str:
    return str(browser.execute_script(f"return document.querySelector({selector!r}).textContent"))


def wait_for_text(browser: Any, selector: str, text: str) -> None:
    wait_for(browser, lambda: text in text_of(browser, selector))


def write(browser: Any, text: str, box: str = "#text") -> None:
    """Replace the text of a box at once, as pasting does."""
    browser.execute_script(
        "const box = document.querySelector(arguments[0]); box.value = arguments[1];"
        "box.setSelectionRange(0, 0); box.dispatchEvent(new Event('input', { bubbles: true }))",
        box,
        text,
    )


def is_translated(browser: Any) -> bool:
    return bool(
        browser.execute_script(
            "return !$('translation').classList.contains('stale')"
            " && $('status').textContent.startsWith('Translated')"
        )
    )


def translate(browser: Any, text: str) -> str:
    """Write a text, and return its translation when it is complete."""
    write(browser, text)
    wait_for(browser, lambda: is_translated(browser))
    return str(browser.execute_script("return translatedText()"))


def explain(browser: Any, text: str) -> None:
    """Translate a text of one sentence, and wait for its explanation."""
    translate(browser, text)
    wait_for(browser, lambda: find(browser, "#explanation:not([hidden]):not(.stale)"))


def tokens(browser: Any, box: str = "#translation") -> list[Any]:
    return find(browser, f"{box} .token")


def texts(browser: Any, selector: str) -> list[str]:
    """Return the texts of elements; one call of the driver is faster than one for each."""
    script = f"return [...document.querySelectorAll({selector!r})].map(e => e.textContent)"
    return list(browser.execute_script(script))


def target_words(browser: Any, box: str = "#translation") -> list[str]:
    return texts(browser, f"{box} .token")


def post(url: str, path: str, **parameters: Any) -> Any:
    """Send a request without the browser."""
    body = json.dumps(parameters).encode()
    headers = {"Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(url + path, body, headers)) as response:
        return json.load(response)


def expected_opacities(weights: Sequence[float]) -> Any:
    """Return the opacities of words with these weights: small ones are left out."""
    return pytest.approx([0.55 * w if 0.55 * w > 0.004 else 0 for w in weights], abs=0.008)


def opacities(browser: Any, selector: str) -> list[float]:
    """Return the opacities of the backgrounds of elements, without transitions."""
    colours = browser.execute_script(
        "document.getAnimations().forEach(animation => animation.finish());"
        f"return [...document.querySelectorAll({selector!r})]"
        ".map(e => getComputedStyle(e).backgroundColor)"
    )
    parts = [colour[colour.index("(") + 1 : -1].split(",") for colour in colours]
    return [float(part[3]) if len(part) == 4 else 1.0 for part in parts]


def test_browser_translates_while_typing(page: Any) -> None:
    box = find(page, "#text")[0]
    assert box == page.switch_to.active_element
    box.send_keys("1 2 3")
    wait_for_text(page, "#translation", "3 2 1")
    box.send_keys(" 4")
    wait_for_text(page, "#translation", "4 3 2 1")
    wait_for_text(page, "#status", "Translated from English.")
    find(page, "#clear")[0].click()
    wait_for(page, lambda: text_of(page, "#translation") == "")
    assert not find(page, "#attention")[0].is_displayed()
    assert not find(page, "#copy")[0].is_enabled()


def test_browser_keeps_lines_and_spaces_of_text(page: Any, url: str) -> None:
    sentences = ["1 2 3!", "4 5 6!", "7 8 9"]
    answer = post(url, "v1/translate", q=sentences, **PAIR)
    first, second, third = (translation["text"] for translation in answer["translations"])
    translation = translate(page, "  1 2 3!  4 5 6! \n\n\t7 8 9")
    assert translation == f"  {first}  {second} \n\n\t{third}"
    assert texts(page, "#translation .sentence") == [first, second, third]
    assert len(find(page, "#translation .line")) == 3


def test_browser_translates_each_sentence_once(page: Any, log: list[str]) -> None:
    translate(page, "1 2 3! 4 5 6!")
    begin = len(log)
    translate(page, "1 2 3! 4 5 6! 7 8!")
    requests = [json.loads(line) for line in log[begin:]]
    lengths = [r["characters"] for r in requests if r["path"] == "/v1/translate"]
    assert lengths == [len("7 8!")]


def test_browser_target_word_highlights_source(page: Any, url: str) -> None:
    explain(page, TEXT)
    explanation = post(url, "v1/explain", q=TEXT, translation="4 3 2 1", **PAIR)
    for index, token in enumerate(tokens(page)):
        token.click()
        weights = explanation["word_weights"][index][:4]
        assert opacities(page, "#source .token") == expected_opacities(weights)
        assert opacities(page, "#mirror span") == expected_opacities(weights)
        assert texts(page, "#translation [aria-current=true]") == [f"{4 - index}"]
        assert texts(page, "#grid tr.chosen th") == [f"{4 - index}"]
        best = max(weights)
        assert text_of(page, "#origin").startswith(f"{4 - index} ← {4 - index} {best:.2f}")


def test_browser_source_word_highlights_target(page: Any, url: str) -> None:
    explain(page, TEXT)
    explanation = post(url, "v1/explain", q=TEXT, translation="4 3 2 1", **PAIR)
    for index, token in enumerate(tokens(page, "#source")):
        token.click()
        weights = [row[index] for row in explanation["word_weights"][:4]]
        assert opacities(page, "#translation .token") == expected_opacities(weights)
        assert opacities(page, "#target .token") == expected_opacities(weights)
        assert texts(page, "#mirror .chosen") == [f"{index + 1}"]


def test_browser_cursor_in_text_selects_its_word(page: Any) -> None:
    explain(page, "1 2 3\n4 5 6")
    find(page, "#text")[0].send_keys(*[RIGHT] * 11)
    wait_for(page, lambda: texts(page, "#mirror .chosen") == ["6"])
    assert text_of(page, "#position") == "Sentence 2 of 2"
    depths = opacities(page, "#translation .token")
    assert depths[:3] == [0, 0, 0]
    assert max(depths) == depths[3] > 0.3
    write(page, "7")
    assert find(page, "#mirror span") == []


def test_browser_keyboard_moves_between_words(page: Any) -> None:
    explain(page, "1 2 3\n4 5 6")
    page.execute_script("document.querySelector('#translation .token').focus()")
    assert text_of(page, "#translation .chosen") == "3"
    for key, word in ((RIGHT, "2"), (RIGHT, "1"), (RIGHT, "6"), (LEFT, "1"), ("\ue011", "3")):
        page.switch_to.active_element.send_keys(key)
        assert text_of(page, "#translation .chosen") == word
    assert len(find(page, "#translation [tabindex='0']")) == 1


def test_browser_pointer_previews_a_word(page: Any) -> None:
    from selenium.webdriver import ActionChains

    explain(page, TEXT)
    tokens(page, "#target")[0].click()
    ActionChains(page).move_to_element(tokens(page)[3]).perform()
    assert texts(page, "#translation .chosen") == ["1"]
    ActionChains(page).move_to_element(find(page, "h1")[0]).perform()
    assert texts(page, "#translation .chosen") == ["4"]


def test_browser_map_shows_attention(page: Any, url: str) -> None:
    explain(page, TEXT)
    explanation = post(url, "v1/explain", q=TEXT, translation="4 3 2 1", **PAIR)
    assert texts(page, "#grid tbody th") == ["4", "3", "2", "1", "</s>"]
    assert texts(page, "#grid thead th") == ["1", "2", "3", "4", "</s>"]
    weights = [weight for row in explanation["word_weights"] for weight in row]
    shown = [
        0 if w <= 0.004 else o
        for w, o in zip(weights, opacities(page, "#grid tbody td"), strict=True)
    ]
    assert shown == pytest.approx([w if w > 0.004 else 0 for w in weights], abs=0.008)
    find(page, "#grid tbody th")[1].click()
    assert texts(page, "#translation .chosen") == ["3"]
    find(page, "#grid thead th")[0].click()
    assert texts(page, "#mirror .chosen") == ["1"]
    find(page, "#merge")[0].click()
    pieces = explanation["target"]["pieces"]
    assert texts(page, "#grid tbody th") == pieces


@pytest.mark.parametrize(("target", "layers", "heads"), [("de", 2, 2), ("nl", 1, 1)])
def test_browser_map_of_other_architectures(
    page: Any, url: str, target: str, layers: int, heads: int
) -> None:
    select_option(page, "to", target)
    explain(page, TEXT)
    text = page.execute_script("return translatedText()")
    explanation = post(url, "v1/explain", q=TEXT, translation=text, source="en", target=target)
    assert [len(explanation["weights"]), len(explanation["weights"][0])] == [layers, heads]
    assert find(page, "#layer")[0].is_displayed() == (layers > 1)
    assert find(page, "#head")[0].is_displayed() == (heads > 1)
    find(page, "#merge")[0].click()
    for layer in range(layers):
        for head in range(heads):
            if layers > 1:
                select_option(page, "layer", layer)
                select_option(page, "head", head)
            weights = [w for row in explanation["weights"][layer][head] for w in row]
            shown = page.execute_script(
                "return [...document.querySelectorAll('#grid tbody td')].map(cell =>"
                "Number(cell.title.split(': ').at(-1)))"
            )
            assert shown == pytest.approx(weights, abs=0.0006)


def test_browser_links_words_of_rare_characters(page: Any) -> None:
    matrix = page.execute_script(
        "return linkMatrix('\U0001f600 a', 'b \U0001f600\U0001f600 c', "
        "[[[0, 1], [2, 4]], [[2, 3], [5, 6]]])"
    )
    assert matrix == [[0, 0], [1, 0], [0, 1]]


def test_browser_says_that_a_model_has_no_attention(page: Any) -> None:
    select_option(page, "to", "cs")
    assert translate(page, TEXT) == "4 3 2 1"
    wait_for_text(page, "#attention-note", "This model has no attention")
    assert not find(page, "#explanation")[0].is_displayed()
    tokens(page)[0].click()
    assert text_of(page, "#translation .chosen") == "4"


def test_browser_says_that_a_model_has_no_glossary(page: Any) -> None:
    write(page, "2 = 7", "#glossary")
    select_option(page, "to", "cs")
    assert translate(page, TEXT) == "4 3 2 1"
    assert text_of(page, "#glossary-note").endswith("CTranslate2, which has no glossary.")
    assert not find(page, "#glossary")[0].is_enabled()
    select_option(page, "to", "fr")
    assert "7" in translate(page, TEXT)
    assert text_of(page, "#glossary-note") == ""
    assert find(page, "#glossary")[0].is_enabled()


def test_browser_translates_through_a_pivot_language(browser: Any) -> None:
    models = [load_model(FROZEN_V1, "en", "fr"), load_model(FROZEN_V1, "fr", "de")]
    service = Service(LanguageRoutes(models, pivot=True), ServiceLimits())
    with run_app(build_app(service, (), print)) as address:
        browser.get(address)
        select_option(browser, "to", "de")
        assert translate(browser, TEXT) == TEXT
        wait_for_text(browser, "#attention-note", "The translation goes through French,")
        tokens(browser)[2].click()
        assert opacities(browser, "#source .token") == expected_opacities([0, 0, 1, 0])


def test_browser_steps_forward_and_back(page: Any, url: str) -> None:
    explain(page, TEXT)
    explanation = post(url, "v1/explain", q=TEXT, translation="4 3 2 1", **PAIR)
    select_option(page, "view", "steps")
    pieces = explanation["target"]["pieces"]
    find(page, "#stepview .scroll")[0].click()
    for step, piece in enumerate(pieces):
        assert text_of(page, "#where").startswith(f"step {step + 1} of {len(pieces)}: {piece}")
        for field in ("scores", "softmax"):
            cells = texts(page, "#steps tbody td")
            assert all(f"{value:.3f}" in cells for value in explanation[field][0][0][step])
        details = text_of(page, "#next")
        assert f"context vector {explanation['context_norms'][0][step]:.3f}" in details
        assert all(f"{word}  {p:.3f}" in details for word, p in explanation["top"][step])
        word = explanation["target"]["word_of"][step]
        chosen = texts(page, "#translation .chosen")
        assert chosen == ([f"{4 - word}"] if word < 4 else [])
        if step + 1 < len(pieces):
            page.switch_to.active_element.send_keys(RIGHT)
    assert not find(page, "#forward")[0].is_enabled()
    page.switch_to.active_element.send_keys(LEFT)
    find(page, "#back")[0].click()
    assert text_of(page, "#where").startswith(f"step {len(pieces) - 2} of")
    tokens(page)[0].click()
    assert text_of(page, "#where").startswith("step 1 of")


def test_browser_alternative_replaces_the_rest(page: Any, url: str) -> None:
    explain(page, "1 2 3 4\n5 6 7")
    tokens(page)[1].send_keys(ENTER)
    items = wait_for(page, lambda: find(page, "#alternatives button"))
    answer = post(url, "v1/translate", q=TEXT, prefix="4", nbest=5, **PAIR)
    nbest = [t["text"].split() for t in answer["translations"][0]["nbest"]]
    expected = dict.fromkeys(words[1] for words in nbest if words[0] == "4" and words[1] != "3")
    assert texts(page, "#alternatives strong")[: len(expected)] == list(expected)
    assert items[0] == page.switch_to.active_element
    items[0].send_keys(UP)
    assert items[-1] == page.switch_to.active_element
    items[-1].send_keys(DOWN, ENTER)
    best = next(words for words in nbest if words[1] == next(iter(expected)))
    assert target_words(page) == [*best, "7", "6", "5"]
    assert not find(page, "#alternatives")[0].is_displayed()
    assert texts(page, ":focus") == [best[1]]
    translate(page, "1 2 3 4\n5 6 7\n8")
    assert target_words(page)[: len(best)] == best


def test_browser_escape_closes_alternatives(page: Any) -> None:
    explain(page, TEXT)
    tokens(page)[0].click()
    wait_for(page, lambda: find(page, "#alternatives button"))
    page.switch_to.active_element.send_keys(ESCAPE)
    assert not find(page, "#alternatives")[0].is_displayed()
    assert page.switch_to.active_element == tokens(page)[0]


def test_browser_swaps_languages_and_text(page: Any) -> None:
    translate(page, TEXT)
    find(page, "#swap")[0].click()
    wait_for_text(page, "#status", "Translated from French.")
    assert find(page, "#text")[0].get_attribute("value") == "4 3 2 1"
    assert text_of(page, "#translation") == TEXT
    languages = [find(page, f"#{name}")[0].get_attribute("value") for name in ("from", "to")]
    assert languages == ["fr", "en"]
    assert [find(page, s)[0].get_attribute("lang") for s in ("#text", "#translation")] == languages
    select_option(page, "from", "en")
    select_option(page, "to", "de")
    assert not find(page, "#swap")[0].is_enabled()


def test_browser_lists_languages_by_name(page: Any) -> None:
    sources = ["Detect language", "English", "French"]
    assert texts(page, "#from option") == sources
    assert texts(page, "#to option") == ["Czech", "Dutch", "French", "German"]
    select_option(page, "from", "fr")
    assert texts(page, "#to option") == ["English"]
    select_option(page, "from", "auto")
    select_option(page, "to", "fr")
    translate(page, TEXT)
    assert texts(page, "#from option")[0] == "Detected: English"


def test_browser_copies_the_translation(page: Any) -> None:
    translate(page, "1 2 3\n\n4 5")
    find(page, "#copy")[0].click()
    wait_for_text(page, "#copy", "Copied")
    glossary = find(page, "#glossary")[0]
    find(page, "#terms summary")[0].click()
    glossary.send_keys("\ue009v")  # Ctrl+V
    assert glossary.get_attribute("value") == "3 2 1\n\n5 4"


def test_browser_applies_the_glossary(page: Any) -> None:
    translate(page, TEXT)
    find(page, "#terms summary")[0].click()
    find(page, "#glossary")[0].send_keys("2 = 7")
    wait_for(page, lambda: is_translated(page) and "7" in text_of(page, "#translation"))
    write(page, "2 = 7\n3", "#glossary")
    wait_for_text(page, "#glossary-note", "Line 2: expected source = target, got 3")
    write(page, "2 = 7\n2 = 8", "#glossary")
    wait_for_text(page, "#glossary-note", "Line 2: 2 has two translations")
    write(page, "", "#glossary")
    wait_for(page, lambda: is_translated(page) and text_of(page, "#translation") == "4 3 2 1")
    assert text_of(page, "#glossary-note") == ""


def download(page: Any) -> str:
    """Return the translated file that the page offers."""
    link = wait_for(page, lambda: find(page, "#file-status a"))[0]
    with urllib.request.urlopen(link.get_attribute("href")) as response:
        assert response.headers["Content-Disposition"].endswith("numbers_fr.txt")
        return str(response.read().decode())


def test_browser_translates_dropped_and_opened_files(page: Any, tmp_path: Path) -> None:
    file = tmp_path / "numbers.txt"
    file.write_text("1 2 3\n\n4 5\n")
    find(page, "#file")[0].send_keys(str(file))
    assert download(page) == "3 2 1\n\n5 4\n"
    drop = (
        "const transfer = new DataTransfer();"
        "transfer.items.add(new File([arguments[0]], arguments[1]));"
        "for (const name of ['dragover', 'drop']) document.querySelector('#text').dispatchEvent("
        "new DragEvent(name, { dataTransfer: transfer, bubbles: true, cancelable: true }))"
    )
    select_option(page, "from", "auto")
    page.execute_script(drop, "7 8\n", "numbers.txt")
    wait_for(page, lambda: not find(page, "#file-status a"))
    assert download(page) == "8 7\n"


def test_browser_shows_why_a_file_is_refused(page: Any, tmp_path: Path) -> None:
    file = tmp_path / "numbers.bin"
    file.write_bytes(b"1 2")
    find(page, "#file")[0].send_keys(str(file))
    wait_for_text(page, "#file-status", "numbers.bin: file: expected a name in .txt")
    take_errors(page, "400")


def take_errors(browser: Any, *statuses: str) -> None:
    """Remove the messages of the browser about answers with these statuses, which must exist."""
    messages = [entry["message"] for entry in browser.get_log("browser")]
    assert messages
    assert all(any(status in message for status in statuses) for message in messages), messages


def test_browser_refuses_a_long_text(page: Any, log: list[str]) -> None:
    translate(page, TEXT)
    begin = len(log)
    write(page, "1 " * 1001)
    wait_for_text(page, "#status", "The text is too long: 2,002 characters, the limit is 2,000.")
    assert text_of(page, "#length") == "2,002 / 2,000"
    assert [line for line in log[begin:] if "/v1/translate" in line] == []
    assert translate(page, "1 2") == "2 1"


def test_browser_divides_a_long_text(page: Any) -> None:
    sentences = [str(number) * 300 for number in range(40)]
    chunks = page.execute_script("return divide(arguments[0])", sentences)
    assert [text for chunk in chunks for text in chunk] == sentences
    assert len(chunks) > 2
    assert max(sum(map(len, chunk)) for chunk in chunks) <= 4000


def test_browser_ignores_the_answer_to_an_older_text(page: Any) -> None:
    page.execute_script(
        """
        const original = window.fetch;
        window.fetch = async (path, options) => {
          const answer = await original(path, { ...options, signal: undefined });
          const isOld = options.body.includes("1 2 3");
          if (isOld) await new Promise(resolve => { window.release = resolve; });
          return answer;
        };
        """
    )
    write(page, "1 2 3")
    wait_for(page, lambda: page.execute_script("return Boolean(window.release)"))
    assert translate(page, "4 5 6") == "6 5 4"
    page.execute_async_script("window.release(); setTimeout(arguments[0], 100)")
    assert text_of(page, "#translation") == "6 5 4"
    assert text_of(page, "#status") == "Translated from English."


def test_browser_waits_for_a_stopped_server(browser: Any, model: ServedModel) -> None:
    service = Service(LanguageRoutes([model]), ServiceLimits())
    with run_app(build_app(service, (), print)) as address:
        browser.get(address)
        assert translate(browser, "1 2") == "2 1"
    write(browser, "3 4")
    wait_for_text(browser, "#status", "The server does not answer. Next try in ")
    assert "error" in find(browser, "#status")[0].get_attribute("class")
    assert text_of(browser, "#translation") == "2 1"
    take_errors(browser, "ERR_CONNECTION")


def test_browser_asks_for_an_api_key(browser: Any, model: ServedModel) -> None:
    keys = ApiKeys({"test": hashlib.sha256(b"secret").hexdigest()})
    service = Service(LanguageRoutes([model]), ServiceLimits(), keys)
    with run_app(build_app(service, (), print)) as address:
        browser.get(address)
        assert text_of(browser, "#key-note") == "This server needs an API key."
        field = find(browser, "#key")[0]
        field.send_keys("wrong", ENTER)
        write(browser, "1 2")
        wait_for_text(browser, "#key-note", "The server refused this key.")
        wait_for_text(browser, "#status", "The translation needs an API key.")
        field.clear()
        field.send_keys("secret", ENTER)
        wait_for_text(browser, "#translation", "2 1")
        assert not find(browser, "#key-form")[0].is_displayed()
        browser.refresh()
        assert not find(browser, "#key-form")[0].is_displayed()
        assert translate(browser, "3 4") == "4 3"
        take_errors(browser, "403")


def exhaust_limit(url: str) -> None:
    """Send requests until the server refuses one."""
    with pytest.raises(urllib.error.HTTPError, match="429"):
        [post(url, "suggest") for _ in count()]


def test_browser_repeats_a_request_after_the_limit(browser: Any, model: ServedModel) -> None:
    service = Service(LanguageRoutes([model]), ServiceLimits(rate_limit=60))
    with run_app(build_app(service, (), print)) as address:
        browser.get(address)
        exhaust_limit(address)
        write(browser, "1 2")
        wait_for_text(browser, "#status", "Too many requests. Next try in 1 s.")
        wait_for_text(browser, "#translation", "2 1")
        take_errors(browser, "429")


def answer_with(browser: Any, translation: str) -> None:
    """Let the page receive another translation than the model's."""
    browser.execute_script(
        """
        const original = window.fetch, translation = arguments[0];
        window.fetch = async (path, options) => {
          if (path !== "v1/translate") return original(path, options);
          const line = { text: translation, alignment: [] };
          const translations = JSON.parse(options.body).q.map(() => line);
          return new Response(JSON.stringify({ translations }));
        };
        """,
        translation,
    )


def test_browser_shows_markup_as_text(page: Any) -> None:
    answer_with(page, f"1 {HOSTILE} 2")
    assert translate(page, f"{HOSTILE} 1") == f"1 {HOSTILE} 2"
    assert target_words(page)[1] == "<img"
    tokens(page)[1].click()
    write(page, f"{HOSTILE} = {HOSTILE}\n1 = {HOSTILE}", "#glossary")
    wait_for_text(page, "#glossary-note", HOSTILE)
    assert find(page, "#translator img, #attention img") == []
    assert page.execute_script("return window.isAttacked") is None


def test_browser_says_that_a_word_has_no_alternative(page: Any) -> None:
    answer_with(page, "1 2")
    translate(page, TEXT)
    tokens(page)[1].click()
    wait_for_text(page, "#alternatives", "The model proposes no other word here.")


def test_browser_shows_the_status_of_an_answer_without_json(page: Any) -> None:
    page.execute_script("window.fetch = async () => new Response('<p>', { status: 502 })")
    write(page, TEXT)
    wait_for_text(page, "#status", "The server answered with status 502.")


def test_browser_respects_text_direction(page: Any) -> None:
    answer_with(page, "הכלב ישן")
    translate(page, "الكلب ينام\n1 2")
    assert find(page, "#text")[0].value_of_css_property("direction") == "rtl"
    assert find(page, "#mirror")[0].value_of_css_property("direction") == "rtl"
    for box in ("#translation", "#target"):
        first, second = tokens(page, box)[:2]
        assert first.location["x"] > second.location["x"]
    page.execute_script("document.querySelector('#translation .token').focus()")
    page.switch_to.active_element.send_keys(LEFT)
    assert texts(page, ":focus") == ["ישן"]
    marks = find(page, "#mirror span")
    assert [mark.text for mark in marks] == ["الكلب", "ينام"]
    assert marks[0].location["x"] > marks[1].location["x"]


def show_at(browser: Any, width: int, scheme: str) -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


@pytest.fixture
def sized_page(page: Any) -> Iterator[Any]:
    """Return the page with an explanation; restore the window afterwards."""
    explain(page, f"{TEXT}\n1 2 3 4 5 6 7 8 9 1 2 3\n{'1' * 100}")
    yield page
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


@pytest.mark.parametrize("view", ["grid", "steps"])
def test_browser_page_fits_every_width(sized_page: Any, view: str) -> None:
    select_option(sized_page, "view", view)
    tokens(sized_page)[5].click()
    wait_for(sized_page, lambda: len(find(sized_page, "#grid thead th")) == 13)
    wait_for(sized_page, lambda: find(sized_page, "#alternatives [role=menuitem]"))
    for width in (360, 768, 1440):
        show_at(sized_page, width, "light")
        assert sized_page.execute_script("return document.documentElement.scrollWidth") <= width
        boxes = [find(sized_page, f".panel:nth-child({n})")[0].rect for n in (1, 2)]
        assert (boxes[0]["x"] == boxes[1]["x"]) == (width == 360)
        sizes = [find(sized_page, s)[0].rect for s in ("#text", "#mirror")]
        assert sizes[0] == sizes[1]  # so that the highlights lie behind their words


def brightness(browser: Any, selector: str, name: str) -> float:
    colour = find(browser, selector)[0].value_of_css_property(name)
    return sum(float(part) for part in colour[colour.index("(") + 1 : -1].split(",")[:3]) / 3


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_browser_page_follows_color_scheme(sized_page: Any, scheme: str) -> None:
    show_at(sized_page, 1280, scheme)
    paper = brightness(sized_page, ".card", "background-color")
    assert (paper > 128) == (scheme == "light")
    for selector in ("#text", "#translation .token", "#to", "#copy", "#grid tbody th"):
        ink = brightness(sized_page, selector, "color")
        assert (ink < paper) == (scheme == "light")


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (360, "dark")])
def test_browser_page_is_accessible(sized_page: Any, width: int, scheme: str) -> None:
    axe = pytest.importorskip("selenium_axe_python", reason="needs selenium-axe-python")
    show_at(sized_page, width, scheme)
    find(sized_page, "#terms summary")[0].click()
    sized_page.execute_script((Path(axe.__file__).parent / "axe-core/axe.min.js").read_text())
    states: list[Callable[[], object]] = [
        lambda: None,
        lambda: tokens(sized_page)[1].click(),
        lambda: wait_for(sized_page, lambda: find(sized_page, "#alternatives button")),
        lambda: (
            tokens(sized_page, "#source")[0].click(),
            select_option(sized_page, "view", "steps"),
        ),
    ]
    for change in states:
        change()
        opacities(sized_page, "body")  # finishes transitions
        result = sized_page.execute_async_script(
            "axe.run({ resultTypes: ['violations'], preload: false })"
            ".then(arguments[0], error => arguments[0]({ error: String(error) }))"
        )
        assert "error" not in result, result
        assert len(result["passes"]) > 20
        faults = [
            (fault["id"], node["html"], node.get("failureSummary"))
            for fault in result["violations"]
            if fault["impact"] in ("serious", "critical")
            for node in fault["nodes"]
        ]
        assert faults == []
