"""Dropout drops at its rate, independently, and depends on the seed alone."""

from __future__ import annotations

import pytest
import torch

from nmt.models.layers import Dropout, dropout, relu_dropout


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.5, 0.9])
def test_the_rate_holds_and_the_mean_is_kept(rate: float) -> None:
    torch.manual_seed(1)
    dropped = dropout(torch.ones(1000, 1001), rate)
    deviation = (rate * (1 - rate) / dropped.numel()) ** 0.5
    assert abs(float((dropped == 0).double().mean()) - rate) < 4 * deviation + 2**-16
    assert dropped.unique().tolist() == pytest.approx([0, 1 / (1 - rate)])


def test_neighbours_are_dropped_independently() -> None:
    torch.manual_seed(2)
    gone = (dropout(torch.ones(1_000_000), 0.3) == 0).double() - 0.3
    for distance in (1, 2, 3, 4, 5, 8, 64):  # four elements share one draw
        correlation = float((gone[distance:] * gone[:-distance]).mean()) / (0.3 * 0.7)
        assert abs(correlation) < 5e-3


def test_the_seed_decides_and_gradients_follow_the_mask() -> None:
    inputs = torch.randn(7, 5, requires_grad=True)
    torch.manual_seed(3)
    first = dropout(inputs, 0.4)
    first.sum().backward()
    torch.manual_seed(3)
    assert torch.equal(first, dropout(inputs, 0.4))
    assert inputs.grad is not None
    assert torch.equal(inputs.grad == 0, first == 0)


def test_nothing_is_dropped_outside_training_or_at_rate_zero() -> None:
    inputs = torch.randn(9, 9)
    assert torch.equal(Dropout(0.5).eval()(inputs), inputs)
    assert torch.equal(Dropout(0.0)(inputs), inputs)


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.float64])
def test_relu_and_dropout_in_one_are_the_two_after_each_other(kind: torch.dtype) -> None:
    leaves = [torch.randn(9, 33, generator=torch.Generator().manual_seed(4)) for _ in range(2)]
    scale = torch.randn(9, 33, generator=torch.Generator().manual_seed(5)).to(kind)
    made = []
    for leaf, function in zip(
        leaves, (relu_dropout, lambda x, r: dropout(x.relu(), r)), strict=True
    ):
        leaf.requires_grad_()
        torch.manual_seed(6)
        made.append(function(leaf.to(kind), 0.3))
        (made[-1] * scale).sum().backward()
    assert torch.equal(*made)
    assert leaves[0].grad is not None
    assert leaves[1].grad is not None
    assert torch.equal(leaves[0].grad, leaves[1].grad)
