"""BLEU, chrF and TER against hand computation, the sacreBLEU command and published scores."""

from __future__ import annotations

import csv
import importlib.util
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from nmt.evaluation import metrics
from nmt.evaluation.metrics import bleu_tokenizer, corpus_bleu
from tests.support.evaluation.system_outputs import replace_words, sacrebleu_command, score
from tests.support.paths import CORPORA

PUBLISHED = CORPORA / "metric-check"

REFERENCES = ["The cat sat on a mat.", "It is 5 o'clock, isn't it?", "", "Blue boats sail by."]
SECOND_REFERENCES = [
    "A cat sat there.",
    "It's five o'clock?",
    "a word",
    "Blue boats are sailing past.",
]
HYPOTHESES = ["The cat sat on the mat.", "It's 5 o'clock, is it?", "word", "Boats sail by blue."]


def test_scores_of_one_line_equal_hand_computation() -> None:
    scores = score(["the cat sat on the mat"], [["the cat sat on a mat"]], "en")
    # Matching 1- to 4-grams: 5 of 6, 3 of 5, 2 of 4, 1 of 3. One word of six to change.
    assert scores.bleu == pytest.approx(100 * (5 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** (1 / 4))
    assert scores.ter == pytest.approx(100 / 6)
    assert (scores.brevity_penalty, scores.length_ratio, scores.lines) == (1.0, 1.0, 1)


def test_scores_short_hypothesis_has_brevity_penalty() -> None:
    scores = score(["the cat sat on"], [["the cat sat on a mat"]], "en")
    assert scores.brevity_penalty == pytest.approx(math.exp(1 - 6 / 4))
    assert scores.bleu == pytest.approx(100 * math.exp(1 - 6 / 4))
    assert scores.length_ratio == pytest.approx(4 / 6)


def test_scores_of_the_reference_are_perfect() -> None:
    scores = score(HYPOTHESES, [HYPOTHESES], "de")
    assert (scores.bleu, scores.chrf, scores.ter) == (pytest.approx(100), pytest.approx(100), 0)


NEWSTEST = PUBLISHED.with_name("newstest-ende")


@pytest.mark.skipif(
    not NEWSTEST.is_dir(), reason="../shared/corpora/newstest-ende is not available"
)
def test_scores_newstest_references_equal_sacrebleu(tmp_path: Path) -> None:
    names = ("test_2021.de", "test_2021.refC.de")
    references = [(NEWSTEST / name).read_text("utf-8").split("\n")[:60] for name in names]
    systems = [replace_words(references[0], 0.2, seed=1), replace_words(references[1], 0.2, seed=2)]
    for hypotheses in systems:
        output = sacrebleu_command(tmp_path, [hypotheses], references, "-w", "9", "-f", "json")
        result = score(hypotheses, references, "de")
        scores = [round(value, 9) for value in (result.bleu, result.chrf, result.ter)]
        assert scores == [row["score"] for row in json.loads(output)]
        assert list(result.signatures.values()) == [row["signature"] for row in json.loads(output)]


def test_scores_japanese_equal_sacrebleu_command(tmp_path: Path) -> None:
    if bleu_tokenizer("ja")[0] != "ja-mecab":
        pytest.skip("needs MeCab, `pip install 'nmt[cjk]'`")
    references, hypotheses = (
        ["猫が好きです。", "彼はここにいる。"],
        ["猫は好きです。", "彼はいる。"],
    )
    flags = ("-w", "9", "--tokenize", "ja-mecab", "-f", "json")
    rows = json.loads(sacrebleu_command(tmp_path, [hypotheses], [references], *flags))
    scores = score(hypotheses, [references], "ja")
    assert [round(n, 9) for n in (scores.bleu, scores.chrf, scores.ter)] == [
        r["score"] for r in rows
    ]
    assert scores.signatures["bleu"] == rows[0]["signature"]


@pytest.mark.parametrize("language", ["de", "zh"])
@pytest.mark.parametrize("references", [[REFERENCES], [REFERENCES, SECOND_REFERENCES]])
def test_scores_equal_sacrebleu_command(
    tmp_path: Path, references: list[list[str]], language: str
) -> None:
    tokenize = bleu_tokenizer(language)[0]
    flags = ("-w", "9", "--tokenize", tokenize, "-f", "json")
    rows = json.loads(sacrebleu_command(tmp_path, [HYPOTHESES], references, *flags))
    sacrebleu_rows = {row["name"].lower(): row for row in rows}
    scores = score(HYPOTHESES, references, language)
    if len(references) == 1:
        assert corpus_bleu(HYPOTHESES, REFERENCES, language) == scores.bleu
    assert round(scores.bleu, 9) == sacrebleu_rows["bleu"]["score"]
    assert round(scores.chrf, 9) == sacrebleu_rows["chrf2"]["score"]
    assert round(scores.ter, 9) == sacrebleu_rows["ter"]["score"]
    signatures = (sacrebleu_rows["bleu"], sacrebleu_rows["chrf2"], sacrebleu_rows["ter"])
    assert list(scores.signatures.values()) == [row["signature"] for row in signatures]


def fake_find_spec(*modules: str) -> Callable[[str], object]:
    return lambda name: object() if name in modules else None


def published_scores() -> dict[tuple[str, str], dict[str, float]]:
    """Return the published scores of each language pair and system with an available output."""
    if not PUBLISHED.is_dir():
        return {}
    scores: dict[tuple[str, str], dict[str, float]] = {}
    with open(PUBLISHED / "automatic-scores.tsv", encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream, delimiter="\t"):
            key = row["pair"], row["system"]
            if hypothesis_file(*key).is_file() and row["metric"].endswith("-refA"):
                scores.setdefault(key, {})[row["metric"]] = float(row["score"])
    return scores


def hypothesis_file(pair: str, system: str) -> Path:
    return PUBLISHED / f"generaltest2023.{pair}.hyp.{system}.{pair[-2:]}"


QUICK_CASES = {("de-en", "AIRC"), ("de-en", "NLLB_Greedy"), ("en-zh", "NLLB_Greedy")}
PUBLISHED_CASES = [
    pytest.param(*key, marks=() if key in QUICK_CASES else (pytest.mark.slow,))
    for key in published_scores()
] or [
    pytest.param("", "", marks=pytest.mark.skip("../shared/corpora/metric-check is not available"))
]


@pytest.mark.parametrize(("pair", "system"), PUBLISHED_CASES)
def test_scores_of_published_outputs_equal_published_scores(
    pair: str, system: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The published scores count a byte order mark as a character."""
    language = pair[-2:]
    if language == "ja":  # published with characters as words, as without MeCab
        monkeypatch.setattr(importlib.util, "find_spec", fake_find_spec())
    # TER was not published, and takes minutes on lines of a paragraph.
    monkeypatch.setattr(metrics, "TER", metrics.CHRF)
    reference = PUBLISHED / f"generaltest2023.{pair}.ref.refA.{language}"
    hypotheses, references = (
        file.read_bytes().decode().removesuffix("\n").split("\n")
        for file in (hypothesis_file(pair, system), reference)
    )
    scores = score(hypotheses, [references], language)
    assert scores.bleu == published_scores()[pair, system]["bleu-refA"]
    assert scores.chrf == published_scores()[pair, system]["chrf-refA"]


@pytest.mark.parametrize("language", ["de", "en", "de-AT", "fr_CA", "tgt", "", "zhx"])
def test_bleu_tokenizer_default_is_13a(language: str) -> None:
    assert bleu_tokenizer(language) == ("13a", None)


@pytest.mark.parametrize("language", ["zh", "zh-CN", "zh_CN", "ZH", "zh-Hant-TW"])
def test_bleu_tokenizer_chinese_is_reported(language: str) -> None:
    name, message = bleu_tokenizer(language)
    assert name == "zh"
    assert message == f"BLEU uses the zh tokenizer, for target language {language}"


@pytest.mark.parametrize(
    ("language", "name", "module"),
    [("ja", "ja-mecab", "MeCab"), ("ja_JP", "ja-mecab", "MeCab"), ("ko", "ko-mecab", "mecab_ko")],
)
def test_bleu_tokenizer_cjk_without_package_is_char(
    language: str, name: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", fake_find_spec(module))
    assert bleu_tokenizer(language) == (
        name,
        f"BLEU uses the {name} tokenizer, for target language {language}",
    )
    monkeypatch.setattr(importlib.util, "find_spec", fake_find_spec())
    fallback, message = bleu_tokenizer(language)
    assert fallback == "char"
    assert message is not None
    assert f"tokenizer {name} needs `pip install 'nmt[cjk]'`" in message


@pytest.mark.parametrize(("language", "package"), [("ja", "MeCab"), ("ko", "mecab_ko")])
def test_scores_without_cjk_package_use_characters(
    language: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", fake_find_spec())
    scores = score(["東京都に"], [["東京都は"]], language)
    assert "tok:char" in scores.signatures["bleu"]
    assert scores.length_ratio == 1.0
    # Matching 1- to 4-grams of characters: 3 of 4, 2 of 3, 1 of 2, 0 of 1 (smoothed to 1/2).
    assert scores.bleu == pytest.approx(100 * (3 / 4 * 2 / 3 * 1 / 2 * 1 / 2) ** (1 / 4))


def test_scores_signature_names_the_tokenizer() -> None:
    assert "tok:13a" in score(["a"], [["a"]], "de").signatures["bleu"]
    assert "tok:zh" in score(["你好"], [["你好"]], "zh_CN").signatures["bleu"]


def test_scores_of_empty_lines_are_zero() -> None:
    scores = score(["", ""], [["", ""]], "de")
    assert scores.lines == 2
    assert scores.bleu == 0
