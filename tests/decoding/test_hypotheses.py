"""The bookkeeping of a beam: which candidates end, which live on, and when a search is over."""

from __future__ import annotations

import math

import pytest
import torch

from nmt.decoding.beam_state import Hypotheses, Ranking, Stop
from nmt.decoding.candidates import BLOCK, best_of

EOS = 3


@pytest.mark.parametrize("size", [5, BLOCK, 10 * BLOCK + 7, 40 * BLOCK, 40 * BLOCK + 1])
@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("count", [1, 4, 10])
def test_best_of_finds_what_sorting_everything_finds(size: int, rows: int, count: int) -> None:
    generator = torch.Generator().manual_seed(size)
    log_probs = torch.randint(0, 50, (10, rows, size), generator=generator).float()  # many ties
    totals = torch.randint(0, 5, (10, rows), generator=generator).float()
    log_probs[3, -1, -1] = 60.0
    log_probs[4, 0] = -math.inf
    totals[5, -1] = -math.inf
    values, row, token = best_of(log_probs, totals, count)
    sums = (log_probs + totals[:, :, None]).flatten(1)
    assert torch.equal(values, sums.sort(1, descending=True).values[:, :count])
    index = row * size + token
    assert torch.equal(sums.gather(1, index), values)
    assert all(len(set(places)) == len(places) for places in index.tolist()), "one taken twice"


def test_the_first_k_that_end_are_kept_and_the_first_k_others_live_on() -> None:
    """K = 2: of four candidates the first ends and is kept, the third ends too late."""
    before = Hypotheses.start(torch.tensor([9]), 2, 2)
    before, _ = before.advance(
        torch.tensor([[-0.5, -1.0, -2.0, -3.0]]),
        torch.tensor([[0, 0, 0, 0]]),
        torch.tensor([[7, 8, 9, 10]]),
        EOS,
        Ranking(1.0),
    )
    assert before.tokens[0, :, 0].tolist() == [7, 8]
    after, origin = before.advance(
        torch.tensor([[-1.0, -1.5, -2.0, -2.5]]),
        torch.tensor([[1, 0, 0, 1]]),
        torch.tensor([[EOS, 5, EOS, 6]]),
        EOS,
        Ranking(1.0),
    )
    assert origin.tolist() == [[0, 1]]
    assert after.tokens[0, :, :2].tolist() == [[7, 5], [8, 6]]
    assert after.scores.tolist() == [[-1.5, -2.5]]
    assert after.ended.tolist() == [1]
    assert after.best_lengths[0, 0] == 1
    assert after.best_tokens[0, 0, :1].tolist() == [8]
    assert after.best_log_probs[0, 0] == -1.0
    assert after.best[0].tolist() == [pytest.approx(-1.0 / (7 / 6)), -math.inf]


def make_hypotheses(best: float, living: float, length: int, ended: int = 1) -> Hypotheses:
    """One sentence with K = 2 and limit 40."""
    start = Hypotheses.start(torch.tensor([40]), 2, 1)
    changes = {
        "best": torch.tensor([[best]]),
        "scores": torch.tensor([[living, living - 1]]),
        "length": torch.tensor([length]),
        "ended": torch.tensor([ended]),
    }
    return Hypotheses(**{**vars(start), **changes})


@pytest.mark.parametrize(
    ("stop", "best", "living", "length", "ended", "over"),
    [
        # the living may still reach -9 / lp(40) = -9 / 7.5 = -1.2
        ("exact", -1.19, -9.0, 10, 1, True),
        ("exact", -1.21, -9.0, 10, 1, False),
        # or -9 / lp(10 + 5 + 5) = -9 / (25 / 6) = -2.16
        ("bounded", -2.15, -9.0, 10, 1, True),
        ("bounded", -2.17, -9.0, 10, 1, False),
        ("first", -math.inf, -9.0, 10, 0, False),
        ("first", -99.0, -1.0, 10, 1, True),
        ("beam", -99.0, -1.0, 10, 1, False),
        ("beam", -99.0, -1.0, 10, 2, True),
        *((stop, -math.inf, -1.0, 40, 0, True) for stop in ("exact", "bounded", "first", "beam")),
    ],
)
def test_when_a_search_is_over(
    stop: Stop, best: float, living: float, length: int, ended: int, over: bool
) -> None:
    hypotheses = make_hypotheses(best, living, length, ended)
    assert hypotheses.done(stop, Ranking(1.0)).tolist() == [over]


def test_length_penalties_of_many_lengths_at_once() -> None:
    found = Ranking(1.0).penalty(torch.tensor([1, 7, 13]))
    assert found.tolist() == pytest.approx([1, 2, 3])
