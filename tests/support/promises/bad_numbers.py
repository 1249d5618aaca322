"""Insert NaN and inf into the loss or a gradient."""

from __future__ import annotations

from collections.abc import Callable

import torch

from nmt.data.batching.loader import MicroBatch
from nmt.training.optimization.loss import Losses
from nmt.training.trainer import Trainer

GRADIENT = "output.bias"
"""The weight with the corrupted gradient."""


def insert_bad_number(trainer: Trainer, how: str, when: Callable[[int], bool]) -> None:
    """Add a number to the loss or a gradient in the updates that `when` selects.

    `how` names the place and the number, for example "loss inf".
    """
    position, number = how.split()
    bad = float(number)

    def is_selected() -> bool:
        return trainer.module.training and when(trainer.state.step + 1)

    if position == "gradient":
        weight = dict(trainer.model.named_parameters())[GRADIENT]

        def corrupt(gradient: torch.Tensor) -> torch.Tensor:
            return gradient.index_fill(0, torch.tensor([3]), bad) if is_selected() else gradient

        weight.register_hook(corrupt)
        return
    forward = trainer.module.forward

    def corrupted_forward(batch: MicroBatch) -> Losses:
        losses = forward(batch)
        return losses._replace(translation=losses.translation + bad) if is_selected() else losses

    trainer.module.forward = corrupted_forward  # type: ignore[method-assign]
