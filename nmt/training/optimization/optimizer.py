"""Optimizers, and learning rate schedules as pure functions of the optimizer step."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn

from nmt.config.sections.train import TrainConfig

WSD_DECAY = 0.2
"""Fraction of the optimizer steps after the warm-up in which the wsd schedule decays."""
PLATEAU_FACTOR = 0.5
"""Factor by which the plateau schedule reduces the learning rate."""
PLATEAU_PATIENCE = 2
"""Validations without a new best score after which the plateau schedule reduces the rate."""


def build_optimizer(
    model: nn.Module, config: TrainConfig, device: torch.device
) -> torch.optim.Optimizer:
    """Return the configured optimizer of the weights that are not frozen.

    It is fused if torch has a fused one for the device.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    lr = config.lr or 0.0
    fused = device.type in ("cuda", "cpu")
    if config.optimizer == "sgd":
        sgd = torch.optim.SGD(
            parameters, lr=lr, momentum=0.9, weight_decay=config.weight_decay, fused=fused
        )
        for weight in parameters:  # torch leaves them uninitialized if the first step is skipped
            sgd.state[weight]["momentum_buffer"] = torch.zeros_like(weight.detach())
        return sgd
    optimizer_class = torch.optim.Adam if config.optimizer == "adam" else torch.optim.AdamW
    return optimizer_class(
        parameters,
        lr=lr,
        betas=(config.betas[0], config.betas[1]),
        eps=config.eps,
        weight_decay=config.weight_decay,
        fused=fused,
    )


def inverse_sqrt(step: int, warmup: int, max_steps: int | None) -> float:
    """Return sqrt(warmup / step)  (Vaswani et al. 2017, section 5.3, relative to the peak)."""
    return math.sqrt(max(warmup, 1) / max(step, warmup, 1))


def linear(step: int, warmup: int, max_steps: int | None) -> float:
    """Return 1 - x for the progress x: a straight line from the peak to zero."""
    return 1.0 - _progress(step, warmup, max_steps)


def cosine(step: int, warmup: int, max_steps: int | None) -> float:
    """Return (1 + cos(pi x)) / 2 for the progress x  (Loshchilov & Hutter 2017, eq. 5)."""
    return (1.0 + math.cos(math.pi * _progress(step, warmup, max_steps))) / 2


def wsd(step: int, warmup: int, max_steps: int | None) -> float:
    """Return 1, then a straight line to zero  (Hu et al. 2024, section 4: stable, decay)."""
    return min(1.0, (1.0 - _progress(step, warmup, max_steps)) / WSD_DECAY)


def constant(step: int, warmup: int, max_steps: int | None) -> float:
    """Return 1. The plateau schedule multiplies this by its reductions."""
    return 1.0


def _progress(step: int, warmup: int, max_steps: int | None) -> float:
    """Return the fraction of the optimizer steps after the warm-up that are done."""
    assert max_steps is not None, "the config requires a limit for these schedules"
    return min(1.0, max(0.0, (step - warmup) / max(1, max_steps - warmup)))


SCHEDULES: dict[str, Callable[[int, int, int | None], float]] = {
    "constant": constant,
    "inverse_sqrt": inverse_sqrt,
    "linear": linear,
    "cosine": cosine,
    "wsd": wsd,
    "plateau": constant,
}
"""Learning rate after the warm-up, relative to the peak, given (step, warmup, max_steps)."""


def learning_rate(
    config: TrainConfig, step: int, max_steps: int | None, reductions: int = 0
) -> float:
    """Return the learning rate of an optimizer step, counted from 1.

    In the warm-up it rises linearly from 0 to the peak `config.lr`. `reductions` is the number of
    reductions by the plateau schedule.
    """
    peak, warmup = config.lr or 0.0, config.warmup or 0
    if step < warmup:
        return peak * step / warmup
    schedule = SCHEDULES[config.schedule or "constant"]
    return peak * schedule(step, warmup, max_steps) * PLATEAU_FACTOR**reductions
