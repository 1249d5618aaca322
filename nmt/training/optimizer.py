"""Optimizers, and learning-rate schedules as pure functions of the update."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn

from nmt.config.sections.train import TrainConfig

WSD_DECAY = 0.2
"""Share of a wsd run spent on the decay."""
PLATEAU_FACTOR = 0.5
"""What a plateau schedule multiplies the rate by."""
PLATEAU_WAIT = 2
"""Validations without a new best before it does."""


def make_optimizer(
    model: nn.Module, config: TrainConfig, device: torch.device
) -> torch.optim.Optimizer:
    """Return the optimizer, fused where torch has a fused one for the device."""
    parameters = list(model.parameters())
    rate = config.lr or 0.0
    fused = device.type in ("cuda", "cpu")
    if config.optimizer == "sgd":
        sgd = torch.optim.SGD(
            parameters, lr=rate, momentum=0.9, weight_decay=config.weight_decay, fused=fused
        )
        for weight in parameters:  # else a first step that is skipped leaves it uninitialised
            sgd.state[weight]["momentum_buffer"] = torch.zeros_like(weight.detach())
        return sgd
    kind = torch.optim.Adam if config.optimizer == "adam" else torch.optim.AdamW
    return kind(
        parameters,
        lr=rate,
        betas=(config.betas[0], config.betas[1]),
        eps=config.eps,
        weight_decay=config.weight_decay,
        fused=fused,
    )


def inverse_sqrt(update: int, warmup: int, total: int | None) -> float:
    """sqrt(warmup / update)  (Vaswani et al. 2017, section 5.3, with the peak as factor)."""
    return math.sqrt(max(warmup, 1) / max(update, warmup, 1))


def linear(update: int, warmup: int, total: int | None) -> float:
    """Straight from the peak to zero at the last update."""
    return 1.0 - _progress(update, warmup, total)


def cosine(update: int, warmup: int, total: int | None) -> float:
    """(1 + cos(pi x)) / 2 over the progress x  (Loshchilov & Hutter 2017, eq. 5)."""
    return (1.0 + math.cos(math.pi * _progress(update, warmup, total))) / 2


def wsd(update: int, warmup: int, total: int | None) -> float:
    """Warm-up, stable, decay: the peak, then straight to zero (Hu et al. 2024, section 4)."""
    return min(1.0, (1.0 - _progress(update, warmup, total)) / WSD_DECAY)


def constant(update: int, warmup: int, total: int | None) -> float:
    """The peak throughout; `plateau` is this times its reductions."""
    return 1.0


def _progress(update: int, warmup: int, total: int | None) -> float:
    assert total is not None, "the config refuses these schedules without an end"
    return min(1.0, max(0.0, (update - warmup) / max(1, total - warmup)))


SCHEDULES: dict[str, Callable[[int, int, int | None], float]] = {
    "constant": constant,
    "inverse_sqrt": inverse_sqrt,
    "linear": linear,
    "cosine": cosine,
    "wsd": wsd,
    "plateau": constant,
}


def learning_rate(
    config: TrainConfig, update: int, total: int | None, reductions: int = 0
) -> float:
    """Return the rate of `update` (from 1) of `total`, after `reductions` by a plateau.

    The warm-up rises straight from 0 to the peak `config.lr`, in any schedule.
    """
    peak, warmup = config.lr or 0.0, config.warmup or 0
    if update < warmup:
        return peak * update / warmup
    rate = peak * SCHEDULES[config.schedule or "constant"](update, warmup, total)
    return rate * PLATEAU_FACTOR**reductions
