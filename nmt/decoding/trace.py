"""What a model saw and thought at every step of a translation; what a beam kept and dropped.

Shapes: L layers, H heads, T target length with eos, S source length with eos.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class ForcedTrace:
    """One pair of sentences, the target forced."""

    scores: FloatArray
    """L x H x T x S, before the softmax; -inf outside a window."""
    softmax: FloatArray
    """L x H x T x S, each row sums to one."""
    weights: FloatArray
    """L x H x T x S, what formed the context: the softmax, or that times local_p's Gaussian."""
    context_norms: FloatArray
    """L x T Euclidean norms of the context vectors."""
    log_probs: FloatArray
    """T log-probabilities of the target's tokens, in nats."""
    layer: int
    """The layer that aligns best, counted from 0."""
    top: list[list[tuple[int, float]]]
    """For each target position the most probable tokens, with their probabilities."""


@dataclass(frozen=True)
class Candidate:
    """A continuation that a beam looked at."""

    tokens: list[int]
    """All so far, the newest last."""
    log_prob: float
    kept: bool
    """It was among the best and stays in the beam; a finished one stays frozen."""


BeamStep = list[Candidate]
"""The 2 K best candidates of one step of a beam of K, best first: those kept, those dropped."""
