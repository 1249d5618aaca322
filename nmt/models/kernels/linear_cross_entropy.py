"""Output projection and cross entropy as one operator, which torch.compile does not trace.

The number of chunks depends on the number of rows, so a traced loop would be compiled again for
almost every batch. torch's `linear_cross_entropy` with chunks is also not compiled, and it is not
in torch 2.11 (benchmarks/LOG.md).

Shapes: M rows (target tokens), D width of hidden vectors, V vocabulary.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from nmt.models.kernels.cross_entropy import ChunkBuffers, Gradients, compute_in_chunks
from nmt.models.kernels.dtypes import to_fp32

CHUNK_SIZE = 2**26
"""Maximum number of logits that are in memory at a time."""
MAX_CHUNK_ROWS = 4096
"""Maximum number of rows in a chunk. The weight gradient of a chunk must not overflow in fp16."""


def linear_cross_entropy(
    hidden: Tensor, weight: Tensor, bias: Tensor, tgt: Tensor, label_smoothing: float
) -> Tensor:
    """Return the summed cross entropy of M x D hidden vectors against M target ids, in nats.

    `hidden` has the data type of the products. Never hold more than CHUNK_SIZE logits: compute the
    loss and its gradient in chunks of rows.
    """
    needs_gradient = torch.is_grad_enabled() and (hidden.requires_grad or weight.requires_grad)
    outputs = _linear_cross_entropy(hidden, weight, bias, tgt, label_smoothing, needs_gradient)
    return cast(Tensor, outputs[0])


@torch.library.custom_op(
    "nmt::linear_cross_entropy",
    mutates_args=(),
    schema="(Tensor hidden, Tensor weight, Tensor bias, Tensor tgt, float smoothing, "
    "bool needs_gradient) -> (Tensor, Tensor, Tensor, Tensor)",
)
def _linear_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor,
    tgt: Tensor,
    smoothing: float,
    needs_gradient: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the loss and the gradients of hidden vectors, weight and bias; empty if not needed."""
    rows = max(1, min(len(hidden), MAX_CHUNK_ROWS, CHUNK_SIZE // len(weight)))
    logits = hidden.new_empty(rows, len(weight))
    buffers = ChunkBuffers(logits, to_fp32(logits))
    gradients = Gradients.empty(hidden, weight, bias) if needs_gradient else None
    with torch.no_grad(), torch.autocast(hidden.device.type, enabled=False):
        loss = compute_in_chunks(hidden, weight, bias, tgt, smoothing, buffers, gradients)
    if gradients is None:
        return loss, hidden.new_empty(0), weight.new_empty(0), bias.new_empty(0)
    return loss, *gradients


@_linear_cross_entropy.register_fake
def _(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor,
    tgt: Tensor,
    smoothing: float,
    needs_gradient: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    loss = to_fp32(hidden.new_empty(()))
    if not needs_gradient:
        return loss, hidden.new_empty(0), weight.new_empty(0), bias.new_empty(0)
    return loss, torch.empty_like(hidden), torch.empty_like(weight), torch.empty_like(bias)


def _save_gradients(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*output[1:])


def _scale_gradients(ctx: Any, scale: Tensor, *_: None) -> tuple[Tensor | None, ...]:
    return *(gradient * scale for gradient in ctx.saved_tensors), None, None, None


_linear_cross_entropy.register_autograd(_scale_gradients, setup_context=_save_gradients)
