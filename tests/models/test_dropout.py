"""Dropout has the right rate, drops independently, and depends only on the seed."""

from __future__ import annotations

import pytest
import torch

from nmt.models.layers import Dropout, dropout, relu_dropout


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.5, 0.9])
def test_dropout_has_rate_and_keeps_mean(rate: float) -> None:
    torch.manual_seed(1)
    outputs = dropout(torch.ones(1000, 1001), rate)
    deviation = (rate * (1 - rate) / outputs.numel()) ** 0.5
    assert abs(float((outputs == 0).double().mean()) - rate) < 4 * deviation + 2**-16
    assert outputs.unique().tolist() == pytest.approx([0, 1 / (1 - rate)])


def test_dropout_neighbours_are_independent() -> None:
    torch.manual_seed(2)
    is_zero = (dropout(torch.ones(1_000_000), 0.3) == 0).double() - 0.3
    for distance in (1, 2, 3, 4, 5, 8, 64):  # eight elements share a 64-bit random number
        correlation = float((is_zero[distance:] * is_zero[:-distance]).mean()) / (0.3 * 0.7)
        assert abs(correlation) < 5e-3


def test_dropout_depends_on_seed_and_masks_gradient() -> None:
    inputs = torch.randn(7, 5, requires_grad=True)
    torch.manual_seed(3)
    first = dropout(inputs, 0.4)
    first.sum().backward()
    torch.manual_seed(3)
    assert torch.equal(first, dropout(inputs, 0.4))
    assert inputs.grad is not None
    assert torch.equal(inputs.grad == 0, first == 0)


def test_dropout_in_eval_or_at_rate_0_is_identity() -> None:
    inputs = torch.randn(9, 9)
    assert torch.equal(Dropout(0.5).eval()(inputs), inputs)
    assert torch.equal(Dropout(0.0)(inputs), inputs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_relu_dropout_matches_relu_then_dropout(dtype: torch.dtype) -> None:
    leaves = [torch.randn(9, 33, generator=torch.Generator().manual_seed(4)) for _ in range(2)]
    scale = torch.randn(9, 33, generator=torch.Generator().manual_seed(5)).to(dtype)
    outputs = []
    for leaf, function in zip(
        leaves, (relu_dropout, lambda x, r: dropout(x.relu(), r)), strict=True
    ):
        leaf.requires_grad_()
        torch.manual_seed(6)
        outputs.append(function(leaf.to(dtype), 0.3))
        (outputs[-1] * scale).sum().backward()
    assert torch.equal(*outputs)
    assert leaves[0].grad is not None
    assert leaves[1].grad is not None
    assert torch.equal(leaves[0].grad, leaves[1].grad)
