"""Hash the complete state of training, so that two runs can be compared bit for bit."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

import torch
from torch import Tensor

from nmt.device.precision import Precision
from nmt.models.build import AnyModel
from nmt.training.checkpoints.train_state import TrainState
from nmt.training.optimization.data_parallel import full_tensor
from nmt.training.optimization.ema import ExponentialMovingAverage

TIME_KEY = "seconds"
"""Key of the training time in TrainState, which differs between equal runs."""


def hash_state(
    state: TrainState,
    model: AnyModel,
    optimizer: torch.optim.Optimizer,
    ema: ExponentialMovingAverage | None,
    precision: Precision,
) -> str:
    """Return the SHA-256, in hex, of the state after the current step.

    It covers parameters, optimizer state, EMA, loss scaler, and the training state except its time.
    Random generators are seeded before each micro-batch, so they have no state to hash
    (`seed_everything`). All ranks must call this together, because shards are gathered. All tensors
    are fp32, because lower precisions apply to the computation and not to the stored weights.
    """
    progress = {key: value for key, value in state.to_json().items() if key != TIME_KEY}
    progress["scaler"] = precision.scaler.state_dict()
    digest = hashlib.sha256(json.dumps(progress, sort_keys=True).encode())
    for name, tensor in _named_tensors(model, optimizer, ema):
        values = full_tensor(tensor.detach()).cpu().contiguous()  # the gathered shards
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
        digest.update(values.numpy().tobytes())
    return digest.hexdigest()


def _named_tensors(
    model: AnyModel, optimizer: torch.optim.Optimizer, ema: ExponentialMovingAverage | None
) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors to hash, each with a unique name that is part of the hash."""
    for name, weight in model.named_parameters():
        yield name, weight
        for key, value in sorted(optimizer.state.get(weight, {}).items()):
            if isinstance(value, Tensor):
                yield f"{name}/{key}", value
    if ema is not None:
        for name, tensor in ema.weights.items():
            yield f"average/{name}", tensor
