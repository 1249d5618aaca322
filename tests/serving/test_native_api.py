"""The endpoints of nmt: scores, constraints, alignments and explanations."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

import nmt
from tests.support.command_line import nmt as run_command
from tests.support.paths import FROZEN_V1
from tests.support.serving import error_of

PAIR = {"source": "en", "target": "fr"}


@pytest.fixture(scope="module")
def offline() -> nmt.LoadedModel:
    """Return the same model in the Python interface."""
    return nmt.load(FROZEN_V1, device="cpu")


def test_v1_translate_equals_python_interface(
    client: TestClient, offline: nmt.LoadedModel, strings: list[str]
) -> None:
    parameters = {"q": strings[:8], **PAIR, "nbest": 2, "confidence": True}
    answer = client.post("/v1/translate", json=parameters).json()
    nbest_lists = offline.nbest(strings[:8], 2, confidence=True)
    assert [line["text"] for line in answer["translations"]] == [t[0].text for t in nbest_lists]
    for line, nbest_list in zip(answer["translations"], nbest_lists, strict=True):
        for translation, expected in zip(line["nbest"], nbest_list, strict=True):
            assert translation["text"] == expected.text
            assert translation["score"] == pytest.approx(expected.score, abs=1e-3)
        confidence = nbest_list[0].confidence
        assert confidence is not None
        assert line["confidence"]["log_prob"] == pytest.approx(confidence.log_prob, abs=1e-3)


def test_v1_translate_constraints_hold(client: TestClient) -> None:
    def translate(**options: Any) -> str:
        parameters = {"q": "1 2 3", **PAIR, **options}
        [line] = client.post("/v1/translate", json=parameters).json()["translations"]
        return str(line["text"])

    assert translate(prefix="9").startswith("9")
    assert "8" in translate(contain=["8"]).split()
    assert "7" in translate(terms={"2": "7"}).split()
    assert translate() == "3 2 1"


def test_v1_translate_alignment_links_reversed_words(client: TestClient) -> None:
    parameters = {"q": ["1 2 3", "4 5"], **PAIR, "alignment": True}
    first, second = client.post("/v1/translate", json=parameters).json()["translations"]
    links = {(tuple(source), tuple(target)) for source, target in first["alignment"]}
    assert links == {((0, 1), (4, 5)), ((2, 3), (2, 3)), ((4, 5), (0, 1))}
    assert len(second["alignment"]) == 2


def test_v1_explain_equals_nmt_explain(client: TestClient, offline: nmt.LoadedModel) -> None:
    answer = client.post("/v1/explain", json={"q": "1 2 3", **PAIR}).json()
    expected = offline.explain("1 2 3").as_dict()
    assert set(expected) <= set(answer)
    for key in ("source", "target", "layer"):
        assert answer[key] == expected[key]
    for key in ("weights", "scores", "softmax"):
        for row, expected_row in zip(answer[key][0][0], expected[key][0][0], strict=True):
            assert row == pytest.approx(expected_row, rel=1e-3, abs=1e-5)
    assert sorted(map(tuple, answer["links"])) == [(0, 2), (1, 1), (2, 0)]
    assert answer["beam"] == []


def test_v1_explain_given_translation_is_forced(client: TestClient) -> None:
    parameters = {"q": "1 2 3", **PAIR, "translation": "7 8"}
    answer = client.post("/v1/explain", json=parameters).json()
    assert answer["target"]["text"] == "7 8"
    beam = client.post("/v1/explain", json={"q": "1 2 3", **PAIR, "beam": True}).json()["beam"]
    assert all(candidate["pieces"] for step in beam for candidate in step)
    assert len(beam) > 3


def test_v1_score_equals_nmt_score(client: TestClient, offline: nmt.LoadedModel) -> None:
    pairs = [("1 2 3", "3 2 1"), ("4 5", "1 1")]
    answer = client.post("/v1/score", json={"pairs": pairs, **PAIR}).json()
    scores = [entry["score"] for entry in answer["scores"]]
    assert scores == pytest.approx(offline.score(pairs), abs=1e-3)
    assert scores[0] > scores[1]


@pytest.mark.parametrize(
    ("path", "parameters", "message"),
    [
        ("translate", {"q": "1\r\n2"}, "q: expected text without line breaks, got several lines"),
        ("translate", {"q": "1\n2"}, "q: expected text without line breaks, got several lines"),
        ("translate", {"q": "1", "nbest": 99}, "nbest: expected 1 to 5 (the beam size), got 99"),
        ("translate", {"q": "1", "nbest": 0}, "nbest: expected a whole number of at least 1"),
        ("translate", {"q": "1", "terms": {"": "a"}}, ""),
        ("translate", {"q": "1", "contain": "a"}, "contain: expected a list, got 'a'"),
        ("explain", {"q": " "}, "q: expected text, got a blank line"),
        ("explain", {"q": "1 " * 2500}, "q: expected at most 4,000 characters, got 5,000"),
        ("explain", {"q": "1", "translation": "2\n3"}, "translation: expected text without line"),
        ("score", {"pairs": [["1"]]}, "pairs.0: expected a list of 2 values, got"),
        ("score", {"pairs": "1"}, "pairs: expected a list, got '1'"),
    ],
)
def test_v1_invalid_parameters_give_400(
    client: TestClient, path: str, parameters: dict[str, Any], message: str
) -> None:
    response = client.post(f"/v1/{path}", json={**PAIR, **parameters})
    assert error_of(response, 400).startswith(message)


@pytest.mark.parametrize("character", ["\x85", "\u2028", "\x0b", "\r"])
def test_v1_text_with_other_separators_is_one_line(client: TestClient, character: str) -> None:
    """Only a line feed ends a line, as in files: the translation equals that of the command."""
    text = f"1 2{character} 3"
    [line] = client.post("/v1/translate", json={"q": text, **PAIR}).json()["translations"]
    result = run_command("translate", "-m", FROZEN_V1, "--device", "cpu", stdin=f"{text}\n")
    assert [line["text"]] == result.lines
    answer = client.post("/v1/explain", json={"q": text, **PAIR, "translation": text})
    assert answer.json()["target"]["text"] == text


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_v1_one_line_may_have_its_end(client: TestClient, end: str) -> None:
    [line] = client.post("/v1/translate", json={"q": f"1 2{end}", **PAIR}).json()["translations"]
    assert line["text"] == "2 1"


def test_v1_blank_lines_stay_blank(client: TestClient) -> None:
    parameters = {"q": ["", "1 2"], **PAIR, "alignment": True, "confidence": True}
    blank, line = client.post("/v1/translate", json=parameters).json()["translations"]
    assert blank["text"] == ""
    assert blank["alignment"] == []
    assert line["text"] == "2 1"


def test_frozen_model_reverses_digits() -> None:
    result = run_command("translate", "-m", FROZEN_V1, "--device", "cpu", stdin="1 2 3\n")
    assert result.lines == ["3 2 1"]


def test_v1_translate_prefix_of_each_line(client: TestClient) -> None:
    parameters: dict[str, Any] = {"q": ["1 2 3", "1 2 3"], **PAIR}
    answer = client.post("/v1/translate", json={**parameters, "prefix": ["9", "3"]}).json()
    first, second = answer["translations"]
    assert first["text"].startswith("9")
    assert second["text"] == "3 2 1"
    response = client.post("/v1/translate", json={**parameters, "prefix": ["9"]})
    assert error_of(response, 400) == "prefix: expected one for each line, 2, got 1"
