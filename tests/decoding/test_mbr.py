"""Minimum Bayes risk against its definition, with sacreBLEU's scores."""

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


def theirs(text: str, other: str, utility: Utility) -> float:
    return METRICS[utility].sentence_score(text, [other]).score


@pytest.mark.parametrize("utility", ["chrf", "bleu"])
@settings(deadline=None, max_examples=60)
@given(texts=TEXTS)
def test_similarities_are_sacrebleus(texts: list[str], utility: Utility) -> None:
    found = similarities(texts, utility)
    for i, text in enumerate(texts):
        expected = [theirs(text, other, utility) for other in texts]
        assert found[i].tolist() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("utility", ["chrf", "bleu"])
def test_expected_utility_is_the_mean_over_all_candidates(utility: Utility) -> None:
    found = expected_utilities(LINES, utility)
    for text, its in zip(LINES, found, strict=True):
        mean = sum(theirs(text, other, utility) for other in LINES) / len(LINES)
        assert its == pytest.approx(mean, abs=1e-9)
