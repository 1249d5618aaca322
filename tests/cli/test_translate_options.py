"""Test constraints, line formats, confidence and search options of `nmt translate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import nmt as api
from nmt.config.loader import load_config
from nmt.config.sections.decode import DecodeConfig
from nmt.decoding import loading
from nmt.decoding.constraints.lexical_constraints import LexicalConstraints
from nmt.decoding.engines.ctranslate2 import CTranslate2Engine
from nmt.errors import ConfigError, RunError
from tests.support.command_line import assert_success, nmt, translate_lines, write_lines
from tests.support.paths import FROZEN_V1
from tests.support.tiny_runs import Digits


def test_translate_prefix_file_is_forced(digits: Digits, tmp_path: Path) -> None:
    lines = ["1 2 3", "4 5 6", "7 8", "", "9 0"]
    prefixes = write_lines(tmp_path / "prefixes", ["3 2", "9", "", "0", "0 9"])
    translations = translate_lines(digits.run, lines, "--prefix", prefixes)
    assert translations[0] == "3 2 1"
    assert translations[1].startswith("9")
    assert translations[2] == "8 7"
    assert translations[3] == "0"
    assert translations[4] == "0 9"


@pytest.mark.parametrize("flag", ["--prefix", "--contain"])
@pytest.mark.parametrize(("count", "message"), [(2, ", got only 2"), (4, ", 3, got more")])
def test_translate_constraint_file_needs_equal_lines(
    digits: Digits, tmp_path: Path, flag: str, count: int, message: str
) -> None:
    constraints = write_lines(tmp_path / "constraints", ["1"] * count)
    out = tmp_path / "out"
    flags = ["-m", digits.run, flag, constraints, "-o", out]
    result = nmt("translate", *flags, stdin="1 2\n3 4\n5 6\n")
    assert result.code == 2
    assert f"error: {constraints}: expected as many lines as stdin{message}" in result.err
    assert not out.exists()


def test_translate_contain_phrases_occur_and_are_counted(digits: Digits, tmp_path: Path) -> None:
    lines = ["1 2 3", "4 5 6", "7 8"]
    phrases = write_lines(tmp_path / "phrases", ["9", "", "8 7\t0 0"])
    text = "".join(f"{line}\n" for line in lines)
    result = assert_success(nmt("translate", "-m", digits.run, "--contain", phrases, stdin=text))
    assert "9" in result.lines[0].split()
    assert result.lines[1] == "6 5 4"
    assert "8 7" in result.lines[2]
    assert "0 0" in result.lines[2]
    assert "3 of 3 required phrases are in the translations (100.0%)" in result.err


def test_translate_impossible_phrase_is_reported(digits: Digits, tmp_path: Path) -> None:
    terms = write_lines(tmp_path / "terms.tsv", ["2\t9"])
    flags = ["-m", digits.run, "--terms", terms, "--set", 'decode.forbid=["9"]']
    result = assert_success(nmt("translate", *flags, stdin="1 3\n1 2 3\n"))
    assert len(result.lines) == 2
    assert result.lines[0] == "3 1"
    assert result.lines[1]
    assert "0 of 1 required phrases are in the translations (0.0%)" in result.err
    assert "warning: line 2: '9' is missing from the translation" in result.err


def test_translate_protect_copies_spans(digits: Digits) -> None:
    text = "1 2 joe@x.org 3\n4 {name} 5\n6 7\n"
    result = assert_success(nmt("translate", "-m", digits.run, "--protect", stdin=text))
    assert "joe@x.org" in result.lines[0].split()
    assert "{name}" in result.lines[1].split()
    assert "protected spans are in the translations (100.0%)" in result.err


def test_translate_json_keeps_unusual_fields(digits: Digits) -> None:
    objects = [
        '{"id": 1.10, "src": "1 2 3", "x": [1e400, null, {"y": "\\u00e9"}], "id": 2}',
        '  {"src":"4 5","prefix":"5","\u00fc":"\u2028"}  ',
        "",
        '{"src": "6 7", "contain": ["9"], "big": ' + "1" * 10_000 + "}",
        '{"src": "", "keep": true}',
        '{"src": "\\ud800 8"}',
    ]
    outputs = translate_lines(digits.run, objects, "--json")
    assert len(outputs) == 6
    for line, output in zip(objects, outputs, strict=True):
        assert output.startswith(line.rstrip().removesuffix("}"))
    answers = [json.loads(line, parse_int=float) if line else None for line in outputs]
    assert [a and a["translation"] for a in answers[:3]] == ["3 2 1", "5 4", None]
    assert "9" in answers[3]["translation"].split()
    assert answers[4]["translation"] == ""
    assert answers[0].keys() == {"id", "src", "x", "translation", "score"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1 2 3", "stdin:2: expected a JSON object, got '1 2 3': "),
        ("[1]", "stdin:2: expected a JSON object with the key 'src', got [1.0]"),
        (
            '{"text": "1"}',
            'stdin:2: expected a JSON object with the key \'src\', got {"text": "1"}',
        ),
        ('{"src": 5}', "stdin:2: 'src': expected text, got 5.0"),
        ('{"src": "1", "score": 2}', "stdin:2: expected an object without 'score'"),
        ('{"src": "1", "prefix": null}', "stdin:2: 'prefix': expected text, got null"),
        ('{"src": "1", "contain": "2"}', "stdin:2: 'contain': expected a list of texts"),
        ('{"src": "1", "contain": [" "]}', "stdin:2: 'contain': expected a list of texts"),
        ("[" * 100_000, "stdin:2: expected a JSON object, got '[[["),
    ],
)
def test_translate_json_invalid_line_is_named(digits: Digits, line: str, message: str) -> None:
    flags = ["-m", digits.run, "--json", "--stream"]
    result = nmt("translate", *flags, stdin=f'{{"src": "1 2"}}\n{line}\n')
    assert result.code == 2
    assert f"error: {message}" in result.err
    assert len(result.lines) == 1


def test_translate_json_contains_nbest_and_confidence(digits: Digits) -> None:
    flags = ["--json", "--nbest", 3, "--confidence"]
    [answer] = map(json.loads, translate_lines(digits.run, ['{"src": "1 2 3"}'], *flags))
    assert len(answer["nbest"]) == 3
    assert answer["nbest"][0] == {"translation": "3 2 1", "score": answer["score"]}
    confidence = answer["confidence"]
    assert confidence.keys() == {"log_prob", "lowest", "coverage", "repeats", "limit"}
    assert confidence["lowest"] <= confidence["log_prob"] < 0
    assert 0 < confidence["coverage"] <= 1
    assert confidence["repeats"] is confidence["limit"] is False


def test_translate_column_appends_the_translation(digits: Digits) -> None:
    table = ["7\t1 2 3\tx", "8\t4 5\t", ""]
    assert translate_lines(digits.run, table, "--column", 2) == [
        "7\t1 2 3\tx\t3 2 1",
        "8\t4 5\t\t5 4",
        "\t",
    ]
    cells = translate_lines(digits.run, table[:1], "--column", 2, "--scores")[0].split("\t")
    assert cells[:3] == ["7", "1 2 3", "x"]
    assert float(cells[3]) < 0
    refusal = nmt("translate", "-m", digits.run, "--column", 4, stdin="a\tb\tc\n")
    assert refusal.code == 2
    assert "stdin:1: expected 4 tab-separated columns, got 3" in refusal.err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--json", "--column", 1], "--json, --column: expected at most one, got both"),
        (["--column", 1, "--nbest", 2], "--column, --nbest: expected at most one, got both"),
        (["--json", "--scores"], "--json, --scores: expected at most one"),
        (["--nbest", 2, "--confidence"], "--nbest, --confidence: expected at most one, got both"),
        (["--json", "--prefix", "x"], "--prefix, --contain: expected fields"),
        (["--decode", "mbr", "--nbest", 65], "--nbest: expected at most the number of samples, 64"),
        (
            ["--protect", "--decode", "mbr"],
            "phrases (--contain, --terms, --protect): expected beam",
        ),
        (["--terms", "none.tsv"], "none.tsv: no such file"),
        (["--set", 'decode.forbid=["zz"]'], "decode.forbid: expected pieces of the target"),
        (["--set", "decode.temperature=0"], "decode.temperature"),
        (["--set", 'decode.forbid=["</s>"]'], "expected pieces other than the end of the sentence"),
    ],
)
def test_translate_conflicting_options_are_refused(
    digits: Digits, flags: list[object], message: str
) -> None:
    result = nmt("translate", "-m", digits.run, *flags, stdin="1 2\n")
    assert result.code == 2
    assert message in result.err
    assert result.out == ""


def test_translate_confidence_and_review_find_bad_line(digits: Digits) -> None:
    lines = [*digits.src[:20], "x y z q x y z q", *digits.src[20:40], ""]
    text = "".join(f"{line}\n" for line in lines)
    flags = ["-m", digits.run, "--confidence", "--review", 2]
    result = assert_success(nmt("translate", *flags, stdin=text))
    rows = [line.split("\t") for line in result.lines]
    assert all(len(row) == 5 for row in rows)
    assert all(float(row[1]) <= float(row[0]) <= 0 for row in rows)
    assert all(0 <= float(row[2]) <= 1 for row in rows[:-1])
    assert rows[-1][2:] == ["-", "-", ""]
    _, review = result.err.split("the least trusted lines, the worst first:\n")
    entries = review.strip("\n").split("\n")
    assert len(entries) == 6
    assert "line 21" in entries[0], "the line of letters, which are not in the training text"
    assert entries[1].strip() == lines[20]


def test_translate_confidence_flags_the_length_limit(digits: Digits) -> None:
    flags = ["--json", "--confidence", "--set", "decode.max_length=2"]
    [answer] = map(json.loads, translate_lines(digits.run, ['{"src": "1 2 3 4 5"}'], *flags))
    assert answer["confidence"]["limit"] is True


def test_translate_long_line_is_split_and_counted(digits: Digits) -> None:
    sentences = ["1 2 3.", "4 5 6!", "7 8?"]
    long = " ".join(sentences)
    flags = ["-m", digits.run, "--set", "decode.split_length=8"]
    result = assert_success(nmt("translate", *flags, stdin=f"9 8\n{long}\n"))
    separate = translate_lines(digits.run, ["9 8", *sentences])
    assert result.lines == [separate[0], " ".join(separate[1:])]
    assert "1 long lines were translated in 3 segments" in result.err
    unsplit = assert_success(
        nmt("translate", "-m", digits.run, "--set", "decode.split=length", stdin=f"{long}\n")
    )
    assert "segments" not in unsplit.err


def test_translate_several_sentences_are_split(digits: Digits) -> None:
    assert load_config(digits.run / "config.yaml").decode.split == "sentences"
    lines = ["1 2 3.  4 5 6!\t7 8?", "9 8", ""]
    result = assert_success(nmt("translate", "-m", digits.run, stdin="\n".join(lines) + "\n"))
    first, second, third, fourth = translate_lines(digits.run, ["1 2 3.", "4 5 6!", "7 8?", "9 8"])
    assert result.lines == [f"{first}  {second}\t{third}", fourth, ""]
    assert "sentence by sentence (decode.split): 1, with 3 sentences" in result.err
    [answer] = translate_lines(
        digits.run, [json.dumps({"src": lines[0], "id": 7})], "--json", "--nbest", 2
    )
    assert json.loads(answer)["translation"] == result.lines[0]
    assert api.load(digits.run, device="cpu").translate(lines) == result.lines
    flags = ["--set", "decode.split=length"]
    assert (
        "sentence by sentence" not in assert_success(nmt("translate", "-m", digits.run, *flags)).err
    )


def test_translate_same_model_twice_equals_one_model(digits: Digits) -> None:
    lines = [*digits.src[:10], "x y z"]
    assert translate_lines(digits.run, lines, "-m", digits.run) == translate_lines(
        digits.run, lines
    )


def test_translate_ensemble_vocabularies_must_be_equal(
    digits: Digits, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise AssertionError("expected an error before weights are read")

    monkeypatch.setattr(loading._EnsembleMember, "load_model", fail)
    result = nmt("translate", "-m", digits.run, "-m", FROZEN_V1, stdin="1 2\n")
    assert result.code == 2
    assert "--model: expected models with one target tokenizer, got another in" in result.err
    assert str(FROZEN_V1) in result.err


def test_ctranslate2_unsupported_features_are_refused() -> None:
    with pytest.raises(
        ConfigError, match="method: expected beam with --engine ctranslate2, got sample"
    ):
        loading._require_ctranslate2_support(DecodeConfig(method="sample"), [])
    with pytest.raises(
        ConfigError, match="--model: expected one with --engine ctranslate2, got several"
    ):
        loading._require_ctranslate2_support(DecodeConfig(), [object()])
    engine = CTranslate2Engine.__new__(CTranslate2Engine)
    with pytest.raises(RunError, match="expected no prefixes, phrases or terms"):
        engine.search([[1]], 1, {0: LexicalConstraints(prefix=(1,))})
    with pytest.raises(RunError, match="expected no --confidence"):
        engine.score_tokens([([1], [2])])


def test_translate_ctranslate2_options_are_checked_first(digits: Digits) -> None:
    refusal = nmt("translate", "-m", digits.run, "--engine", "ctranslate2", "--protect", stdin=None)
    assert refusal.code == 2
    assert "error: --protect: expected --engine nmt, got --engine ctranslate2" in refusal.err


def test_translate_phrases_of_a_blank_line_are_missing(digits: Digits) -> None:
    line = json.dumps({"src": " ", "contain": ["7"]})
    result = assert_success(nmt("translate", "-m", digits.run, "--json", stdin=f"{line}\n"))
    assert json.loads(result.out)["translation"] == ""
    assert "0 of 1 required phrases are in" in result.err
    assert "line 1: '7' is missing" in result.err


def test_translate_samples_depend_on_line_and_seed(digits: Digits) -> None:
    lines = ["x y z 1 2", "1 2 3", "q q q q q q", "x y z 1 2"]
    flags = ["--decode", "sample", "--set", "decode.temperature=3"]
    samples = translate_lines(digits.run, lines, *flags)
    assert samples[0] == samples[3]
    assert (
        translate_lines(digits.run, lines[::-1], *flags, "--set", "decode.batch_size=1")
        == samples[::-1]
    )
    assert translate_lines(digits.run, lines, *flags, "--set", "decode.seed=2") != samples


def test_translate_mbr_selects_the_consensus(digits: Digits) -> None:
    flags = ["--decode", "mbr", "--metric", "chrf", "--set", "decode.mbr_samples=8", "--scores"]
    for line, source in zip(
        translate_lines(digits.run, digits.src[:5], *flags), digits.src, strict=False
    ):
        score, text = line.split("\t")
        assert text == source[::-1]
        assert 50 < float(score) <= 100


def test_translate_protected_span_is_never_split(digits: Digits) -> None:
    link = "http://" + "x" * 300
    result = assert_success(
        nmt("translate", "-m", digits.run, "--protect", stdin=f"1 2. {link} 3\n")
    )
    assert link in result.lines[0]
    assert "were translated in" not in result.err
