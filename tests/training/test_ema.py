"""The moving average of the weights against one computed from the weights of each update."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tinytrainer import MakeTrainer, batches_of

from nmt.errors import RunError
from nmt.training.checkpoints.train_state import TrainState
from nmt.training.trainer import Trainer

Weights = dict[str, torch.Tensor]
FLAGS: dict[str, Any] = {"train__ema": 0.4, "train__lr": 1e-2, "model__dropout": 0.3}
DECAYS = [2 / 11, 3 / 12, 4 / 13, 5 / 14, 0.4, 0.4, 0.4]
"""By hand: the sixth would be 7 / 16."""


def live(trainer: Trainer) -> Weights:
    return {name: weight.detach().clone() for name, weight in trainer.model.named_parameters()}


def average(trainer: Trainer) -> Weights:
    assert trainer.ema is not None
    return {name: weight.clone() for name, weight in trainer.ema.weights.items()}


def same(one: Weights, other: Weights) -> bool:
    assert one.keys() == other.keys() != set()
    return all(torch.equal(weight, other[name]) for name, weight in one.items())


def updated(trainer: Trainer, updates: int) -> list[Weights]:
    """Take so many updates; return the weights before them and after each."""
    seen = [live(trainer)]
    batches = batches_of(trainer) * 9
    for batch in batches[trainer.state.step : trainer.state.step + updates]:
        trainer.train_step(trainer.micro_batcher.build(trainer.corpus, batch))
        trainer.state.step += 1
        seen.append(live(trainer))
    return seen


@pytest.mark.parametrize("tie", ["none", "all"])
def test_ema_is_weighted_sum_of_weights(make_trainer: MakeTrainer, tie: str) -> None:
    trainer = make_trainer(model__tie=tie, **FLAGS)
    seen = updated(trainer, len(DECAYS))
    taken = [1.0, *(1 - decay for decay in DECAYS)]
    shares = [share * math.prod(DECAYS[i:]) for i, share in enumerate(taken)]
    assert sum(shares) == pytest.approx(1)
    for name, found in average(trainer).items():
        expected = sum(
            share * weights[name].double() for share, weights in zip(shares, seen, strict=True)
        )
        torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-7)
    assert not same(average(trainer), live(trainer))


def test_train_with_and_without_ema_has_equal_weights(
    make_trainer: MakeTrainer,
) -> None:
    plain = make_trainer("plain", **FLAGS | {"train__ema": None})
    averaged = make_trainer("averaged", **FLAGS)
    for trainer in (plain, averaged):
        trainer.train(lambda state: {"bleu": 1.0})
    assert plain.ema is None
    assert same(live(plain), live(averaged))
    assert not (plain.run.last / "training.safetensors").exists()
    assert same(load_file(plain.run.last / "model.safetensors"), live(averaged))


def test_train_validates_and_saves_ema_and_keeps_weights(
    make_trainer: MakeTrainer,
) -> None:
    trainer = make_trainer(train__max_updates=3, **FLAGS)
    validated: list[Weights] = []
    trainer.train(lambda state: validated.append(live(trainer)) or {"bleu": 1.0})
    weights = live(trainer)
    assert same(validated[0], average(trainer))
    assert not same(validated[0], weights)
    folder = trainer.run.best
    assert same(load_file(folder / "model.safetensors"), validated[0])
    assert same(load_file(folder / "training.safetensors"), weights)
    following = make_trainer("following", **FLAGS)
    updated(following, 3)
    assert same(live(following), weights)


def test_validate_restores_weights_after_an_error(make_trainer: MakeTrainer) -> None:
    def failing(state: TrainState) -> dict[str, float]:
        raise KeyboardInterrupt

    trainer = make_trainer(train__max_updates=2, **FLAGS)
    with pytest.raises(KeyboardInterrupt):
        trainer.train(failing)
    assert same(live(trainer), updated(make_trainer("other", **FLAGS), 2)[-1])


def test_resume_restores_weights_and_ema_bit_for_bit(make_trainer: MakeTrainer) -> None:
    whole = make_trainer("whole", **FLAGS)
    updated(whole, 8)
    first = make_trainer(**FLAGS)
    updated(first, 4)
    first.save()
    again = make_trainer(**FLAGS)
    again.resume()
    assert same(average(again), average(first))
    updated(again, 4)
    assert same(live(again), live(whole))
    assert same(average(again), average(whole))


def test_resume_without_training_weights_is_refused(
    make_trainer: MakeTrainer,
) -> None:
    trainer = make_trainer(**FLAGS)
    trainer.save()
    (trainer.run.last / "training.safetensors").unlink()
    with pytest.raises(RunError, match=r"training\.safetensors: no such file"):
        make_trainer(**FLAGS).resume()
