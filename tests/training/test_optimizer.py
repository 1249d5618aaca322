"""Learning rate schedules against values by hand, and optimizers against their config."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn

from nmt.training.optimization.optimizer import SCHEDULES, build_optimizer, learning_rate
from tests.support.training.tiny_trainer import make_config

W, T = 100, 1100
"""Warm-up steps and total steps of the table below. The peak rate is 1."""
ENDING = ("linear", "cosine", "wsd")


def rate(schedule: str, step: int, reductions: int = 0, warmup: int = W) -> float:
    config = make_config(
        train__schedule=schedule, train__lr=1.0, train__warmup=warmup, train__max_updates=T
    )
    return learning_rate(config.train, step, T, reductions)


@pytest.mark.parametrize(
    ("schedule", "step", "expected"),
    [
        ("constant", 600, 1.0),
        ("constant", T, 1.0),
        ("inverse_sqrt", 400, 0.5),  # sqrt(100 / 400)
        ("inverse_sqrt", 900, 1 / 3),
        ("inverse_sqrt", 10_000, 0.1),
        ("linear", 350, 0.75),  # a quarter of the way from 100 to 1100
        ("linear", 600, 0.5),
        ("cosine", 350, (1 + math.sqrt(0.5)) / 2),  # cos 45 degrees
        ("cosine", 600, 0.5),
        ("cosine", 850, (1 - math.sqrt(0.5)) / 2),
        ("wsd", 600, 1.0),
        ("wsd", 900, 1.0),  # the last fifth of 1000 begins here
        ("wsd", 1000, 0.5),
        ("wsd", 1050, 0.25),
        ("plateau", 600, 1.0),
    ],
)
def test_schedule_equals_value_by_hand(schedule: str, step: int, expected: float) -> None:
    assert rate(schedule, step) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_warmup_rises_linearly_to_peak(schedule: str) -> None:
    rates = [rate(schedule, step) for step in range(W + 1)]
    assert rates == pytest.approx([step / W for step in range(W + 1)])


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_schedule_is_continuous_at_end_of_warmup(schedule: str) -> None:
    assert rate(schedule, W) == pytest.approx(1.0)
    assert rate(schedule, W - 1) == pytest.approx(1.0, abs=1.01 / W)
    assert rate(schedule, W + 1) == pytest.approx(1.0, abs=1.01 / W)


@pytest.mark.parametrize("schedule", ENDING)
def test_schedule_with_end_is_zero_there_only(schedule: str) -> None:
    assert rate(schedule, T) == pytest.approx(0.0, abs=1e-12)
    assert rate(schedule, T - 1) > 0
    assert rate(schedule, T + 50) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_schedule_after_warmup_never_rises(schedule: str) -> None:
    rates = [rate(schedule, step) for step in range(W, T + 1)]
    assert all(later <= earlier for earlier, later in itertools.pairwise(rates))


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_schedule_without_warmup_starts_at_peak(schedule: str) -> None:
    assert rate(schedule, 1, warmup=0) == pytest.approx(1.0, abs=2 / T)


@pytest.mark.parametrize("reductions", [0, 1, 2, 5])
def test_plateau_halves_rate_per_reduction(reductions: int) -> None:
    assert rate("plateau", 500, reductions) == pytest.approx(0.5**reductions)


KINDS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}


@pytest.mark.parametrize("name", KINDS)
def test_build_optimizer_follows_config(name: str) -> None:
    config = make_config(train__optimizer=name, train__lr=0.25, train__weight_decay=0.5).train
    optimizer = build_optimizer(nn.Linear(2, 3), config, torch.device("cpu"))
    assert type(optimizer) is KINDS[name]
    assert optimizer.defaults["lr"] == 0.25
    assert optimizer.defaults["weight_decay"] == 0.5
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 2


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # Weight 2, gradient 0, rate 0.1, decay 0.5, one step.
        ("adamw", 2 * (1 - 0.1 * 0.5)),  # decay separate from the gradient
        ("adam", 2 - 0.1),  # decay in the gradient; the first step of Adam is rate * sign(gradient)
        ("sgd", 2 - 0.1 * 0.5 * 2),
    ],
)
def test_weight_decay_follows_definition_of_optimizer(name: str, expected: float) -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 2.0)
    config = make_config(train__optimizer=name, train__lr=0.1, train__weight_decay=0.5).train
    optimizer = build_optimizer(model, config, torch.device("cpu"))
    model.weight.grad = torch.zeros(1, 1)
    optimizer.step()
    assert model.weight.item() == pytest.approx(expected, abs=1e-6)


def first_steps(betas: tuple[float, float], eps: float, gradients: list[float]) -> float:
    """Apply Adam's update rule to a weight of 0, at rate 1 (Kingma & Ba 2015, algorithm 1)."""
    weight = mean = square = 0.0
    for step, gradient in enumerate(gradients, 1):
        mean = betas[0] * mean + (1 - betas[0]) * gradient
        square = betas[1] * square + (1 - betas[1]) * gradient**2
        corrected = square / (1 - betas[1] ** step)
        weight -= mean / (1 - betas[0] ** step) / (math.sqrt(corrected) + eps)
    return weight


@pytest.mark.parametrize("name", ["adam", "adamw"])
@pytest.mark.parametrize(
    ("settings", "betas", "eps"),
    [
        ({}, (0.9, 0.98), 1e-9),
        ({"betas": [0.8, 0.999]}, (0.8, 0.999), 1e-9),
        ({"eps": 0.5}, (0.9, 0.98), 0.5),
        ({"betas": [0.0, 0.5], "eps": 1e-6}, (0.0, 0.5), 1e-6),
    ],
)
def test_adam_follows_betas_and_eps(
    name: str, settings: dict[str, object], betas: tuple[float, float], eps: float
) -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    flags = {f"train__{key}": value for key, value in settings.items()}
    config = make_config(train__optimizer=name, train__lr=1.0, **flags).train
    optimizer = build_optimizer(model, config, torch.device("cpu"))
    gradients = [0.5, -2.0, 1.0]
    for gradient in gradients:
        model.weight.grad = torch.full((1, 1), gradient)
        optimizer.step()
    assert model.weight.item() == pytest.approx(first_steps(betas, eps, gradients), rel=1e-4)
