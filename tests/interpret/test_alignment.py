"""Hard alignments, their scores, symmetrization and diagnosis against hand computation."""

from __future__ import annotations

import random

import numpy as np
import pytest

from nmt.data.corpus.word_alignment import GoldAlignment, format_pharaoh, parse_alignment
from nmt.errors import DataError
from nmt.evaluation.attention_checks import diagnose_attention
from nmt.interpret.alignment import (
    SYMMETRIZATIONS,
    grow_diag_final_and,
    hard_alignment,
    intersection,
    score_alignments,
)


def test_hard_alignment_links_to_the_largest_weight() -> None:
    weights = np.array([[0.1, 0.8, 0.04, 0.06], [0.7, 0.2, 0.04, 0.06], [0.0, 0.0, 0.0, 1.0]])
    assert hard_alignment(weights) == {(1, 0), (0, 1)}


def test_hard_alignment_attention_to_the_end_gives_no_link() -> None:
    weights = np.array([[0.9, 0.1], [0.04, 0.96], [0.0, 1.0]])
    assert hard_alignment(weights) == {(0, 0)}


def test_hard_alignment_links_unaligned_source_words() -> None:
    weights = np.array([[0.90, 0.04, 0.06], [0.93, 0.06, 0.01], [0.0, 0.0, 1.0]])
    assert hard_alignment(weights) == {(0, 0), (0, 1), (1, 1)}
    assert hard_alignment(np.where(weights == 0.06, 0.03, weights)) == {(0, 0), (0, 1)}


def test_hard_alignment_word_without_pieces_has_no_link() -> None:
    weights = np.array([[0.0, 0.0, 0.0], [0.0, 0.9, 0.1], [0.0, 0.0, 1.0]])
    assert hard_alignment(weights) == {(1, 1)}


def test_hard_alignment_of_empty_sides_is_empty() -> None:
    assert hard_alignment(np.array([[0.3, 0.7]])) == set()
    assert hard_alignment(np.array([[1.0]])) == set()


def test_parse_alignment_separates_sure_and_possible() -> None:
    assert parse_alignment("0-0 1?2 12p3", "a:1") == GoldAlignment(
        {(0, 0)}, {(0, 0), (1, 2), (12, 3)}
    )
    assert parse_alignment("", "a:1") == GoldAlignment(set(), set())


@pytest.mark.parametrize("item", ["0", "0:1", "a-b", "-1-2", "1-2-3", "1-", "0-" + "9" * 5000])
def test_parse_alignment_bad_link_is_refused(item: str) -> None:
    with pytest.raises(DataError, match=r"gold\.align:7: expected links such as"):
        parse_alignment(f"0-0 {item}", "gold.align:7")


def test_score_alignments_equals_hand_computation() -> None:
    """|A| = 4, |S| = 3, |A & S| = 2, |A & P| = 3."""
    gold = GoldAlignment({(0, 0), (1, 1), (2, 2)}, {(0, 0), (1, 1), (2, 2), (3, 3)})
    scores = score_alignments([{(0, 0), (1, 1), (3, 3), (4, 4)}], [gold])
    assert (scores.precision, scores.recall) == (3 / 4, 2 / 3)
    assert scores.aer == pytest.approx(1 - 5 / 7)
    assert score_alignments([gold.sure], [gold]).aer == 0.0
    assert score_alignments([set()], [gold]).aer == 1.0


def test_grow_diag_final_and_equals_hand_computation() -> None:
    forward = {(0, 0), (1, 1), (2, 1), (4, 4)}
    backward = {(0, 0), (1, 1), (1, 2), (5, 3), (5, 4)}
    # (2, 1) and (1, 2) touch (1, 1) with one free word each; (4, 4) has two, then (5, 4) only one
    expected = {(0, 0), (1, 1), (2, 1), (1, 2), (4, 4), (5, 3)}
    assert grow_diag_final_and(forward, backward) == expected
    assert intersection(forward, backward) == {(0, 0), (1, 1)}


def test_grow_diag_final_and_prefers_straight_neighbours() -> None:
    forward, backward = {(1, 1), (0, 1)}, {(1, 1), (0, 0)}
    assert grow_diag_final_and(forward, backward) == {(1, 1), (0, 1), (0, 0)}


def test_grow_diag_final_and_is_within_the_union() -> None:
    rng = random.Random(3)
    for _ in range(200):
        forward, backward = (
            {(rng.randrange(6), rng.randrange(6)) for _ in range(rng.randrange(9))} for _ in "ab"
        )
        links = grow_diag_final_and(forward, backward)
        assert forward & backward <= links <= forward | backward
        assert grow_diag_final_and(forward, forward) == forward
        for s, t in (forward | backward) - links:  # omitted links have an aligned word
            assert s in {a for a, _ in links} or t in {b for _, b in links}
    assert list(SYMMETRIZATIONS) == ["grow-diag-final-and", "intersection"]


def test_format_pharaoh_sorts_links() -> None:
    assert format_pharaoh({(10, 0), (2, 5), (2, 1)}) == "2-1 2-5 10-0"
    assert format_pharaoh(set()) == ""


def test_diagnose_attention_equals_hand_computation() -> None:
    """One word attends to the first source word, all to the second, and none to the third."""
    weights = np.array([[0.5, 0.5, 0, 0], [0, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1.0]])
    diagnosis = diagnose_attention(weights)
    assert diagnosis.dropped == [2]
    assert diagnosis.repeated == [1]
    assert diagnosis.entropy == pytest.approx(np.log(2) / 3, abs=1e-6)
