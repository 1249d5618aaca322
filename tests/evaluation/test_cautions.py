"""What fools people who read scores."""

from __future__ import annotations

import unicodedata

import pytest

from nmt.evaluation import warnings

PLAIN = ["He said: no.", "It's 3.5, isn't it?", "Qui ? Moi !", "Gut."]


@pytest.mark.parametrize(
    "line", ["He came .", "Yes , he did", "well @-@ known", "it &apos;s late", "it 's late"]
)
def test_marks_of_a_tokenizer(line: str) -> None:
    assert warnings.tokenized_share([line]) == 1
    assert warnings.tokenized_share(PLAIN) == 0
    [said] = warnings.tokenized_text("hyp.txt", [*PLAIN, line])
    assert said.startswith("hyp.txt: 20% of the lines look tokenized")
    assert warnings.tokenized_text("hyp.txt", [*PLAIN * 9, line]) == []


def test_blank_lines_are_no_lines() -> None:
    assert warnings.tokenized_share(["", " ", "a ."]) == 1
    assert warnings.tokenized_share([""]) == 0


def test_references_that_are_not_as_people_write() -> None:
    assert warnings.preprocessed_references([PLAIN], PLAIN) == []
    low = [line.lower() for line in PLAIN]
    assert warnings.preprocessed_references([PLAIN, low], PLAIN) == [
        "reference 2: has no capital letter, the hypotheses have"
    ]
    assert warnings.preprocessed_references([low], low) == []
    assert warnings.preprocessed_references([["你好"]], ["Hello"]) == []
    [said] = warnings.preprocessed_references([["a b ."]], ["a b."])
    assert said.startswith("reference: 100% of the lines look tokenized")


def test_few_lines_say_how_far_the_interval_goes() -> None:
    [said] = warnings.few_lines(499, 2.34)
    assert "499 lines are few: the 95% interval of BLEU is 2.3 to either side" in said
    assert warnings.few_lines(500, 2.34) == []


def test_leaked_lines_are_counted() -> None:
    assert warnings.leaked_sources([], 9) == []
    assert warnings.leaked_sources([3, 4], 9) == [
        "2 of 9 sources stand in the training text letter for letter"
    ]


def test_text_without_spaces_needs_its_language() -> None:
    assert warnings.unsegmented_text(["我喜欢猫。"], "zh") == []
    assert warnings.unsegmented_text(["I like 猫"], "13a") == []
    [said] = warnings.unsegmented_text(["我喜欢猫。", "猫"], "13a")
    assert "--tgt-lang" in said


def test_test_sets_of_different_tokenizers() -> None:
    a, b = "nrefs:1|tok:13a|smooth:exp", "nrefs:1|tok:zh|smooth:exp"
    assert warnings.different_tokenizers({"x": a, "y": a}) == []
    assert warnings.different_tokenizers({"x": a, "y": b}) == [
        "BLEU cuts the test sets by different tokenizers (x by 13a, y by zh): do not compare them"
    ]


def test_unicode_forms_of_hypothesis_and_reference_are_compared() -> None:
    plain = ["l'été est là", "un café noir"]
    nfd = [unicodedata.normalize("NFD", line) for line in plain]
    for hypotheses, references in ((plain, [nfd]), (nfd, [plain]), (nfd, [["x", "y"], plain])):
        [said] = warnings.unicode_forms("run", hypotheses, references)
        assert said.startswith("run: 3 of 6 words (50.0%) differ from the reference in their")
    for same in ((plain, [plain]), (nfd, [nfd]), (nfd, [plain, nfd]), (nfd, [["x", "y"]])):
        assert warnings.unicode_forms("run", *same) == []
    assert warnings.unicode_forms("run", [], [[]]) == []
