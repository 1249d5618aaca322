"""The state of a beam: candidates that finish, candidates that stay active, and the stop rules."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from nmt.decoding.search.beam_state import BeamState, Candidates, Ranking, SearchRules, StopRule
from nmt.decoding.search.candidates import BLOCK_SIZE, top_candidates

EOS = 3
STOP_RULES: list[StopRule] = ["exact", "bounded", "first", "beam"]
VOCAB_SIZES = [5, BLOCK_SIZE, 10 * BLOCK_SIZE + 7, 40 * BLOCK_SIZE, 40 * BLOCK_SIZE + 1]


@pytest.mark.parametrize("vocab_size", VOCAB_SIZES)
@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("count", [1, 4, 10])
def test_top_candidates_of_any_size_equal_a_full_sort(
    vocab_size: int, rows: int, count: int
) -> None:
    generator = torch.Generator().manual_seed(vocab_size)
    log_probs = torch.randint(0, 50, (10, rows, vocab_size), generator=generator).float()
    totals = torch.randint(0, 5, (10, rows), generator=generator).float()
    log_probs[3, -1, -1] = 60.0
    log_probs[4, 0] = -math.inf
    totals[5, -1] = -math.inf
    values, row, token = top_candidates(log_probs, totals, count)
    sums = (log_probs + totals[:, :, None]).flatten(1)
    assert torch.equal(values, sums.sort(1, descending=True).values[:, :count])
    index = row * vocab_size + token
    assert torch.equal(sums.gather(1, index), values)
    assert all(len(set(indices)) == len(indices) for indices in index.tolist()), "a duplicate"


def candidates(log_probs: list[float], origins: list[int], tokens: list[int]) -> Candidates:
    """Return the candidates of one search."""
    return Candidates(torch.tensor([log_probs]), torch.tensor([origins]), torch.tensor([tokens]))


def test_extend_finishes_first_k_and_continues_others() -> None:
    """With K = 2, the first of four candidates finishes. The third ends too late."""
    first = candidates([-0.5, -1.0, -2.0, -3.0], [0, 0, 0, 0], [7, 8, 9, 10])
    rules = SearchRules(EOS, "beam", Ranking(1.0))
    state = BeamState.start([9], 2, 2, rules, torch.empty(0)).extend(first, rules).state
    assert state.tokens[0, :, 0].tolist() == [7, 8]
    second = candidates([-1.0, -1.5, -2.0, -2.5], [1, 0, 0, 1], [EOS, 5, EOS, 6])
    next_state, rows, tokens = state.extend(second, rules)
    assert rows.tolist() == [[0, 1]]
    assert tokens.tolist() == [[5, 6]]
    assert next_state.tokens[0, :, :2].tolist() == [[7, 5], [8, 6]]
    assert next_state.log_probs.tolist() == [[-1.5, -2.5]]
    assert next_state.num_finished is not None
    assert next_state.num_finished.tolist() == [1]
    assert next_state.finished_tokens[0, 0, :2].tolist() == [8, EOS]
    assert next_state.finished_log_probs[0, 0] == -1.0
    assert next_state.finished_scores[0].tolist() == [pytest.approx(-1.0 / (7 / 6)), -math.inf]


@pytest.mark.parametrize(
    ("stop", "finished", "active", "length", "num_finished", "is_done"),
    [
        # the active hypotheses can still reach -9 / lp(40) = -9 / 7.5 = -1.2
        ("exact", -1.19, -9.0, 10, 1, True),
        ("exact", -1.21, -9.0, 10, 1, False),
        # or -9 / lp(10 + 5 + 5) = -9 / (25 / 6) = -2.16
        ("bounded", -2.15, -9.0, 10, 1, True),
        ("bounded", -2.17, -9.0, 10, 1, False),
        ("first", -math.inf, -9.0, 10, 0, False),
        ("first", -99.0, -1.0, 10, 1, True),
        ("beam", -99.0, -1.0, 10, 1, False),
        ("beam", -99.0, -1.0, 10, 2, True),
        # at the maximum length, no hypothesis is active
        *((stop, -math.inf, -math.inf, 40, 0, True) for stop in STOP_RULES),
    ],
)
def test_is_done_with_each_stop_rule_compares_scores(
    stop: StopRule, finished: float, active: float, length: int, num_finished: int, is_done: bool
) -> None:
    """One search with K = 2, n = 1 and maximum length 40."""
    rules = SearchRules(EOS, stop, Ranking(1.0))
    start = BeamState.start([40], 2, 1, rules, torch.empty(0))
    state = replace(
        start,
        penalty=start.penalties[:, length],
        finished_scores=torch.tensor([[finished]]),
        log_probs=torch.tensor([[active, active - 1]]),
        lengths=torch.tensor([length]),
        num_finished=torch.tensor([num_finished]),
    )
    assert state.is_done(stop).tolist() == [is_done]
    frozen = state.without_active(torch.tensor([is_done]))
    assert frozen.is_done(stop).tolist() == [is_done], "a search that is done remains so"


def test_length_penalty_of_tensor_is_elementwise() -> None:
    penalties = Ranking(1.0).length_penalty(torch.tensor([1, 7, 13]))
    assert penalties.tolist() == pytest.approx([1, 2, 3])
