"""Scores, softmax and context against sums written out, and against torch's own attention."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from nmt.models.attention import SCORES, Additive, Attention, General

B, Q, S, D = 2, 3, 4, 5
MASK = torch.tensor([[True, True, True, True], [True, True, False, False]])


def numbers(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


QUERY, VALUES = numbers(B, Q, D, seed=1), numbers(B, S, D, seed=2)


def make_attention(score: str) -> Attention:
    attention = Attention(score, D)
    for i, parameter in enumerate(attention.parameters()):
        parameter.data = numbers(*parameter.shape, seed=10 + i)
    return attention


def inner(u: list[float], v: list[float]) -> float:
    return sum(a * b for a, b in zip(u, v, strict=True))


def times(matrix: list[list[float]], v: list[float]) -> list[float]:
    return [inner(row, v) for row in matrix]


def by_hand(score: str, attention: Attention, h: list[float], m: list[float]) -> float:
    """score(h, m), h a decoder state and m an encoder state, as the papers write it."""
    weights = {name: p.tolist() for name, p in attention.score.named_parameters()}
    if score == "dot":
        return inner(h, m)
    if score == "scaled_dot":
        return inner(h, m) / math.sqrt(D)
    if score == "general":
        return inner(h, times(weights["key.weight"], m))
    if score == "additive":
        sums = zip(times(weights["query.weight"], h), times(weights["key.weight"], m), strict=True)
        return inner(weights["vector"], [math.tanh(a + b) for a, b in sums])
    both = [q + k for q, k in zip(weights["query.weight"], weights["key.weight"], strict=True)]
    return inner(weights["vector"], [math.tanh(x) for x in times(both, h + m)])  # W [h; m]


@pytest.mark.parametrize("score", ["additive", "dot", "scaled_dot", "general", "concat"])
def test_scores_weights_and_context_by_hand(score: str) -> None:
    attention = make_attention(score)
    found = attention(QUERY, attention.project(VALUES), VALUES, MASK)
    for b in range(B):
        real = [s for s in range(S) if MASK[b, s]]
        memory = [VALUES[b, s].tolist() for s in real]
        for q in range(Q):
            raw = [by_hand(score, attention, QUERY[b, q].tolist(), m) for m in memory]
            total = sum(math.exp(x) for x in raw)
            weights = [math.exp(x) / total for x in raw]
            context = [
                sum(w * m[d] for w, m in zip(weights, memory, strict=True)) for d in range(D)
            ]
            assert found.scores[b, q, real].tolist() == pytest.approx(raw, abs=1e-5)
            assert found.weights[b, q, real].tolist() == pytest.approx(weights, abs=1e-5)
            assert found.context[b, q].tolist() == pytest.approx(context, abs=1e-5)


@pytest.mark.parametrize("score", SCORES)
def test_padding_gets_no_weight_and_has_no_say(score: str) -> None:
    attention = make_attention(score)
    found = attention(QUERY, attention.project(VALUES), VALUES, MASK)
    assert (found.scores[1, :, 2:] == -math.inf).all()
    assert (found.weights[1, :, 2:] == 0).all()
    other = VALUES.clone()
    other[1, 2:] = 50.0
    again = attention(QUERY, attention.project(other), other, MASK)
    assert_close(again.context, found.context)


def test_scaled_dot_is_torchs_own_attention() -> None:
    attention = Attention("scaled_dot", D)
    found = attention(QUERY, attention.project(VALUES), VALUES, MASK)
    expected = F.scaled_dot_product_attention(QUERY, VALUES, VALUES, MASK[:, None])
    assert_close(found.context, expected)


@pytest.mark.parametrize("score", ["dot", "general"])
def test_unscaled_products_are_torchs_attention_at_scale_one(score: str) -> None:
    attention = make_attention(score)
    found = attention(QUERY, attention.project(VALUES), VALUES, MASK)
    keys = VALUES
    if isinstance(attention.score, General):
        keys = torch.einsum("ij,bsj->bsi", attention.score.key.weight, VALUES)
    expected = F.scaled_dot_product_attention(QUERY, keys, VALUES, MASK[:, None], scale=1.0)
    assert_close(found.context, expected)


def test_concat_is_the_additive_class_under_its_other_name() -> None:
    assert SCORES["concat"] is SCORES["additive"] is Additive


def test_the_softmax_is_in_fp32_whatever_the_precision() -> None:
    attention = Attention("dot", D)
    query, values = QUERY.bfloat16(), VALUES.bfloat16()
    found = attention(query, attention.project(values), values, MASK)
    assert found.scores.dtype == found.weights.dtype == torch.float32
    assert found.context.dtype == torch.bfloat16
