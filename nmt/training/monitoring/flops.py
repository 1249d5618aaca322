"""Count the floating point operations of matrix products, from which FLOP/s are computed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from torch import nn

from nmt.models.build import AnyModel

FLOPS_PER_WEIGHT = 6
"""Operations per weight and token: a multiplication and an addition in each of three products.

One product belongs to the forward pass and two belong to the backward pass."""


class FlopsPerToken(NamedTuple):
    """Operations of the forward and backward pass per token.

    Attention scores, contexts and element-wise operations are not counted.
    """

    per_src_token: int
    per_tgt_token: int

    def total(self, src_tokens: int, tgt_tokens: int) -> int:
        """Return the operations for these numbers of tokens without padding."""
        return src_tokens * self.per_src_token + tgt_tokens * self.per_tgt_token


def count_flops(model: AnyModel, passes: int = 1) -> FlopsPerToken:
    """Count each weight matrix once per token and pass; embedding lookups are free."""
    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    source = _parameter_ids(model.source_modules())
    ignored = _parameter_ids(model.sentence_modules()) | embeddings
    src_weights = tgt_weights = 0
    for weight in model.parameters():
        if weight.dim() < 2 or id(weight) in ignored:
            continue
        if id(weight) in source:
            src_weights += weight.numel()
        else:
            tgt_weights += weight.numel()
    if id(model.output.weight) in embeddings:  # a tied output layer multiplies the embeddings
        tgt_weights += model.output.weight.numel()
    factor = FLOPS_PER_WEIGHT * passes
    return FlopsPerToken(factor * src_weights, factor * tgt_weights)


def _parameter_ids(modules: Iterable[nn.Module]) -> set[int]:
    return {id(weight) for module in modules for weight in module.parameters()}
