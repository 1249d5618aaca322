"""Scores of additive attention, with a gradient that keeps little memory.

Shapes: B sentences, H heads, Q queries, W source positions, d width of a head.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def additive_scores(query: Tensor, keys: Tensor, vector: Tensor) -> Tensor:
    """Return v . tanh(q + k), B x H x Q x W, without keeping the B x H x Q x W x d sums.

    `query` is B x H x Q x d and `vector` H x d. `keys` are B x H x W x d, or B x H x Q x W x d with
    separate keys for each query.
    """
    return cast(Tensor, _AdditiveScores.apply(query, keys, vector))  # type: ignore[no-untyped-call]


class _AdditiveScores(torch.autograd.Function):
    """Process one query position at a time; the backward pass computes each tanh again.

    Uses tanh(x) = 2 s - 1 with s = sigmoid(2 x), because on a CPU torch's tanh takes three to six
    times as long as its sigmoid. With x = q + k and the gradient g of a score v . tanh(x):

        gradient of v:         sum g (2 s - 1)
        gradient of q and k:   sum g 4 v (s - s^2), over the positions that share q or k

    The factors that all positions share are applied once, after the loop.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, keys: Tensor, vector: Tensor) -> Tensor:
        ctx.save_for_backward(query, keys, vector)
        half_scores = [
            torch.einsum("bhwd,hd->bhw", _sigmoid(query_t, keys_t).sub_(0.5), vector)
            for query_t, keys_t in zip(query.unbind(2), _keys_by_query(query, keys), strict=True)
        ]
        return torch.stack(half_scores, 2).mul_(2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the gradients of `query`, `keys` and `vector`, each in the shape of its tensor."""
        query, keys, vector = ctx.saved_tensors
        has_shared_keys = keys.dim() == 4
        grad_query: list[Tensor] = []
        grad_keys: list[Tensor] = []
        grad_vector = torch.zeros_like(vector)
        for query_t, keys_t, grad_t in zip(
            query.unbind(2), _keys_by_query(query, keys), grad_scores.unbind(2), strict=True
        ):
            sigmoid = _sigmoid(query_t, keys_t)
            grad_vector += 2 * torch.einsum("bhw,bhwd->hd", grad_t, sigmoid)
            grad_vector -= grad_t.sum((0, 2))[:, None]
            # s - s^2, in the memory of s
            slope = torch.addcmul(sigmoid, sigmoid, sigmoid, value=-1, out=sigmoid)
            grad_query.append(torch.einsum("bhw,bhwd->bhd", grad_t, slope))
            if grad_keys and has_shared_keys:
                grad_keys[0].addcmul_(grad_t[..., None], slope)
            else:
                grad_keys.append(grad_t[..., None] * slope)
        factor = 4 * vector[:, None]
        for gradient in grad_keys:
            gradient *= factor
        all_grad_keys = grad_keys[0] if has_shared_keys else torch.stack(grad_keys, 2)
        return torch.stack(grad_query, 2).mul_(factor), all_grad_keys, grad_vector


def _sigmoid(query: Tensor, keys: Tensor) -> Tensor:
    """Return sigmoid(2 (q + k)), B x H x W x d, for B x H x d queries."""
    return torch.add(2 * query[:, :, None], keys, alpha=2).sigmoid_()


def _keys_by_query(query: Tensor, keys: Tensor) -> tuple[Tensor, ...]:
    """Return the B x H x W x d keys of each query position."""
    return (keys,) * query.size(2) if keys.dim() == 4 else keys.unbind(2)
