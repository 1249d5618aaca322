"""Attention for recurrent decoders: score functions, and the softmax and context around them.

Shapes: B sentences, Q queries a sentence (target positions, or rows of a beam), S source length,
D width of states, values and keys. A new score is one class and one line of SCORES.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nmt.models.layers import make_linear


class Score(nn.Module):
    """How well each decoder state fits each encoder state."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def project(self, values: Tensor) -> Tensor:
        """Return B x S x D keys for B x S x D encoder states; done once a sentence."""
        return values

    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        """Return B x Q x S scores for B x Q x D queries."""
        raise AssertionError("a score defines forward")


class Dot(Score):
    """score(h, m) = h . m  (Luong et al. 2015, eq. 7, dot)."""

    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        return query @ keys.transpose(1, 2)


class ScaledDot(Score):
    """score(h, m) = h . m / sqrt(D)  (Vaswani et al. 2017, eq. 1)."""

    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        return query @ keys.transpose(1, 2) / math.sqrt(self.width)


class General(Score):
    """score(h, m) = h . W m  (Luong et al. 2015, eq. 7, general)."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.key = make_linear(width, width, bias=False)

    def project(self, values: Tensor) -> Tensor:
        return self.key(values)  # type: ignore[no-any-return]

    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        return query @ keys.transpose(1, 2)


class Additive(Score):
    """score(h, m) = v . tanh(W h + U m)  (Bahdanau et al. 2015, section A.1.2).

    Luong's concat, v . tanh(W [h; m]) (eq. 7), is the same function: W [h; m] = W_1 h + W_2 m.
    """

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.query = make_linear(width, width, bias=False)
        self.key = make_linear(width, width, bias=False)
        self.vector = nn.Parameter(torch.empty(width).uniform_(-1, 1) / math.sqrt(width))

    def project(self, values: Tensor) -> Tensor:
        return self.key(values)  # type: ignore[no-any-return]

    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        energy = torch.tanh(self.query(query)[:, :, None] + keys[:, None])  # B x Q x S x D
        return energy @ self.vector


SCORES: dict[str, type[Score]] = {
    "additive": Additive,
    "dot": Dot,
    "scaled_dot": ScaledDot,
    "general": General,
    "concat": Additive,
}


class Attended(NamedTuple):
    """What one look at the source gave."""

    context: Tensor
    """B x Q x D."""
    weights: Tensor
    """B x Q x S, each row sums to one, zero on padding."""
    scores: Tensor
    """B x Q x S, -inf on padding."""


class Attention(nn.Module):
    """Score every encoder state, take the softmax, form the context vector."""

    def __init__(self, score: str, width: int) -> None:
        super().__init__()
        self.score = SCORES[score](width)

    def project(self, values: Tensor) -> Tensor:
        """Return the keys of B x S x D encoder states; done once a sentence."""
        return self.score.project(values)

    def forward(self, query: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Attended:
        """Attend with B x Q x D queries; the softmax is in fp32."""
        scores = self.score(query, keys).float().masked_fill(~mask[:, None], -math.inf)
        weights = scores.softmax(-1)
        return Attended(weights.to(values.dtype) @ values, weights, scores)
