"""Warnings about misleading scores."""

from __future__ import annotations

import unicodedata

import pytest

from nmt.evaluation import warnings

PLAIN = ["He said: no.", "It's 3.5, isn't it?", "Qui ? Moi !", "Gut."]


@pytest.mark.parametrize(
    "line", ["He came .", "Yes , he did", "well @-@ known", "it &apos;s late", "it 's late"]
)
def test_tokenized_text_with_marks_is_reported(line: str) -> None:
    assert warnings.tokenized_share([line]) == 1
    assert warnings.tokenized_share(PLAIN) == 0
    [message] = warnings.tokenized_text("hyp.txt", [*PLAIN, line])
    assert message.startswith("hyp.txt: 20% of the lines look tokenized")
    assert warnings.tokenized_text("hyp.txt", [*PLAIN * 9, line]) == []


def test_tokenized_share_ignores_blank_lines() -> None:
    assert warnings.tokenized_share(["", " ", "a ."]) == 1
    assert warnings.tokenized_share([""]) == 0


def test_preprocessed_references_are_reported() -> None:
    assert warnings.preprocessed_references([PLAIN], PLAIN) == []
    lowercase = [line.lower() for line in PLAIN]
    assert warnings.preprocessed_references([PLAIN, lowercase], PLAIN) == [
        "reference 2: has no capital letters, but the hypotheses do"
    ]
    assert warnings.preprocessed_references([lowercase], lowercase) == []
    assert warnings.preprocessed_references([["你好"]], ["Hello"]) == []
    [message] = warnings.preprocessed_references([["a b ."]], ["a b."])
    assert message.startswith("reference: 100% of the lines look tokenized")


def test_few_lines_below_500_reports_the_interval() -> None:
    [message] = warnings.few_lines(499, 2.34)
    assert "only 499 lines: the 95% interval of BLEU is ±2.3" in message
    assert warnings.few_lines(500, 2.34) == []


def test_leaked_sources_are_counted() -> None:
    assert warnings.leaked_sources([], 9) == []
    assert warnings.leaked_sources([3, 4], 9) == [
        "2 of 9 sources appear verbatim in the training text"
    ]


def test_unsegmented_text_suggests_tgt_lang() -> None:
    assert warnings.unsegmented_text(["我喜欢猫。"], "zh") == []
    assert warnings.unsegmented_text(["I like 猫"], "13a") == []
    [message] = warnings.unsegmented_text(["我喜欢猫。", "猫"], "13a")
    assert "--tgt-lang" in message


def test_different_tokenizers_are_named() -> None:
    a, b = "nrefs:1|tok:13a|smooth:exp", "nrefs:1|tok:zh|smooth:exp"
    assert warnings.different_tokenizers({"x": a, "y": a}) == []
    assert warnings.different_tokenizers({"x": a, "y": b}) == [
        "BLEU uses different tokenizers for the test sets (x: 13a, y: zh): "
        "do not compare their scores"
    ]


def test_unicode_forms_different_from_reference_are_counted() -> None:
    plain = ["l'été est là", "un café noir"]
    nfd = [unicodedata.normalize("NFD", line) for line in plain]
    for hypotheses, references in ((plain, [nfd]), (nfd, [plain]), (nfd, [["x", "y"], plain])):
        [message] = warnings.unicode_forms("run", hypotheses, references)
        assert message.startswith("run: 3 of 6 words (50.0%) differ from the reference only in")
    for equal_texts in ((plain, [plain]), (nfd, [nfd]), (nfd, [plain, nfd]), (nfd, [["x", "y"]])):
        assert warnings.unicode_forms("run", *equal_texts) == []
    assert warnings.unicode_forms("run", [], [[]]) == []
