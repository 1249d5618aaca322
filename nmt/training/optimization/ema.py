"""Exponential moving average (EMA) of the weights (Polyak & Juditsky 1992): `train.ema`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from nmt.models.build import AnyModel
from nmt.training.optimization.data_parallel import local_shard


def decay_at(step: int, decay: float) -> float:
    """Return min(decay, (1 + t) / (10 + t)) for optimizer step t, counted from 1.

    The decay starts small, so the average soon forgets the initial weights. TensorFlow's
    ExponentialMovingAverage with num_updates and Marian's --exponential-smoothing do the same.
    """
    return min(decay, (1 + step) / (10 + step))


class ExponentialMovingAverage:
    """The average a_t = d a_(t-1) + (1 - d) w_t of weights w, with d = `decay_at`, a_0 = w_0.

    Each rank averages its shard of the weights. No method waits for the device.
    """

    def __init__(self, model: AnyModel, decay: float) -> None:
        self.decay = decay
        self._model_weights = dict(model.named_parameters())
        self.restart()

    def restart(self) -> None:
        """Set the average to the current weights of the model."""
        self.weights = {
            name: weight.detach().clone() for name, weight in self._model_weights.items()
        }

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Add the weights after an optimizer step to the average."""
        new_weight = 1 - decay_at(step, self.decay)
        torch._foreach_lerp_(_shards(self.weights), _shards(self._model_weights), new_weight)

    @contextmanager
    def replace_weights(self) -> Iterator[None]:
        """Replace the weights of the model by the average within the block."""
        with torch.no_grad():
            original_weights = [shard.clone() for shard in _shards(self._model_weights)]
            torch._foreach_copy_(_shards(self._model_weights), _shards(self.weights))
        try:
            yield
        finally:
            with torch.no_grad():
                torch._foreach_copy_(_shards(self._model_weights), original_weights)


def _shards(weights: Mapping[str, Tensor]) -> list[Tensor]:
    return [local_shard(weight) for weight in weights.values()]
