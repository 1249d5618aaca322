"""The web page without a browser, and the endpoint that splits its text into sentences."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from nmt.data.text.reader import read_lines
from tests.support.serving import error_of

PAIR = {"source": "en", "target": "fr"}


def test_page_has_no_external_url(client: TestClient) -> None:
    response = client.get("/")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert re.findall(r"[a-z]+://[^\s\"'`]*|@import|\bsrc=|url\(", response.text) == []
    assert re.findall(r'<link[^>]*href="([^"]*)"', response.text) == ["data:,"]


def test_page_script_uses_ids_of_the_page(client: TestClient) -> None:
    text = client.get("/").text
    ids = re.findall(r'\bid="([\w-]+)"', text)
    assert len(ids) == len(set(ids))
    used = set(re.findall(r'(?:\$|clear)\("([\w-]+)"\)', text))
    assert len(used) > 20
    assert used - set(ids) == set()
    assert set(re.findall(r'(?:for|aria-(?:labelledby|describedby))="([\w-]+)"', text)) <= set(ids)


def test_page_runs_only_elements_with_its_nonce(client: TestClient) -> None:
    responses = [client.get("/") for _ in range(2)]
    nonces = []
    for response in responses:
        policy = dict(
            part.split(" ", 1) for part in response.headers["content-security-policy"].split("; ")
        )
        [nonce] = set(re.findall(r'<(?:script|style) nonce="([^"]+)">', response.text))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == f"'nonce-{nonce}'"
        assert not re.search(r"<[^>]*\s(?:style|on[a-z]+)=", response.text)
        nonces.append(nonce)
    assert nonces[0] != nonces[1]


def test_page_never_inserts_text_as_markup(client: TestClient) -> None:
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacent|document\.write", client.get("/").text
    )


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", []),
        ("1 2", ["1 2"]),
        ("1\n2\n", ["1", "2"]),
        ("1\n\n", ["1", ""]),
        ("1\r\n2\r\n", ["1", "2"]),
        ("1\r2\x0b3\x0c4\x1c5", ["1\r2\x0b3\x0c4\x1c5"]),
        ("1\x852\u20283\u20294", ["1\x852\u20283\u20294"]),
    ],
)
def test_v1_split_lines_end_at_line_feeds_only(
    client: TestClient, tmp_path: Path, text: str, lines: list[str]
) -> None:
    """The lines are those that commands read from a file with this text."""
    answer = client.post("/v1/split", json={"q": text, **PAIR}).json()
    assert ["".join(line) for line in answer["lines"]] == lines
    (tmp_path / "text").write_bytes(text.encode())
    assert list(read_lines(tmp_path / "text")) == lines


def test_v1_split_sentences_equal_the_text(client: TestClient) -> None:
    text = " 1 2 3 \n\n4 5.\t6\n"
    answer = client.post("/v1/split", json={"q": text, **PAIR}).json()
    assert ["".join(line) for line in answer["lines"]] == text.split("\n")[:-1]
    assert len(answer["lines"][0]) == 1  # the model decides, which splits long lines only
    expected = {"pivot": None, "attention": True, "constraints": True, "max_nbest": 5}
    assert {name: answer[name] for name in expected} == expected


def test_v1_split_detects_the_language(client: TestClient) -> None:
    answer = client.post("/v1/split", json={"q": "1 2", "source": "auto", "target": "fr"}).json()
    assert (answer["source"], answer["target"]) == ("en", "fr")
    response = client.post("/v1/split", json={"q": "1 2", "source": "auto", "target": "de"})
    assert error_of(response, 400) == "target: expected one of fr, got 'de'"
