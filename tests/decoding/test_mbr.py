"""Minimum Bayes risk against its definition, with the scores of sacreBLEU."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from nmt.decoding.lines.mbr import Utility, expected_utilities, similarities

METRICS = {"chrf": CHRF(), "bleu": BLEU(effective_order=True)}
LINES = [
    "Ein Hund läuft über die Wiese.",
    "Ein Hund rennt über die Wiese.",
    "Der Hund läuft.",
    "Zwei Katzen schlafen",
    "Ein Hund läuft über die Wiese.",
    "",
    "a",
]
TEXTS = st.lists(st.text(st.sampled_from("ab c.é"), max_size=20), min_size=1, max_size=5)


def sacrebleu_score(hypothesis: str, reference: str, utility: Utility) -> float:
    return METRICS[utility].sentence_score(hypothesis, [reference]).score


@pytest.mark.parametrize("utility", ["chrf", "bleu"])
@settings(deadline=None, max_examples=60)
@given(texts=TEXTS)
def test_similarities_equal_sacrebleu(texts: list[str], utility: Utility) -> None:
    matrix = similarities(texts, utility)
    for i, hypothesis in enumerate(texts):
        expected = [sacrebleu_score(hypothesis, reference, utility) for reference in texts]
        assert matrix[i].tolist() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("utility", ["chrf", "bleu"])
def test_expected_utility_is_the_mean_of_all_candidates(utility: Utility) -> None:
    utilities = expected_utilities(LINES, utility)
    for hypothesis, expected_utility in zip(LINES, utilities, strict=True):
        scores = [sacrebleu_score(hypothesis, reference, utility) for reference in LINES]
        assert expected_utility == pytest.approx(sum(scores) / len(LINES), abs=1e-9)
