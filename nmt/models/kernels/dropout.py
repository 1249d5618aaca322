"""Dropout on a CPU, with random bytes in place of random floats."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

aten = torch.ops.aten


def dropout(inputs: Tensor, rate: float) -> Tensor:
    """Zero each input with probability `rate` and scale the others by 1 / (1 - rate)."""
    return inputs * dropout_mask(inputs, rate)


def relu_dropout(inputs: Tensor, rate: float) -> Tensor:
    """Return the dropout of relu(inputs)."""
    mask, scale = dropout_mask(inputs, rate), 1 / (1 - rate)
    return cast(Tensor, _MaskedReLU.apply(inputs, mask, scale))  # type: ignore[no-untyped-call]


def dropout_mask(like: Tensor, rate: float) -> Tensor:
    """Return a random mask of 0 with probability `rate`, else 1 / (1 - rate), shaped like `like`.

    torch draws a random number for each element of its CPU masks, which costs as much as a matrix
    product. Here a 64-bit number serves eight elements. A byte resolves rates in steps of 1/256,
    so each column randomly rounds the rate up or down; on average the rate is exact.
    """
    draws = torch.empty(-(-like.numel() // 8), dtype=torch.int64).random_(-(2**63), None)
    draws = draws.view(torch.int8)[: like.numel()].view(like.shape)
    threshold = (rate * 2**8 + torch.rand(like.shape[-1])).clamp(max=2**8 - 1).floor() - 2**7
    keep = draws.ge_(threshold.to(torch.int8))  # in place, because bool converts slowly to float
    return keep.to(like.dtype).mul_(1 / (1 - rate))


class _MaskedReLU(torch.autograd.Function):
    """relu(inputs) * mask. The backward pass needs the outputs only, not inputs and mask.

    The mask holds 0 or `scale`: where the output is positive, the gradient is `scale`, else 0.
    """

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, mask: Tensor, scale: float) -> Tensor:
        outputs = inputs.clamp_min(0).mul_(mask)
        ctx.save_for_backward(outputs)
        ctx.scale = mask.new_full((), scale)  # rounded to the type of the mask
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_outputs: Tensor) -> tuple[Tensor, None, None]:
        [outputs] = ctx.saved_tensors
        return aten.threshold_backward(grad_outputs, outputs, 0).mul_(ctx.scale), None, None
