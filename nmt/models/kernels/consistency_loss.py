"""Cross entropy of two passes over the same targets, and the divergence of their predictions.

Shapes: M rows (target tokens), D width of hidden vectors, V vocabulary.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from nmt.models.kernels.dtypes import to_fp32

CHUNK_SIZE = {"cpu": 2**21, "cuda": 2**25}
"""Maximum number of logits of a pass that are in memory at a time, by type of device."""


class TermWeights(NamedTuple):
    """Factors of the terms of the loss, with P and Q the predictions of the two passes."""

    first: float
    """Of the cross entropy of P."""
    second: float
    """Of the cross entropy of Q."""
    forward: float
    """Of KL(P || Q)."""
    backward: float
    """Of KL(Q || P)."""


def consistency_loss(
    first: Tensor,
    second: Tensor,
    weight: Tensor,
    bias: Tensor,
    tgt: Tensor,
    label_smoothing: float,
    weights: TermWeights,
) -> tuple[Tensor, Tensor]:
    """Return the loss of two M x D hidden vectors for M target ids, and its divergence terms.

    Both are sums over the rows in nats. Only the loss has a gradient. With smoothing e the target
    distribution is (1 - e) one-hot + e uniform over V. Computes the loss and its gradient in
    chunks of rows, to save memory.
    """
    needs_gradient = torch.is_grad_enabled() and (first.requires_grad or weight.requires_grad)
    loss, divergence, *_ = _consistency_loss(
        first, second, weight, bias, tgt, label_smoothing, list(weights), needs_gradient
    )
    return loss, divergence


@torch.library.custom_op(
    "nmt::consistency_loss",
    mutates_args=(),
    schema="(Tensor first, Tensor second, Tensor weight, Tensor bias, Tensor tgt, float smoothing, "
    "float[] weights, bool needs_gradient) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
)
def _consistency_loss(
    first: Tensor,
    second: Tensor,
    weight: Tensor,
    bias: Tensor,
    tgt: Tensor,
    smoothing: float,
    weights: list[float],
    needs_gradient: bool,
) -> tuple[Tensor, ...]:
    """Return loss, divergence terms, and the gradients of both passes, weight and bias.

    With z the logits of P, the gradients are, for each row,

        cross entropy of P    P - (1 - e) onehot - e / V
        KL(P || Q)            P (log P - log Q - KL(P || Q))
        KL(Q || P)            P - Q

    and those of the logits of Q with both exchanged.
    """
    a, b, c, d = weights
    rows = max(1, min(len(first), CHUNK_SIZE[first.device.type] // len(weight)))
    loss = to_fp32(first.new_zeros(()))
    divergence = torch.zeros_like(loss)
    outputs = [torch.empty_like(first), torch.empty_like(second)] if needs_gradient else []
    sums = [torch.zeros_like(weight), torch.zeros_like(bias)] if needs_gradient else []
    with torch.no_grad(), torch.autocast(first.device.type, enabled=False):
        cast_weight, cast_bias = weight.to(first.dtype), bias.to(first.dtype)
        for begin in range(0, len(first), rows):
            chunk = slice(begin, begin + rows)
            log_p, log_q = (
                torch.log_softmax(
                    to_fp32(torch.addmm(cast_bias, hidden[chunk], cast_weight.t())), 1
                )
                for hidden in (first, second)
            )
            target = tgt[chunk, None]
            loss += a * _cross_entropy(log_p, target, smoothing)
            loss += b * _cross_entropy(log_q, target, smoothing)
            p, q, difference = log_p.exp(), log_q.exp(), log_p.sub_(log_q)
            kl_pq = torch.linalg.vecdot(p, difference)[:, None]
            kl_qp = -torch.linalg.vecdot(q, difference)[:, None]
            divergence += (c * kl_pq + d * kl_qp).sum()
            if not needs_gradient:
                continue
            # the terms of the equations above, ordered by their factors P and Q
            grad_p = (difference - kl_pq).mul_(c).add_(a + d).mul_(p).sub_(q, alpha=d)
            grad_q = difference.add_(kl_qp).mul_(-d).add_(b + c).mul_(q).sub_(p, alpha=c)
            passes = zip((first, second), outputs, (grad_p, grad_q), (a, b), strict=True)
            for hidden, gradient, grad, factor in passes:
                if factor:
                    grad.sub_(factor * smoothing / len(weight))
                    minus_target = grad.new_full((len(target), 1), factor * (smoothing - 1))
                    grad.scatter_add_(1, target, minus_target)
                grad_logits = grad.to(hidden.dtype)
                torch.mm(grad_logits, cast_weight, out=gradient[chunk])
                sums[0].add_(grad_logits.t() @ hidden[chunk])
                sums[1].add_(grad.sum(0))
    empty = [first.new_empty(0) for _ in range(0 if needs_gradient else 4)]
    return loss + divergence, divergence, *outputs, *sums, *empty


def _cross_entropy(log_probs: Tensor, target: Tensor, smoothing: float) -> Tensor:
    """Return the summed cross entropy of M x V log-probabilities against M x 1 target ids."""
    at_target, mean = log_probs.gather(1, target).sum(), log_probs.mean(1).sum()
    return -(1 - smoothing) * at_target - smoothing * mean


@_consistency_loss.register_fake
def _(
    first: Tensor,
    second: Tensor,
    weight: Tensor,
    bias: Tensor,
    tgt: Tensor,
    smoothing: float,
    weights: list[float],
    needs_gradient: bool,
) -> tuple[Tensor, ...]:
    loss = to_fp32(first.new_empty(()))
    like = (first, second, weight, bias)
    gradients = [torch.empty_like(t) if needs_gradient else first.new_empty(0) for t in like]
    return loss, torch.empty_like(loss), *gradients


def _save_gradients(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(*output[2:])


def _scale_gradients(ctx: Any, scale: Tensor, *_: None) -> tuple[Tensor | None, ...]:
    return *(gradient * scale for gradient in ctx.saved_tensors), None, None, None, None


_consistency_loss.register_autograd(_scale_gradients, setup_context=_save_gradients)
