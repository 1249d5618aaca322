"""The recurrence of an SSRU as one operator, which torch.compile does not trace.

The number of steps is the length of the batch, so a traced loop would be compiled for each length.

Shapes: B sentences, T length, D width.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor


def ssru_cells(forget: Tensor, candidate: Tensor) -> Tensor:
    """Return c_t = f_t c_{t-1} + x_t with c_0 = 0, B x T x D, for B x T x D gates f and inputs x.

    All tensors are in fp32 or float64.
    """
    return cast(Tensor, _ssru_cells(forget, candidate))


@torch.library.custom_op(
    "nmt::ssru_cells", mutates_args=(), schema="(Tensor forget, Tensor candidate) -> Tensor"
)
def _ssru_cells(forget: Tensor, candidate: Tensor) -> Tensor:
    cells = candidate.clone(memory_format=torch.contiguous_format)
    for t in range(1, cells.size(1)):
        cells[:, t].addcmul_(forget[:, t], cells[:, t - 1])
    return cells


@torch.library.custom_op(
    "nmt::ssru_cells_backward",
    mutates_args=(),
    schema="(Tensor grad, Tensor forget, Tensor cells) -> (Tensor, Tensor)",
)
def _ssru_cells_backward(grad: Tensor, forget: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of `forget` and `candidate`: g_t = grad_t + f_{t+1} g_{t+1}."""
    grad_candidate = grad.clone(memory_format=torch.contiguous_format)
    for t in range(cells.size(1) - 1, 0, -1):
        grad_candidate[:, t - 1].addcmul_(forget[:, t], grad_candidate[:, t])
    grad_forget = torch.zeros_like(grad_candidate)
    torch.mul(grad_candidate[:, 1:], cells[:, :-1], out=grad_forget[:, 1:])
    return grad_forget, grad_candidate


@_ssru_cells.register_fake
def _(forget: Tensor, candidate: Tensor) -> Tensor:
    return candidate.new_empty(candidate.shape)


@_ssru_cells_backward.register_fake
def _(grad: Tensor, forget: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
    return grad.new_empty(grad.shape), grad.new_empty(grad.shape)


def _save(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(inputs[0], output)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
    return cast(tuple[Tensor, Tensor], _ssru_cells_backward(grad, *ctx.saved_tensors))


_ssru_cells.register_autograd(_backward, setup_context=_save)
