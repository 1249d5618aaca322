"""The LibreTranslate API: parameters in all their forms, answers and errors."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import pytest
from starlette.testclient import TestClient

from nmt.serving.translation.served_model import ServedModel
from tests.support.serving import error_of

PAIR = {"source": "en", "target": "fr"}


def test_translate_json_equals_offline_translation(
    client: TestClient, strings: list[str], translations: list[str]
) -> None:
    response = client.post("/translate", json={"q": strings, **PAIR})
    assert response.status_code == 200
    assert response.json() == {"translatedText": translations}


@pytest.mark.parametrize(
    "request_options",
    [
        {"json": {"q": "1 2 3", **PAIR}},
        {"data": {"q": "1 2 3", **PAIR}},
        {"params": {"q": "1 2 3", **PAIR}},
        {"files": {name: (None, value) for name, value in {"q": "1 2 3", **PAIR}.items()}},
        {"content": json.dumps({"q": "1 2 3", **PAIR, "alternatives": None, "api_key": None})},
        {"data": {"q": "1 2 3", **PAIR, "format": "text", "alternatives": "0", "api_key": ""}},
    ],
    ids=["json", "form", "query", "multipart", "json-without-type", "form-with-defaults"],
)
def test_translate_any_encoding_gives_one_text(
    client: TestClient, request_options: dict[str, Any]
) -> None:
    response = client.post("/translate", **request_options)
    assert response.json() == {"translatedText": "3 2 1"}


def test_translate_repeated_fields_give_a_list(client: TestClient) -> None:
    body = urlencode([("q", "1 2 3"), ("q", "4 5 6"), *PAIR.items()])
    headers = {"content-type": "application/x-www-form-urlencoded"}
    response = client.post("/translate", content=body, headers=headers)
    assert response.json() == {"translatedText": ["3 2 1", "6 5 4"]}
    response = client.post("/translate", json={"q": ["1 2 3"], **PAIR})
    assert response.json() == {"translatedText": ["3 2 1"]}


def test_translate_get_answers_the_omegat_plugins(client: TestClient) -> None:
    response = client.get("/translate", params={"text": "1 2 3", **PAIR})
    assert response.json() == {"translation": "3 2 1"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        (" \n\t\n", " \n\t\n"),
        ("  1 2 3  ", "  3 2 1  "),
        ("1 2 3\r\n\r\n\t4 5 6\n", "3 2 1\r\n\r\n\t6 5 4\n"),
        ("\n\n1 2 3\n   \n\n4 5 6\u2028", "\n\n3 2 1\n   \n\n6 5 4\u2028"),
    ],
)
def test_translate_text_keeps_its_shape(client: TestClient, text: str, expected: str) -> None:
    response = client.post("/translate", json={"q": text, **PAIR})
    assert response.json() == {"translatedText": expected}


def test_translate_alternatives_are_the_next_hypotheses(
    client: TestClient, model: ServedModel
) -> None:
    parameters = {"q": ["1 2 3", "4 5\n6"], **PAIR, "alternatives": 2}
    answer = client.post("/translate", json=parameters).json()
    assert [len(texts) for texts in answer["alternatives"]] == [2, 2]
    nbest = client.post("/v1/translate", json={"q": "1 2 3", **PAIR, "nbest": 3}).json()
    texts = [translation["text"] for translation in nbest["translations"][0]["nbest"]]
    assert [answer["translatedText"][0], *answer["alternatives"][0]] == texts
    assert all(text.count("\n") == 1 for text in answer["alternatives"][1])
    many = client.post("/translate", json={"q": "1 2 3", **PAIR, "alternatives": 99}).json()
    assert len(many["alternatives"]) <= model.max_nbest - 1


def test_translate_auto_returns_the_detected_language(client: TestClient) -> None:
    text = "The weather is nice today, and we are going to the beach."
    answer = client.post("/translate", json={"q": text, "source": "auto", "target": "fr"}).json()
    assert answer["detectedLanguage"]["language"] == "en"
    assert 50 < answer["detectedLanguage"]["confidence"] <= 100
    parameters = {"q": [text, text], "source": "auto", "target": "fr"}
    answer = client.post("/translate", json=parameters).json()
    assert [entry["language"] for entry in answer["detectedLanguage"]] == ["en", "en"]
    assert "detectedLanguage" not in client.post("/translate", json={"q": text, **PAIR}).json()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({}, "q: expected text or a list, got nothing"),
        ({"q": 5, **PAIR}, "q: expected text or a list, got 5"),
        ({"q": ["1", None], **PAIR}, 'q: expected text or a list, got ["1", null]'),
        ({"q": "1", "source": "en"}, "target: expected text, got nothing"),
        (
            {"q": "1", "source": "de", "target": "fr"},
            "source: expected one of en, got 'de' (did you mean 'en'?)",
        ),
        ({"q": "1", "source": "en", "target": "xx"}, "target: expected one of fr, got 'xx'"),
        ({"q": "1", "source": "auto", "target": "xx"}, "target: expected one of fr, got 'xx'"),
        ({"q": "1", **PAIR, "format": "pdf"}, "format: expected one of text, html, got 'pdf'"),
        (
            {"q": "1", **PAIR, "alternatives": -1},
            "alternatives: expected a whole number of at least 0, got -1",
        ),
    ],
)
def test_translate_invalid_parameters_give_400(
    client: TestClient, parameters: dict[str, Any], message: str
) -> None:
    assert error_of(client.post("/translate", json=parameters), 400) == message


@pytest.mark.parametrize(
    "body",
    [
        b"q=\xff&source=en&target=fr",
        b"q=%ff&source=en&target=fr",
        b'{"q": "\xff"}',
        b"{",
        b'{"q": ' + b"[" * 100_000,
        b"[1, 2]",
        b'{"a": ' + b"1" * 10_000 + b"}",
    ],
)
def test_translate_invalid_body_gives_400(client: TestClient, body: bytes) -> None:
    error_of(client.post("/translate", content=body), 400)
    assert client.get("/health").json() == {"status": "ok"}


def test_translate_unpaired_surrogate_is_replaced(client: TestClient) -> None:
    body = b'{"q": "1 \\ud800 2", "source": "en", "target": "fr"}'
    headers = {"content-type": "application/json"}
    response = client.post("/translate", content=body, headers=headers)
    assert response.status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "methods"),
    [
        ("PUT", "/translate", "GET, POST"),
        ("DELETE", "/languages", "GET"),
        ("GET", "/v1/split", "POST"),
        ("POST", "/download_file/a/b", "GET"),
        ("POST", "/", "GET"),
        ("POST", "/spec", "GET, HEAD"),
    ],
)
def test_api_wrong_method_gives_405_and_all_methods(
    client: TestClient, method: str, path: str, methods: str
) -> None:
    response = client.request(method, path)
    assert error_of(response, 405) == "Method Not Allowed"
    assert response.headers["Allow"] == methods


def test_api_unknown_path_gives_404(client: TestClient) -> None:
    error_of(client.get("/nothing"), 404)


def test_languages_lists_names_and_targets(client: TestClient) -> None:
    expected = [
        {"code": "en", "name": "English", "targets": ["fr"]},
        {"code": "fr", "name": "French", "targets": []},
    ]
    assert client.get("/languages").json() == expected
    assert client.request("GET", "/languages", data={"api_key": "x"}).json() == expected


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Bonjour tout le monde, comment allez-vous ?", "fr"),
        ("Guten Morgen, wie geht es Ihnen heute?", "de"),
    ],
)
def test_detect_returns_the_language(client: TestClient, text: str, code: str) -> None:
    best, *others = client.post("/detect", data={"q": text}).json()
    assert best["language"] == code
    confidences = [best["confidence"], *(other["confidence"] for other in others)]
    assert confidences == sorted(confidences, reverse=True)
    assert sum(confidences) <= 100.5


def test_frontend_settings_describe_the_server(client: TestClient) -> None:
    settings = client.get("/frontend/settings").json()
    assert settings["language"]["source"] == {"code": "en", "name": "English"}
    assert settings["language"]["target"] == {"code": "fr", "name": "French"}
    assert settings["apiKeys"] is settings["keyRequired"] is settings["suggestions"] is False
    assert settings["charLimit"] > 0
    assert ".txt" in settings["supportedFilesFormat"]


def test_spec_lists_all_endpoints(client: TestClient) -> None:
    paths = client.get("/spec").json()["paths"]
    assert {"/translate", "/detect", "/languages", "/translate_file", "/v1/explain"} <= set(paths)
    content = paths["/translate"]["post"]["requestBody"]["content"]
    assert {"q", "source", "target"} <= set(content["application/json"]["schema"]["properties"])
    for path in ("/translate", "/v1/explain"):
        error = paths[path]["post"]["responses"]["default"]["content"]["application/json"]
        assert error["schema"]["required"] == ["error"]
    names = {parameter["name"] for parameter in paths["/translate"]["get"]["parameters"]}
    assert {"text", "source", "target"} <= names


def test_translate_file_url_returns_the_translation(client: TestClient) -> None:
    files = {"file": ("Brief an €.txt", "\ufeff1 2 3\n\n4 5 6\n".encode())}
    answer = client.post("/translate_file", data=PAIR, files=files).json()
    response = client.get(answer["translatedFileUrl"])
    assert response.content == b"3 2 1\n\n6 5 4\n"
    assert response.headers["content-disposition"].startswith("attachment")
    assert answer["translatedFileUrl"].endswith("_fr.txt")
    error_of(client.get("/download_file/unknown/a.txt"), 404)


def test_translate_file_detects_the_language(client: TestClient) -> None:
    parameters = {**PAIR, "source": "auto"}
    files = {"file": ("a.txt", b"1 2 3\n")}
    answer = client.post("/translate_file", data=parameters, files=files).json()
    assert client.get(answer["translatedFileUrl"]).content == b"3 2 1\n"
    unsupported = {**parameters, "target": "xx"}
    response = client.post("/translate_file", data=unsupported, files=files)
    assert error_of(response, 400).startswith("target: expected one of")


@pytest.mark.parametrize("separator", ["\u2028", "\f", "\x85", "\v"])
def test_translate_line_ends_at_a_line_feed_only(client: TestClient, separator: str) -> None:
    parameters = {"q": f"1 2{separator}3\r\n4 5", **PAIR}
    answer = client.post("/translate", json=parameters).json()
    first, second = answer["translatedText"].split("\r\n")
    assert separator not in first
    assert second == "5 4"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"file": ("a.pdf", b"1")}, "file: expected a name in .txt, .html, .htm, .md, .srt, got"),
        ({"file": ("a.txt", b"\xff")}, "file: expected UTF-8, got other bytes"),
        ({"other": ("a.txt", b"1")}, "file: expected a file in a multipart form, got none"),
    ],
)
def test_translate_file_invalid_file_gives_400(
    client: TestClient, files: dict[str, Any], message: str
) -> None:
    response = client.post("/translate_file", data=PAIR, files=files)
    assert error_of(response, 400).startswith(message)


def test_suggest_stores_nothing(client: TestClient) -> None:
    parameters = {"q": "1", "s": "2", **PAIR}
    assert client.post("/suggest", data=parameters).json() == {"success": False}
