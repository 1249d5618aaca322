"""Models whose target begins with a language code: NLLB serves all its language pairs."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from nmt.config.loader import load_config
from nmt.core.run_dir import RunDir
from nmt.decoding.loading import load_translator
from nmt.decoding.translator import Translator, TranslatorFeatures
from nmt.importing.importer import import_model
from nmt.serving.translation.job import Job
from nmt.serving.translation.language_pairs import LanguagePair
from nmt.serving.translation.loading import ModelOptions
from nmt.serving.translation.routes import LanguageRoutes
from nmt.serving.translation.served_model import ServedModel
from tests.support.command_line import assert_success, nmt, translate_lines
from tests.support.kept_model import KeptModel, load_in_threads
from tests.support.models.m2m100_folders import NLLB_CODES, write_nllb_folder
from tests.support.models.marian_folders import make_text
from tests.support.serving import error_of

pytest.importorskip("transformers", reason="needs transformers")

MakeClient = Callable[..., TestClient]
LINES = make_text(0)
STANDARD_CODES = {"deu_Latn": "de", "eng_Latn": "en", "fra_Latn": "fr", "zho_Hans": "zh-Hans"}
GREEDY = ("decode.beam_size=1", "decode.length_norm=average")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An imported NLLB model with four languages, and its CTranslate2 export."""
    folder = tmp_path_factory.mktemp("nllb")
    write_nllb_folder(folder / "nllb", LINES)
    import_model(folder / "nllb", folder / "run", ["data.src=en", "data.tgt=de"], [])
    return folder / "run"


def load_model(run: Path, *overrides: str, engine: str = "nmt") -> ServedModel:
    return load_in_threads(run, ModelOptions(engine, "cpu", overrides, 0.001), KeptModel)


@pytest.fixture(scope="module")
def nllb(run: Path) -> ServedModel:
    return load_model(run)


def offline(run: Path, source: str, target: str) -> Translator:
    """Return the translator of a pair as `nmt translate` loads it."""
    tags = [f"decode.tags.src_lang={source}", f"decode.tags.tgt_lang={target}"]
    return load_translator(RunDir(run), load_config(run / "config.yaml", tags), "cpu")


def in_parallel(
    client: TestClient, parameters: list[dict[str, Any]], path: str = "/translate"
) -> list[Any]:
    """Post all requests at the same time; return their answers in order."""
    with ThreadPoolExecutor(len(parameters)) as pool:
        return list(pool.map(lambda values: client.post(path, json=values).json(), parameters))


def test_parallel_requests_of_pairs_equal_nmt_translate(
    nllb: ServedModel, run: Path, make_client: MakeClient
) -> None:
    client = make_client(routes=LanguageRoutes([nllb]))
    pairs = list(permutations(NLLB_CODES, 2))
    requests = [
        {"q": LINES[i : i + 1 + i % 2], "source": source, "target": target}
        for i, (source, target) in enumerate(2 * pairs)
    ]
    answers = in_parallel(client, requests)
    texts = set()
    for source, target in pairs:
        expected = translate_lines(
            run, LINES[:40], "--to", target, "--set", f"decode.tags.src_lang={source}"
        )
        texts.add(expected[0])
        for i, request in enumerate(requests):
            if (request["source"], request["target"]) == (source, target):
                answer = answers[i]["translatedText"]
                assert answer == expected[i : i + 1 + i % 2]
    assert len(texts) > len(NLLB_CODES), "the tags have no effect"


def test_ctranslate2_serves_target_tags(run: Path, make_client: MakeClient) -> None:
    pytest.importorskip("ctranslate2", reason="needs nmt[export]")
    flags = [word for setting in GREEDY for word in ("--set", setting)]
    tags = ("--set", "decode.tags.src_lang=eng_Latn", "--set", "decode.tags.tgt_lang=deu_Latn")
    assert_success(nmt("export", run, "--to", "ctranslate2", *tags, *flags))
    model = load_model(run, *GREEDY, engine="ctranslate2")
    client = make_client(routes=LanguageRoutes([model]))
    requests = [
        {"q": LINES[:3], "source": "en", "target": target} for target in ("de", "fr", "zh") * 2
    ]
    answers = in_parallel(client, requests)
    for i, code in enumerate(("deu_Latn", "fra_Latn", "zho_Hans")):
        source = ("--set", "decode.tags.src_lang=eng_Latn", "--device", "cpu")
        expected = translate_lines(run, LINES[:3], "--to", code, *source, *flags)
        assert answers[i]["translatedText"] == answers[i + 3]["translatedText"] == expected


def test_languages_are_standard_codes_with_all_targets(
    nllb: ServedModel, make_client: MakeClient
) -> None:
    client = make_client(routes=LanguageRoutes([nllb]))
    languages = {entry["code"]: entry for entry in client.get("/languages").json()}
    assert sorted(languages) == sorted(STANDARD_CODES.values())
    for code, entry in languages.items():
        assert sorted(entry["targets"]) == sorted(set(languages) - {code})
    assert languages["zh-Hans"]["name"] == "Chinese (Simplified)"
    language = client.get("/frontend/settings").json()["language"]
    assert (language["source"]["code"], language["target"]["code"]) == ("en", "de")


@pytest.mark.parametrize("target", ["zh", "zh-CN", "zh_Hans", "zho", "zho_Hans"])
def test_standard_codes_find_those_of_the_model(nllb: ServedModel, target: str) -> None:
    route = LanguageRoutes([nllb]).find("eng_Latn", target)
    assert (route.source, route.target) == ("en", "zh-Hans")
    assert nllb.pairs[route.legs[0].pair] == {"src_lang": "eng_Latn", "tgt_lang": "zho_Hans"}


def test_unknown_language_names_those_of_the_model(
    nllb: ServedModel, make_client: MakeClient
) -> None:
    client = make_client(routes=LanguageRoutes([nllb]))
    answer = client.post("/translate", json={"q": "ab", "source": "en", "target": "zh-TW"})
    message = "target: expected one of de, fr, zh-Hans, got 'zh-TW'"
    assert error_of(answer, 400).startswith(message)


def test_detected_source_reaches_its_target(nllb: ServedModel) -> None:
    routes = LanguageRoutes([nllb])
    assert routes.detect_source("Wir haben gestern ein neues Haus gesehen.", "zho_Hans")[0] == "de"
    assert routes.detect_source("Wir haben gestern ein neues Haus gesehen.", "de")[0] != "de"


def test_v1_results_of_tagged_targets_equal_offline(
    nllb: ServedModel, run: Path, make_client: MakeClient
) -> None:
    client = make_client(routes=LanguageRoutes([nllb]))
    translator = offline(run, "eng_Latn", "fra_Latn")
    pair = {"source": "en", "target": "fr"}
    pairs = [(LINES[0], LINES[1]), (LINES[2], LINES[3])]
    scores = client.post("/v1/score", json={"pairs": pairs, **pair}).json()["scores"]
    assert [entry["score"] for entry in scores] == pytest.approx(translator.score(pairs), abs=1e-3)

    options = {"alignment": True, "confidence": True, "prefix": "ab"}
    answer = client.post("/v1/translate", json={"q": LINES[0], **pair, **options}).json()
    [line] = answer["translations"]
    assert line["text"].startswith("ab")
    for begin, end in (target for _, target in line["alignment"]):
        assert line["text"][begin:end] in line["text"].split()

    explanation = client.post("/v1/explain", json={"q": LINES[0], **pair}).json()
    [expected] = translator.translate(LINES[:1])
    assert explanation["target"]["text"] == expected
    assert explanation["target"]["pieces"][0] == "fra_Latn"
    assert explanation["source"]["pieces"][0] == "eng_Latn"


def test_confidence_of_tagged_targets_equals_offline(nllb: ServedModel, run: Path) -> None:
    features = TranslatorFeatures(estimate_confidence=True)
    pair = LanguagePair("fr", "zh-Hans")
    translator = offline(run, "fra_Latn", "zho_Hans")
    translator.features = features
    served = nllb.translate(pair, LINES[:3], Job(), features=features)
    for [best], [expected] in zip(served, translator.nbest(LINES[:3], 1), strict=True):
        assert best.text == expected.text
        assert best.confidence is not None
        assert expected.confidence is not None
        assert best.confidence.log_prob == pytest.approx(expected.confidence.log_prob, abs=1e-3)
