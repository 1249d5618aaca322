"""Scores of additive attention, with a gradient that keeps little memory.

Shapes: B sentences, H heads, Q queries, W source positions, d width of a head.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nmt.models.kernels.dtypes import to_fp32

MAX_EXPONENT = 20.0
"""Largest |q| and |k| for which exp(2 q) exp(2 k) is computed, which then cannot overflow."""


def additive_scores(query: Tensor, keys: Tensor, vector: Tensor) -> Tensor:
    """Return v . tanh(q + k), B x H x Q x W, without keeping the B x H x Q x W x d sums.

    `query` is B x H x Q x d and `vector` H x d. `keys` are B x H x Q x W x d, or B x H x 1 x W x d
    if all queries share them. The computation is in fp32.
    """
    inputs = to_fp32(query), to_fp32(keys), to_fp32(vector)
    scores: Tensor = _AdditiveScores.apply(*inputs)  # type: ignore[no-untyped-call]
    return scores.to(query.dtype)


class _AdditiveScores(torch.autograd.Function):
    """Process one query position at a time; the backward pass computes each tanh again.

    Uses tanh(x) = 1 - 2 s with s = 1 / (1 + exp(2 x)). With x = q + k and the gradient g of a score
    v . tanh(x):

        gradient of v:         sum g (1 - 2 s)
        gradient of q and k:   sum g 4 v (s - s^2), over the positions that share q or k

    The factors that all positions share are applied once, after the loop.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, keys: Tensor, vector: Tensor) -> Tensor:
        ctx.save_for_backward(query, keys, vector)
        terms = _Terms.of(query, keys)
        buffer = torch.empty_like(keys[:, :, 0])
        scores = [
            torch.einsum("bhwd,hd->bhw", terms.sigmoid(t, buffer), vector)
            for t in range(query.size(2))
        ]
        return vector.sum(1)[:, None, None] - 2 * torch.stack(scores, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the gradients of `query`, `keys` and `vector`, each in the shape of its tensor."""
        query, keys, vector = ctx.saved_tensors
        terms = _Terms.of(query, keys)
        buffer = torch.empty_like(keys[:, :, 0])
        grad_query, grad_keys = torch.empty_like(query), torch.empty_like(keys)
        grad_vector = grad_scores.sum((0, 2, 3))[:, None].expand_as(vector).clone()
        for t, grad_t in enumerate(grad_scores.unbind(2)):
            sigmoid = terms.sigmoid(t, buffer)
            grad_vector -= 2 * torch.einsum("bhw,bhwd->hd", grad_t, sigmoid)
            # s - s^2, in the memory of s
            slope = torch.addcmul(sigmoid, sigmoid, sigmoid, value=-1, out=sigmoid)
            grad_query[:, :, t] = torch.einsum("bhw,bhwd->bhd", grad_t, slope)
            if t < keys.size(2):
                torch.mul(grad_t[..., None], slope, out=grad_keys[:, :, t])
            else:  # all queries share the keys
                grad_keys[:, :, 0].addcmul_(grad_t[..., None], slope)
        factor = 4 * vector[:, None]
        return grad_query.mul_(factor), grad_keys.mul_(factor[:, None]), grad_vector


class _Terms(NamedTuple):
    """Terms of the queries and of the keys, of which s = 1 / (1 + exp(2 q + 2 k)) is computed."""

    query: Tensor
    keys: Tensor
    is_factored: bool
    """Whether the terms are exp(2 q) and exp(2 k), else -2 q and k."""

    @classmethod
    def of(cls, query: Tensor, keys: Tensor) -> _Terms:
        """Return the terms.

        If several queries share the keys, exp(2 k) is computed once, and each s without another
        exponential function, which costs more than all other work.
        """
        is_factored = query.size(2) > 1 == keys.size(2) and all(
            float(tensor.abs().amax()) <= MAX_EXPONENT for tensor in (query, keys)
        )
        if is_factored:
            return cls((2 * query).exp_(), (2 * keys).exp_(), True)
        return cls(-2 * query, keys, False)

    def sigmoid(self, t: int, buffer: Tensor) -> Tensor:
        """Write s for query position t, B x H x W x d, to the buffer and return it."""
        query = self.query[:, :, t, None]
        keys = self.keys[:, :, min(t, self.keys.size(2) - 1)]
        if not self.is_factored:
            return torch.add(query, keys, alpha=-2, out=buffer).sigmoid_()
        return torch.addcmul(query.new_ones(()), query, keys, out=buffer).reciprocal_()
