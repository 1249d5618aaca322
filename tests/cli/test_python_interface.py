"""Test the Python interface: the model that `nmt.load` returns."""

from __future__ import annotations

from typing import Any

import pytest

import nmt as api
from nmt.errors import ConfigError, DataError
from tests.support.command_line import translate_lines
from tests.support.tiny_runs import Digits


def test_python_term_across_two_segments_is_translated(digits: Digits) -> None:
    model = api.load(digits.run, device="cpu")
    [line] = model.translate(["1 2. 3 4. 5"], terms={"3 4. 5": "9 9"}, split_length=4)
    assert "9 9" in line
    [line] = model.translate(["1 {n}. {m} 3"], protect=True, split_length=4)
    assert "{n}" in line
    assert "{m}" in line


def test_python_translate_options_equal_command(digits: Digits) -> None:
    lines = [*digits.src[:20], "", "x y z"]
    model = api.load(digits.run, device="cpu")
    assert model.translate(lines, beam_size=2) == translate_lines(digits.run, lines, "--beam", 2)
    flags = ["--decode", "sample", "--set", "decode.temperature=3"]
    sampled = model.translate(lines, method="sample", temperature=3)
    assert sampled == translate_lines(digits.run, lines, *flags)
    assert model.translate(lines) == translate_lines(digits.run, lines), (
        "settings apply to a single call"
    )
    assert list(model.stream(iter(lines))) == translate_lines(digits.run, lines, "--stream")
    assert model.translate([api.Line("1 2 3", prefix="9")])[0].startswith("9")
    assert model.translate(["1 2"], terms={"2": "9"})[0].split().count("9") == 1
    [[best, _]] = model.nbest(["1 2 3"], 2, confidence=True)
    assert best.confidence is not None
    assert best.confidence.log_prob < 0


def test_python_stream_does_not_read_ahead(digits: Digits) -> None:
    read: list[str] = []

    def record_reads() -> Any:
        for line in digits.src[:5]:
            read.append(line)
            yield line

    answers = api.load(digits.run, device="cpu").stream(record_reads())
    for number in range(1, 6):
        assert next(answers) == digits.ref[number - 1]
        assert len(read) == number


def test_python_explain_aligns_reversed_words(digits: Digits) -> None:
    model = api.load(digits.run, device="cpu")
    explanation = model.explain("1 2 3")
    assert explanation.target.text == "3 2 1"
    assert explanation.by_words.shape == (4, 4)
    assert explanation.by_words.argmax(1).tolist()[:3] == [2, 1, 0]
    assert model.explain("1 2 3", "1 1").target.text == "1 1"
    with pytest.raises(ConfigError, match="line: expected text, got the blank line"):
        model.explain(" ")


@pytest.mark.parametrize(
    ("decode", "message"),
    [
        ({"beam_sise": 2}, r"^beam_sise: unknown key \(did you mean 'beam_size'\?\)"),
        ({"beam_size": 0}, r"^beam_size: expected a whole number from 1 to 10,000, got 0"),
        ({"beam_size": object()}, r"^beam_size: expected a number, text or list, got a object"),
        ({"beam": 3}, r"^beam: unknown key \(use decode\.beam_size\)"),
        ({"method": "greedy"}, r"^method: expected one of beam, sample, mbr, got 'greedy'"),
        ({"beam_size": 5, "groups": 2}, r"^groups: expected a divisor of decode\.beam_size"),
        ({"precision": "bf16"}, r"^precision: expected in nmt\.load"),
    ],
)
def test_python_invalid_arguments_raise(
    digits: Digits, decode: dict[str, Any], message: str
) -> None:
    model = api.load(digits.run, device="cpu")
    with pytest.raises(ConfigError, match=message):
        model.translate(["1"], **decode)
    with pytest.raises(DataError, match="required phrase: expected text, got ' '"):
        model.translate([api.Line("1", phrases=(" ",))])
    with pytest.raises(ConfigError, match="n: expected a whole number from 1 to 5, got 6"):
        model.nbest(["1"], 6)
    with pytest.raises(DataError, match="expected a line of text"):
        model.translate([5])  # type: ignore[list-item]
    with pytest.raises(DataError, match="expected a line of text"):
        api.Line("1", phrases="23")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="expected one translation of 'B'"):
        model.translate(["1"], terms={"b": "1", "B": "2"})
    mbr = api.load(digits.run, device="cpu", overrides=["decode.method=mbr"])
    with pytest.raises(ConfigError, match="mbr chooses among texts"):
        mbr.explain("1 2")
    assert mbr.explain("1 2", "2 1").target.text == "2 1"


def test_python_load_several_models_builds_ensemble(digits: Digits) -> None:
    model = api.load([digits.run, digits.run], device="cpu")
    assert model.translate(digits.src[:5]) == digits.ref[:5]
