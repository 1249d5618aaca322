"""One fingerprint of all that training hangs on, so that two runs can be compared bit for bit."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

from torch import Tensor

from nmt.training.data_parallel import full_tensor

if TYPE_CHECKING:
    from nmt.training.trainer import Trainer

CLOCK = "seconds"
"""The one number of the state that two equal runs do not share."""


def hash_state(trainer: Trainer) -> str:
    """Return the SHA-256, in hex, of the state after `trainer.state.update`.

    It covers parameters, moments and step counters of the optimizer, the moving average, the loss
    scaler, and all numbers of the state but the clock: position in the text, schedule, scores. No
    generator runs on from one micro-batch to the next (seeding.seed_everything), so there is none
    to cover. All workers come here together.
    """
    state = {key: value for key, value in asdict(trainer.state).items() if key != CLOCK}
    state["scaler"] = trainer.precision.scaler.state_dict()
    digest = hashlib.sha256(json.dumps(state, sort_keys=True).encode())
    for name, tensor in _tensors(trainer):
        values = full_tensor(tensor.detach()).cpu().contiguous()
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
        digest.update(values.numpy().tobytes())
    return digest.hexdigest()


def _tensors(trainer: Trainer) -> Iterator[tuple[str, Tensor]]:
    for name, weight in trainer.model.named_parameters():
        yield name, weight
        for key, moment in sorted(trainer.optimizer.state.get(weight, {}).items()):
            if isinstance(moment, Tensor):
                yield f"{name}/{key}", moment
    if trainer.average is not None:
        for name, tensor in trainer.average.weights.items():
            yield f"average/{name}", tensor
