"""Language pairs of models, pivot languages, markup, and both engines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from starlette.testclient import TestClient

from nmt.config.loader import load_config
from nmt.serving.translation.language_pairs import (
    LanguagePair,
    language_name,
    match_code,
    model_language_pairs,
    standard_code,
)
from nmt.serving.translation.loading import ModelOptions
from nmt.serving.translation.routes import LanguageRoutes, UnsupportedLanguageError
from nmt.serving.translation.served_model import ServedModel
from tests.support.command_line import assert_success, nmt, translate_lines
from tests.support.kept_model import KeptModel, load_in_threads
from tests.support.paths import FROZEN_V1
from tests.support.serving import LANGUAGES, error_of
from tests.support.tiny_runs import make_exportable

MakeClient = Callable[..., TestClient]


@pytest.fixture(scope="module")
def multilingual_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a tiny model from English to French and German, and its CTranslate2 export."""
    tiny = make_exportable(tmp_path_factory.mktemp("multilingual"))
    files = {name: {"src": f"{name}.in", "tgt": f"{name}.out"} for name in ("train", "valid")}
    sets = [{**files["train"], "tags": {"tgt_lang": language}} for language in ("fr", "de")]
    valid = {**files["valid"], "tags": {"tgt_lang": "fr"}}
    config = yaml.safe_load(tiny.config.read_text())
    config["data"] |= {"src": "en", "tgt": "fr", "train": sets, "valid": valid}
    tiny.config.write_text(yaml.safe_dump(config))
    assert_success(tiny.train())
    export = ["export", tiny.run, "--to", "ctranslate2", "--set", "decode.tags.tgt_lang=fr"]
    assert_success(nmt(*export))
    return tiny.run


@pytest.fixture(scope="module", params=["nmt", "ctranslate2"])
def multilingual(multilingual_run: Path, request: pytest.FixtureRequest) -> ServedModel:
    if request.param == "ctranslate2":
        pytest.importorskip("ctranslate2", reason="needs nmt[export]")
    overrides = ("decode.length_norm=average", "decode.stop=exact")
    options = ModelOptions(request.param, "cpu", overrides, 0.001)
    return load_in_threads(multilingual_run, options, KeptModel)


def test_multilingual_model_serves_all_its_pairs(
    multilingual: ServedModel, multilingual_run: Path, make_client: MakeClient, strings: list[str]
) -> None:
    routes = LanguageRoutes([multilingual])
    assert routes.targets == {"en": ["fr", "de"], "fr": [], "de": []}
    client = make_client(routes=routes)
    settings = ["--set", "decode.length_norm=average", "--set", "decode.stop=exact"]
    answers = []
    for target in ("fr", "de"):
        parameters = {"q": strings[:8], "source": "en", "target": target}
        answers.append(client.post("/translate", json=parameters).json()["translatedText"])
        flags = ["--to", target, "--device", "cpu", *settings]
        assert answers[-1] == translate_lines(multilingual_run, strings[:8], *flags)
    assert answers[0] != answers[1], "the tag has no effect"


def test_ctranslate2_server_refuses_constraints(
    multilingual: ServedModel, make_client: MakeClient
) -> None:
    client = make_client(routes=LanguageRoutes([multilingual]))
    parameters = {"q": "1 2", "source": "en", "target": "fr", "prefix": "3"}
    response = client.post("/v1/translate", json=parameters)
    explanation = client.post("/v1/explain", json=parameters)
    if multilingual.supports_constraints:
        assert response.status_code == explanation.status_code == 200
    else:
        message = "prefix: expected nothing with --engine ctranslate2, got '3'"
        assert error_of(response, 400) == message
        assert "expected a model with attention" in error_of(explanation, 400)


@pytest.fixture(scope="module")
def second_model() -> ServedModel:
    """Return the model that reverses digits, from French to German."""
    options = ModelOptions(device="cpu", overrides=("data.src=fr", "data.tgt=de"), batch_wait=0)
    return load_in_threads(FROZEN_V1, options, KeptModel)


def test_pivot_translates_and_aligns_twice(
    model: ServedModel, second_model: ServedModel, make_client: MakeClient
) -> None:
    routes = LanguageRoutes([model, second_model], pivot=True)
    assert routes.targets["en"] == ["fr", "de"]
    parameters = {"q": "1 2 3", "source": "en", "target": "de", "alignment": True}
    client = make_client(routes=routes)
    [line] = client.post("/v1/translate", json=parameters).json()["translations"]
    assert line["text"] == "1 2 3", "two reversals give the same line"
    links = {(tuple(source), tuple(target)) for source, target in line["alignment"]}
    assert links == {((i, i + 1), (i, i + 1)) for i in (0, 2, 4)}
    message = "target: expected a direct translation, got one through fr"
    assert error_of(client.post("/v1/explain", json=parameters), 400) == message


def test_pivot_is_off_by_default(model: ServedModel, second_model: ServedModel) -> None:
    routes = LanguageRoutes([model, second_model])
    assert routes.targets == {"en": ["fr"], "fr": ["de"], "de": []}
    with pytest.raises(UnsupportedLanguageError, match="target: expected one of fr, got 'de'"):
        routes.find("en", "de")


def test_first_model_serves_a_pair_of_several(model: ServedModel) -> None:
    other = ServedModel.__new__(ServedModel)
    other.pairs = dict(model.pairs)
    assert LanguageRoutes([model, other]).find("en", "fr").legs[0].model is model
    assert LanguageRoutes([other, model]).find("en", "fr").legs[0].model is other


def test_translate_html_keeps_markup(client: TestClient) -> None:
    first, second = translate_lines(FROZEN_V1, ["x 1 2", "y 3"], *LANGUAGES, "--device", "cpu")
    html = '<p class="a">x 1 2</p><!-- c --><p translate="no">x 1 2</p>\n<li>y 3</li>'
    expected = f'<p class="a">{first}</p><!-- c --><p translate="no">x 1 2</p>\n<li>{second}</li>'
    parameters = {"q": html, "source": "en", "target": "fr", "format": "html"}
    answer = client.post("/translate", json=parameters).json()
    assert answer["translatedText"] == expected
    parameters["q"] = '<p>x <a href="/?a&amp;b">1</a> 2 <b>3</b></p>'
    text = client.post("/translate", json=parameters).json()["translatedText"]
    for tag in ("<p>", '<a href="/?a&amp;b">', "</a>", "<b>", "</b>", "</p>"):
        assert text.count(tag) == 1


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.html", "<p>{}</p>"),
        ("A.HTM", "<title>{}</title>"),
        ("a.md", "# {}\n"),
        ("a.srt", "1\n00:00:01,000 --> 00:00:02,000\n{}\n"),
        ("a.txt", "{}\n"),
    ],
)
def test_translate_file_keeps_its_format(client: TestClient, name: str, content: str) -> None:
    [expected] = translate_lines(FROZEN_V1, ["x 1 2"], *LANGUAGES, "--device", "cpu")
    files = {"file": (name, content.format("x 1 2").encode())}
    languages = {"source": "en", "target": "fr"}
    answer = client.post("/translate_file", data=languages, files=files).json()
    text = client.get(answer["translatedFileUrl"]).content.decode()
    assert text == content.format(expected)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("{src: en, tgt: fr, train: [a]}", ["en-fr"]),
        ("{src: de_DE, tgt: iw, train: [a]}", ["de-DE-he"]),
        (
            "{src: en, tgt: x, train: [{prefix: a, tags: {tgt_lang: fr}}, "
            "{prefix: b, tags: {tgt_lang: de}}]}",
            ["en-fr", "en-de"],
        ),
        (
            "{src: en, tgt: x, train: [{prefix: a, tags: {src_lang: en, tgt_lang: fr}}, "
            "{prefix: b, tags: {src_lang: fr, tgt_lang: en, domain: news}}]}",
            ["en-fr", "fr-en"],
        ),
        (
            "{src: en, tgt: x, train: [{prefix: a, tags: {tgt_lang: fr}}], "
            "tags: [src_lang=en, src_lang=de, tgt_lang=en, tgt_lang=de]}",
            ["en-fr", "en-de", "de-en"],
        ),
    ],
)
def test_language_pairs_come_from_codes_and_tags(
    data: str, expected: list[str], tmp_path: Path
) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(f"data: {data[:-1]}, valid: 5}}")
    pairs = model_language_pairs(load_config(file))
    assert list(map(str, pairs)) == expected
    assert all(set(tags) <= {"src_lang", "tgt_lang"} for tags in pairs.values())


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("en", "English"),
        ("pt-BR", "Portuguese (Brazil)"),
        ("zh-Hans", "Chinese (Simplified)"),
        ("ceb", "Cebuano"),
        ("x_y!", "x_y!"),
        ("out", "out"),
    ],
)
def test_language_name_is_english_or_the_code(code: str, name: str) -> None:
    assert language_name(code) == name


@pytest.mark.parametrize(
    ("code", "codes", "expected"),
    [
        ("en", ["de", "en"], "en"),
        ("EN_us", ["de", "en"], "en"),
        ("nb", ["no"], "no"),
        ("pt-BR", ["pt"], "pt"),
        ("zh-TW", ["zh-Hans"], None),
        ("zh-TW", ["zh-Hans", "zh-Hant"], "zh-Hant"),
        ("nl", ["af"], None),
        ("da", ["no"], None),
        ("x_y!", ["en", "x_y!"], "x_y!"),
        ("x_y!", ["en"], None),
        ("", ["en"], None),
        ("eng_Latn", ["de", "en"], "en"),
        ("tw", ["ak-Latn", "tw-Latn"], "tw-Latn"),
    ],
)
def test_match_code_accepts_equivalent_codes_only(
    code: str, codes: list[str], expected: str | None
) -> None:
    assert match_code(standard_code(code), codes) == expected


def test_language_pair_prints_both_codes() -> None:
    assert str(LanguagePair("en", "fr")) == "en-fr"
