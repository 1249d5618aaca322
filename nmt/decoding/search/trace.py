"""Records of decoding: attention and probabilities in forced decoding, candidates of a beam.

Shapes: L layers, H heads, T target length with eos, S source length with eos.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]


NO_ATTENTION = "this model has no attention to show (model.attention: none)"


@dataclass(frozen=True)
class ForcedTrace:
    """Attention and probabilities of a sentence pair in forced decoding."""

    scores: FloatArray
    """L x H x T x S attention scores before the softmax; -inf outside a window."""
    softmax: FloatArray
    """L x H x T x S; each row sums to 1."""
    weights: FloatArray
    """L x H x T x S weights of the context: the softmax, times the Gaussian of local_p if any."""
    context_norms: FloatArray
    """L x T Euclidean norms of the context vectors."""
    log_probs: FloatArray
    """T log-probabilities of the target tokens, in nats."""
    layer: int
    """Index of the layer with the best alignment, from 0."""
    top: list[list[tuple[int, float]]]
    """The most probable (token, probability) pairs at each target position, best first."""


@dataclass(frozen=True)
class Candidate:
    """A continuation that beam search considered."""

    tokens: list[int]
    """All tokens of the hypothesis, the newest last."""
    log_prob: float
    """Log-probability of the hypothesis, in nats."""
    is_kept: bool
    """Whether it stayed in the beam or finished."""


BeamStep = list[Candidate]
"""The candidates of a decoding step, best first: 2 K for a beam of K."""
