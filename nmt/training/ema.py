"""The exponential moving average of the weights (Polyak & Juditsky 1992): `train.ema`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from nmt.models.build import AnyModel
from nmt.training.data_parallel import local_shard


def decay_at(update: int, decay: float) -> float:
    """min(decay, (1 + t) / (10 + t)) at update t, from 1: the first weights are soon forgotten.

    The warm-up is that of TensorFlow's ExponentialMovingAverage with num_updates, and of Marian's
    --exponential-smoothing.
    """
    return min(decay, (1 + update) / (10 + update))


class ExponentialMovingAverage:
    """a_t = d a_(t-1) + (1 - d) w_t of the weights w, where d is `decay_at` and a_0 = w_0.

    Each worker averages what it keeps of the weights. Nothing waits for the device.
    """

    def __init__(self, model: AnyModel, decay: float) -> None:
        self.decay = decay
        self._live = dict(model.named_parameters())
        self.restart()

    def restart(self) -> None:
        """Begin anew at the model's weights as they are now."""
        self.weights = {name: weight.detach().clone() for name, weight in self._live.items()}

    @torch.no_grad()
    def follow(self, update: int) -> None:
        """Take in the weights after `update`."""
        share = 1 - decay_at(update, self.decay)
        torch._foreach_lerp_(_parts(self.weights), _parts(self._live), share)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the model hold the average within the block, and its own weights again after it."""
        with torch.no_grad():
            kept = [part.clone() for part in _parts(self._live)]
            torch._foreach_copy_(_parts(self._live), _parts(self.weights))
        try:
            yield
        finally:
            with torch.no_grad():
                torch._foreach_copy_(_parts(self._live), kept)


def _parts(weights: Mapping[str, Tensor]) -> list[Tensor]:
    return [local_shard(weight) for weight in weights.values()]
