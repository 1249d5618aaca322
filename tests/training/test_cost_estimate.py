"""Cost estimates against the cost of the run."""

from __future__ import annotations

import pytest
import torch

from nmt.training.planning.cost_estimate import CostEstimate, estimate_cost
from nmt.training.trainer import Trainer
from tests.support.training.tiny_trainer import MakeTrainer, batches_of


def estimate(trainer: Trainer, validation_seconds: float, corpus_bytes: int) -> CostEstimate:
    """Return the cost estimate of a run with validations of this duration."""
    return estimate_cost(
        batches=trainer.batch_stream.first_window.batches,
        time_step=trainer.time_step,
        time_validation=lambda: validation_seconds,
        checkpointer=trainer.checkpointer,
        stopping=trainer.stopping,
        corpus_bytes=corpus_bytes,
        device=torch.device("cpu"),
    )


@pytest.mark.parametrize(("optimizer", "ema"), [("adam", None), ("sgd", None), ("adam", 0.9)])
def test_estimate_cost_predicts_checkpoint_size(
    make_trainer: MakeTrainer, optimizer: str, ema: float | None
) -> None:
    flags = {"train__optimizer": optimizer, "train__max_updates": 2, "train__ema": ema}
    cost = estimate(make_trainer("dry", **flags), 0.5, corpus_bytes=1000)
    trainer = make_trainer(**flags)
    trainer.train(lambda state: {"bleu": 1.0})
    file_sizes = {file.name: file.stat().st_size for file in trainer.run.last.iterdir()}
    tensors = sum(size for name, size in file_sizes.items() if name.endswith(".safetensors"))
    assert ("training.safetensors" in file_sizes) == (ema is not None)
    # The size of state.json depends on the scores, so manifest.json may have one digit less.
    exact = tensors + file_sizes["manifest.json"] - 1
    assert exact < cost.checkpoint_bytes <= exact + 1 + file_sizes["state.json"]
    assert cost.disk_bytes == 1000 + 3 * cost.checkpoint_bytes


def test_estimate_cost_totals_follow_limits(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(train__max_updates=10, train__validate_every=4)
    cost = estimate(trainer, 0.5, corpus_bytes=0)
    assert (cost.max_steps, cost.max_validations) == (10, 3)  # after 4, 8 and 10
    assert cost.steps_per_epoch == len(batches_of(trainer))
    assert cost.validation_seconds > 0.5
    assert cost.total_seconds == pytest.approx(10 * cost.step_seconds + 3 * cost.validation_seconds)


def test_estimate_cost_without_limit_has_no_total(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(train__max_updates=None, train__patience=3)
    cost = estimate(trainer, 0.0, corpus_bytes=0)
    assert cost.total_seconds is None
    assert "no limit in updates or epochs is set" in dict(cost.rows())["the run at most"]


def test_estimate_cost_leaves_no_files(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer()
    estimate(trainer, 0.0, corpus_bytes=0)
    assert list(trainer.run.path.iterdir()) == []
