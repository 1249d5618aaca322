"""Guarantee 10: running out of memory loses no pair and does not change the gradient."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from nmt.data.batching.loader import MicroBatch
from nmt.errors import RunError
from nmt.training.optimization.loss import Losses
from nmt.training.trainer import Trainer
from tests.support.promises.recording_trainers import (
    MakeTrainer,
    encoded_text,
    make_trainer,
    validate,
)

__all__ = ["encoded_text", "make_trainer"]

FLAGS: dict[str, Any] = {"model__dropout": 0.0, "train__max_updates": 5, "train__ema": None}


def cpu_memory_error() -> Exception:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50)
    return caught.value


ERRORS = {
    "cpu": cpu_memory_error,
    "gpu": lambda: torch.OutOfMemoryError("CUDA out of memory"),
    "onednn": lambda: RuntimeError("could not create a primitive"),
    "python": MemoryError,
}


def limit_memory(trainer: Trainer, tokens: int, kind: str) -> list[int]:
    """Raise an error in micro-batches of more than `tokens`, after a part of the gradient.

    Returns a list to which each successful forward pass appends its number of rows.
    """
    forward, rows = trainer.module.forward, []

    def limited_forward(batch: MicroBatch) -> Losses:
        losses = forward(batch)
        if batch.tgt_in.numel() > tokens:
            losses.translation.backward(retain_graph=True)
            raise ERRORS[kind]()
        rows.append(len(batch.src))
        return losses

    trainer.module.forward = limited_forward  # type: ignore[method-assign]
    return rows


@pytest.mark.parametrize("kind", ERRORS)
def test_out_of_memory_halved_micro_batches_equal_gradient(
    make_trainer: MakeTrainer, kind: str
) -> None:
    plain, tight = make_trainer("plain", "luong", **FLAGS), make_trainer("tight", "luong", **FLAGS)
    rows = limit_memory(tight, 40, kind)
    window = plain.batch_stream.first_window
    batches = window.batches
    largest = max(batches, key=lambda batch: len(batch.rows))
    for batch in (largest, *batches[:3]):
        num_done = len(rows)
        expected, _ = plain.train_step(
            plain.micro_batcher.build(plain.batch_stream.first_window.pairs, batch)
        )
        losses, _ = tight.train_step(
            tight.micro_batcher.build(tight.batch_stream.first_window.pairs, batch)
        )
        assert sum(rows[num_done:]) >= len(batch.rows)
        torch.testing.assert_close(losses.translation, expected.translation, rtol=1e-5, atol=0)
        for plain_gradient, tight_gradient in zip(gradients(plain), gradients(tight), strict=True):
            torch.testing.assert_close(plain_gradient, tight_gradient, rtol=1e-3, atol=1e-6)
    (warning,) = tight.run.log.read_text().splitlines()
    words = r"warning: out of memory with micro-batches of (\d+) tokens \((\d+) source and (\d+) "
    numbers = re.search(words, warning)
    assert numbers is not None
    shape = (largest.tgt_tokens, largest.src_length, largest.tgt_length)
    assert tuple(map(int, numbers.groups())) == shape


def gradients(trainer: Trainer) -> list[torch.Tensor]:
    return [weight.grad.clone() for weight in trainer.model.parameters() if weight.grad is not None]


@pytest.mark.parametrize("model", ["luong", "transformer"])
def test_out_of_memory_single_pair_names_its_line(make_trainer: MakeTrainer, model: str) -> None:
    trainer = make_trainer("run", model, **FLAGS)
    forward = trainer.module.forward
    failing_step = 2

    def limited_forward(batch: MicroBatch) -> Losses:
        if len(batch.src) > 1 or trainer.state.step == failing_step:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(batch)

    trainer.module.forward = limited_forward  # type: ignore[method-assign]
    with pytest.raises(RunError) as caught:
        trainer.train(validate)
    words = r"single pair of \d+ source and \d+ target tokens, (.*):(\d+):"
    match = re.search(words, str(caught.value))
    assert match is not None
    file, line = match.groups()
    window = trainer.batch_stream.first_window
    first = window.batches[failing_step].rows[:1]
    assert [Path(file).read_text().split("\n")[int(line) - 1]] == trainer.corpus.lines_at(
        "src", window.pairs.corpus_rows(first)
    )


def test_out_of_memory_in_optimizer_step_is_named(
    make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer("run", "luong", **FLAGS)

    def raise_memory_error(*arguments: Any) -> None:
        raise cpu_memory_error()

    monkeypatch.setattr(trainer.optimizer, "step", raise_memory_error)
    with pytest.raises(
        RunError, match="out of memory in the step of adam, which allocates its mom"
    ):
        trainer.train(validate)
