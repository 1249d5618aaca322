"""The EMA of the weights against an average of the weights after each step."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from nmt.errors import RunError
from nmt.training.checkpoints.train_state import TrainState
from nmt.training.trainer import Trainer
from tests.support.training.tiny_trainer import MakeTrainer, batches_of

Weights = dict[str, torch.Tensor]
FLAGS: dict[str, Any] = {"train__ema": 0.4, "train__lr": 1e-2, "model__dropout": 0.3}
DECAYS = [2 / 11, 3 / 12, 4 / 13, 5 / 14, 0.4, 0.4, 0.4]
"""Decays by hand: min((1 + step) / (10 + step), train.ema) for steps 1 to 7."""


def model_weights(trainer: Trainer) -> Weights:
    return {name: weight.detach().clone() for name, weight in trainer.model.named_parameters()}


def ema_weights(trainer: Trainer) -> Weights:
    assert trainer.ema is not None
    return {name: weight.clone() for name, weight in trainer.ema.weights.items()}


def are_equal(first_set: Weights, second_set: Weights) -> bool:
    assert first_set.keys() == second_set.keys() != set()
    return all(torch.equal(weight, second_set[name]) for name, weight in first_set.items())


def train_steps(trainer: Trainer, count: int) -> list[Weights]:
    """Make `count` optimizer steps; return the weights before the first and after each."""
    history = [model_weights(trainer)]
    batches = batches_of(trainer) * 9
    for batch in batches[trainer.state.step : trainer.state.step + count]:
        trainer.train_step(trainer.micro_batcher.build(trainer.corpus, batch))
        trainer.state.step += 1
        history.append(model_weights(trainer))
    return history


@pytest.mark.parametrize("tie", ["none", "all"])
def test_ema_is_weighted_sum_of_weights(make_trainer: MakeTrainer, tie: str) -> None:
    trainer = make_trainer(model__tie=tie, **FLAGS)
    history = train_steps(trainer, len(DECAYS))
    factors = [1.0, *(1 - decay for decay in DECAYS)]
    shares = [share * math.prod(DECAYS[i:]) for i, share in enumerate(factors)]
    assert sum(shares) == pytest.approx(1)
    for name, ema in ema_weights(trainer).items():
        expected = sum(
            share * weights[name].double() for share, weights in zip(shares, history, strict=True)
        )
        torch.testing.assert_close(ema.double(), expected, rtol=1e-5, atol=1e-7)
    assert not are_equal(ema_weights(trainer), model_weights(trainer))


def test_train_with_ema_does_not_change_weights(
    make_trainer: MakeTrainer,
) -> None:
    plain = make_trainer("plain", **FLAGS | {"train__ema": None})
    averaged = make_trainer("averaged", **FLAGS)
    for trainer in (plain, averaged):
        trainer.train(lambda state: {"bleu": 1.0})
    assert plain.ema is None
    assert are_equal(model_weights(plain), model_weights(averaged))
    assert not (plain.run.last / "training.safetensors").exists()
    assert are_equal(load_file(plain.run.last / "model.safetensors"), model_weights(averaged))


def test_train_validates_and_saves_ema_and_keeps_weights(
    make_trainer: MakeTrainer,
) -> None:
    trainer = make_trainer(train__max_updates=3, **FLAGS)
    validated: list[Weights] = []
    trainer.train(lambda state: validated.append(model_weights(trainer)) or {"bleu": 1.0})
    weights = model_weights(trainer)
    assert are_equal(validated[0], ema_weights(trainer))
    assert not are_equal(validated[0], weights)
    folder = trainer.run.best
    assert are_equal(load_file(folder / "model.safetensors"), validated[0])
    assert are_equal(load_file(folder / "training.safetensors"), weights)
    reference = make_trainer("following", **FLAGS)
    train_steps(reference, 3)
    assert are_equal(model_weights(reference), weights)


def test_validate_restores_weights_after_an_error(make_trainer: MakeTrainer) -> None:
    def raise_interrupt(state: TrainState) -> dict[str, float]:
        raise KeyboardInterrupt

    trainer = make_trainer(train__max_updates=2, **FLAGS)
    with pytest.raises(KeyboardInterrupt):
        trainer.train(raise_interrupt)
    assert are_equal(model_weights(trainer), train_steps(make_trainer("other", **FLAGS), 2)[-1])


def test_resume_restores_weights_and_ema_bit_for_bit(make_trainer: MakeTrainer) -> None:
    uninterrupted = make_trainer("uninterrupted", **FLAGS)
    train_steps(uninterrupted, 8)
    first = make_trainer(**FLAGS)
    train_steps(first, 4)
    first.save()
    resumed = make_trainer(**FLAGS)
    resumed.resume()
    assert are_equal(ema_weights(resumed), ema_weights(first))
    train_steps(resumed, 4)
    assert are_equal(model_weights(resumed), model_weights(uninterrupted))
    assert are_equal(ema_weights(resumed), ema_weights(uninterrupted))


def test_resume_without_training_weights_is_refused(
    make_trainer: MakeTrainer,
) -> None:
    trainer = make_trainer(**FLAGS)
    trainer.save()
    (trainer.run.last / "training.safetensors").unlink()
    with pytest.raises(RunError, match=r"training\.safetensors: no such file"):
        make_trainer(**FLAGS).resume()
