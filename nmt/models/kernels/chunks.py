"""Limit the memory of a plain equation: compute it in chunks of sentences."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial, wraps

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

MAX_ENERGIES = 2**27
"""Maximum number of the values tanh(W s + U h) in memory at a time."""
Scores = Callable[[Tensor, Tensor, Tensor], Tensor]
"""An equation from queries, keys and a vector to scores."""

recompute = partial(checkpoint, use_reentrant=False, preserve_rng_state=False)


def in_chunks(equation: Scores) -> Scores:
    """Decorate an equation of additive attention: hold at most MAX_ENERGIES energies in memory.

    Usually one chunk holds all sentences. Otherwise, the backward pass computes the energies again.
    """

    @wraps(equation)
    def compute(query: Tensor, keys: Tensor, vector: Tensor) -> Tensor:
        chunks = math.ceil(query.numel() * keys.size(3) / MAX_ENERGIES)
        if chunks <= 1:
            return equation(query, keys, vector)
        parts = zip(query.chunk(chunks), keys.chunk(chunks), strict=True)
        return torch.cat([recompute(equation, *part, vector) for part in parts])

    return compute
