"""Cross entropy of an output projection in chunks of rows.

Shapes: M rows (target tokens), D width of hidden vectors, V vocabulary.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from nmt.models.kernels.dtypes import to_fp32

SOFTMAX_ROWS = 512
"""Rows of logits that pass through the softmax together."""
GRADIENT_ROWS = 2048
"""Rows that contribute to the weight gradient in one product."""


class ChunkBuffers(NamedTuple):
    """Memory for logits that calls reuse, because the kernel zeroes fresh pages at a high cost."""

    logits: Tensor
    """GRADIENT_ROWS x V, in the type of the matrix products."""
    softmax: Tensor
    """SOFTMAX_ROWS x V, in the type of the sums."""


def chunked_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor,
    tgt: Tensor,
    label_smoothing: float,
    buffers: ChunkBuffers,
) -> Tensor:
    """Return the summed cross entropy of M x D hidden vectors against M target ids, in nats.

    Never hold all M x V logits: compute the loss and its gradient in chunks of rows.
    """
    loss = _ChunkedCrossEntropy.apply(hidden, weight, bias, tgt, label_smoothing, buffers)  # type: ignore[no-untyped-call]
    return cast(Tensor, loss)


class _ChunkedCrossEntropy(torch.autograd.Function):
    """Output projection and cross entropy; the forward pass computes the gradient, too."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor,
        tgt: Tensor,
        smoothing: float,
        buffers: ChunkBuffers,
    ) -> Tensor:
        gradients = None
        if any(ctx.needs_input_grad):
            gradients = Gradients.empty(hidden, weight, bias)
        ctx.gradients = gradients
        return compute_in_chunks(hidden, weight, bias, tgt, smoothing, buffers, gradients)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:
        [scale] = grad_outputs
        gradients = [gradient.mul_(scale) for gradient in ctx.gradients]
        ctx.gradients = None
        return *gradients, None, None, None


class Gradients(NamedTuple):
    """Gradients of the summed cross entropy."""

    hidden: Tensor
    weight: Tensor
    bias: Tensor

    @classmethod
    def empty(cls, hidden: Tensor, weight: Tensor, bias: Tensor) -> Gradients:
        """Return memory for the gradients of these tensors."""
        return cls(torch.empty_like(hidden), torch.zeros_like(weight), torch.zeros_like(bias))


def compute_in_chunks(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor,
    tgt: Tensor,
    smoothing: float,
    buffers: ChunkBuffers,
    gradients: Gradients | None,
) -> Tensor:
    """Return the summed cross entropy; write its gradients to `gradients`, if not None.

    With p the softmax of a row's logits z, t its target and e the smoothing, the loss is
    log sum exp z - (1 - e) z_t - e mean z, and its gradient p - (1 - e) onehot_t - e / V.
    log sum exp z is max z - log max p. The terms with a mean, e mean z and e / V, are equal for all
    rows and tokens, so they are added once, after the last chunk. The buffers give the number of
    rows in a chunk.
    """
    cast_weight, cast_bias = weight.to(hidden.dtype), bias.to(hidden.dtype)
    loss = buffers.softmax.new_zeros(())
    gradient_rows, softmax_rows = len(buffers.logits), len(buffers.softmax)
    for begin in range(0, len(hidden), gradient_rows):
        hidden_rows = hidden[begin : begin + gradient_rows]
        grad_logits = buffers.logits[: len(hidden_rows)]
        for first in range(0, len(hidden_rows), softmax_rows):
            rows = slice(first, first + softmax_rows)
            target, chunk = tgt[begin:][rows, None], grad_logits[rows]
            torch.addmm(cast_bias, hidden_rows[rows], cast_weight.t(), out=chunk)
            logits = _cast_into(buffers.softmax, chunk)
            loss += logits.amax(1).sum() - (1 - smoothing) * logits.gather(1, target).sum()
            softmax = torch.softmax(logits, 1, out=logits)
            loss -= softmax.amax(1).log().sum()
            if gradients is not None:
                minus_target = softmax.new_full((len(target), 1), smoothing - 1)
                chunk.copy_(softmax.scatter_add_(1, target, minus_target))
                torch.mm(chunk, cast_weight, out=gradients.hidden[begin:][rows])
        if gradients is not None:
            gradients.weight.add_(grad_logits.t() @ hidden_rows)
            gradients.bias.add_(grad_logits.sum(0))
    if smoothing:
        share = smoothing / len(weight)
        hidden_sum, weight_sum = to_fp32(hidden).sum(0), to_fp32(cast_weight).sum(0)
        bias_sum = to_fp32(cast_bias).sum()
        # not hidden_sum @ weight_sum, which autocast would compute in half precision
        loss -= share * (torch.dot(hidden_sum, weight_sum) + len(hidden) * bias_sum)
        if gradients is not None:
            gradients.hidden.sub_(share * weight_sum)
            gradients.weight.sub_(share * hidden_sum)
            gradients.bias.sub_(share * len(hidden))
    return loss


def _cast_into(buffer: Tensor, logits: Tensor) -> Tensor:
    """Return the logits in the type of the buffer: themselves, or a copy in the buffer."""
    return logits if logits.dtype == buffer.dtype else buffer[: len(logits)].copy_(logits)
