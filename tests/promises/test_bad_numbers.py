"""Guarantee 9: NaN and inf never reach the weights; many in a row end training."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nmt.data.batching.loader import MicroBatch
from nmt.errors import RunError
from nmt.training.monitoring import loss_monitor
from nmt.training.monitoring.loss_monitor import MAX_SKIPPED_STEPS, SpikeDetector
from nmt.training.monitoring.metrics import CompletedStep
from nmt.training.optimization.loss import Losses
from nmt.training.optimization.micro_batches import describe_lines
from nmt.training.trainer import Trainer
from tests.support.promises.bad_numbers import GRADIENT, insert_bad_number
from tests.support.promises.recording_trainers import (
    MakeTrainer,
    RecordingTrainer,
    encoded_text,
    make_trainer,
    validate,
)

__all__ = ["encoded_text", "make_trainer"]

FLAGS: dict[str, Any] = {
    "model__dropout": 0.0,
    "train__schedule": "constant",
    "train__ema": None,
    "train__validate_every": 1000,
}


def weights_and_moments(trainer: Trainer) -> list[torch.Tensor]:
    optimizer = trainer.optimizer
    return [
        tensor.detach().clone()
        for weight in trainer.model.parameters()
        for tensor in (weight, *(m for _, m in sorted(optimizer.state.get(weight, {}).items())))
    ]


def records(trainer: Trainer) -> list[dict[str, Any]]:
    lines = trainer.run.metrics.read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["kind"] == "train"]


@pytest.mark.parametrize(
    ("how", "optimizer", "bad"),
    [
        ("loss nan", "adam", 3),
        ("loss inf", "adam", 3),
        ("gradient nan", "adamw", 1),
        ("gradient -inf", "adam", 3),
        ("gradient nan", "sgd", 1),
        ("loss inf", "sgd", 3),
    ],
)
def test_skipped_step_leaves_state_unchanged(
    make_trainer: MakeTrainer, how: str, optimizer: str, bad: int
) -> None:
    """Weights and moments equal those of a run without that batch, bit for bit."""
    flags = {**FLAGS, "train__optimizer": optimizer, "train__lr": 0.01}
    poisoned, reference = (
        make_trainer("poisoned", "luong", **flags),
        make_trainer("without", "luong", **flags),
    )
    insert_bad_number(poisoned, how, lambda number: number == bad)
    window = reference.batch_stream.first_window
    for number, batch in enumerate(window.batches[:5], 1):
        before = weights_and_moments(poisoned)
        _, norm = poisoned.train_step(poisoned.micro_batcher.build(window.pairs, batch))
        poisoned.state.step += 1
        assert bool(norm.isfinite()) == (number != bad)
        if number == bad:
            if number > 1:
                assert all(map(torch.equal, before, weights_and_moments(poisoned)))
            continue
        reference.train_step(reference.micro_batcher.build(window.pairs, batch))
    tensors, expected = weights_and_moments(poisoned), weights_and_moments(reference)
    assert len(tensors) == len(expected)
    assert all(map(torch.equal, tensors, expected))


@pytest.mark.parametrize("how", ["loss nan", "loss inf", "gradient nan"])
def test_skipped_step_is_counted_but_not_in_the_loss(make_trainer: MakeTrainer, how: str) -> None:
    flags = {**FLAGS, "train__max_updates": 6, "train__lr": 1e-9}
    trainer, plain = (
        make_trainer("run", "bahdanau", **flags),
        make_trainer("plain", "bahdanau", **flags),
    )
    insert_bad_number(trainer, how, lambda number: number in (2, 5))
    trainer.train(validate)
    (record,) = records(trainer)
    assert record["skipped"] == 2
    log = trainer.run.log.read_text()
    assert "warning: skipped 2 updates with NaN or inf in the gradient: 2, 5\n" in log
    assert trainer.state.step == 6
    total = tokens = 0.0
    for number, batch in enumerate(plain.batch_stream.first_window.batches[:6], 1):
        update = plain.micro_batcher.build(plain.batch_stream.first_window.pairs, batch)
        losses, _ = plain.train_step(update)
        if number not in (2, 5):
            total, tokens = total + float(losses.translation), tokens + update.tgt_tokens
    assert record["loss"] == pytest.approx(total / tokens, rel=1e-4)
    plain.train(validate)
    assert "skipped" not in records(plain)[0]


@pytest.mark.parametrize(
    ("how", "name"), [("loss nan", "the loss"), ("gradient inf", f"the gradient of {GRADIENT}")]
)
def test_train_many_skipped_steps_names_tensor_and_lines(
    make_trainer: MakeTrainer, how: str, name: str
) -> None:
    end = MAX_SKIPPED_STEPS + 3
    trainer = make_trainer("run", "transformer", **{**FLAGS, "train__max_updates": end})
    insert_bad_number(trainer, how, lambda number: number > 3)
    batches: list[Any] = []
    train_step = trainer.train_step

    def recorded_step(batch: Any) -> Any:
        batches.append(batch)
        return train_step(batch)

    trainer.train_step = recorded_step  # type: ignore[method-assign]
    with pytest.raises(RunError) as caught:
        trainer.train(validate)
    message = str(caught.value)
    assert f"{MAX_SKIPPED_STEPS} consecutive updates" in message
    assert f"In update {end} {name} was the first" in message
    last = batches[-1]
    rows = np.unique(last.pairs.corpus_rows(last.batch.rows))
    assert len(rows) > 2
    assert sorted(texts_at(message)) == sorted(trainer.corpus.lines_at("src", rows))


def test_train_nan_weights_are_named(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer("run", "luong", **{**FLAGS, "train__max_updates": 3})
    with torch.no_grad():
        dict(trainer.model.named_parameters())[GRADIENT][3] = math.inf
    with pytest.raises(RunError, match=rf"weights hold NaN or inf, first {GRADIENT}\."):
        trainer.train(validate)


def test_spike_warning_names_first_lines(make_trainer: MakeTrainer) -> None:
    window = (trainer := make_trainer("run", "luong", **FLAGS)).batch_stream.first_window
    batch = max(window.batches, key=lambda batch: len(batch.rows))
    rows = np.unique(window.pairs.corpus_rows(batch.rows))
    message = describe_lines(trainer.corpus, window.pairs, batch, max_lines=2)
    assert message.endswith(f" and {len(rows) - 2} more")
    assert sorted(texts_at(message)) == sorted(trainer.corpus.lines_at("src", rows[:2]))


def texts_at(message: str) -> list[str]:
    """Return the lines of text that a message names as FILE:1,2; FILE:7."""
    return [
        Path(file).read_text().split("\n")[int(line) - 1]
        for file, lines in re.findall(r"(/[^:;]*/src\.txt):([\d,]+)", message)
        for line in lines.strip(",").split(",")
    ]


def test_train_fewer_skipped_steps_continues(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer("run", "luong", **{**FLAGS, "train__max_updates": MAX_SKIPPED_STEPS + 2})
    insert_bad_number(trainer, "loss nan", lambda number: number not in (1, MAX_SKIPPED_STEPS))
    trainer.train(validate)
    assert records(trainer)[0]["skipped"] == MAX_SKIPPED_STEPS


@pytest.mark.parametrize("parallel", ["ddp", pytest.param("fsdp", marks=pytest.mark.slow)])
def test_nan_or_signal_on_one_rank_reaches_all(tmp_path: Path, parallel: str) -> None:
    """Both ranks skip a bad loss of one rank, and both save if one gets a signal."""
    job = ["-m", "tests.support.promises.bad_numbers_job", str(tmp_path), parallel]
    process = subprocess.run(
        [sys.executable, *job],
        timeout=120,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.returncode == 0, process.stderr
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert first["weights"] == second["weights"]
    assert first["norms"] == second["norms"]
    assert [norm for norm in first["norms"] if norm in ("nan", "inf")] == [first["norms"][2]]
    distinct = {tuple(weights) for weights in first["weights"]}
    assert first["weights"][1] == first["weights"][2]
    assert len(distinct) == 4
    for record in (first, second):
        assert record["reason"] is None
        assert (record["signal"], record["last"]) == (10, "step_00000005")
        assert record["ended_early"], "the rank finished its part of the validation"


# -- loss spikes -------------------------------------------------------------------------------


def completed_step(number: int, loss: float) -> CompletedStep:
    return CompletedStep(number, None, None, 10, loss, 1.0)  # type: ignore[arg-type]


def spikes_of(losses: list[float], warmup: int = 0) -> list[int]:
    monitor = SpikeDetector(warmup)
    return [
        step.step
        for step in monitor.find_spikes(completed_step(i, x) for i, x in enumerate(losses, 1))
    ]


def losses_with_outlier(deviation: float, loss: float, step: int) -> list[float]:
    """Return 200 losses, alternately 5 +- `deviation`, and insert `loss` as step `step`."""
    losses = [5 + deviation * (-1) ** i for i in range(200)]
    return [*losses[: step - 1], loss, *losses[step - 1 :]]


def test_spike_needs_two_nats_above_median() -> None:
    assert spikes_of(losses_with_outlier(0.1, 7.2, step=150)) == [150]
    assert spikes_of(losses_with_outlier(0.1, 6.8, step=150)) == [], (
        "20 deviations, but no large jump"
    )
    assert spikes_of(losses_with_outlier(0.1, -1000.0, step=150)) == []


def test_spike_needs_six_deviations_above_median() -> None:
    deviation = 1.4826 * 0.5
    assert spikes_of(losses_with_outlier(0.5, 5 + 5.3 * deviation, step=150)) == []
    assert spikes_of(losses_with_outlier(0.5, 5.5 + 6.1 * deviation, step=150)) == [150]


def test_spike_does_not_hide_later_spike() -> None:
    losses = [5 + 0.1 * (-1) ** i + (1000.0 if i % 10 == 0 else 0.0) for i in range(1, 201)]
    assert spikes_of(losses) == list(range(110, 201, 10))


def test_spike_during_warm_up_is_not_reported() -> None:
    assert spikes_of(losses_with_outlier(0.1, 1000.0, step=100)) == []
    assert spikes_of(losses_with_outlier(0.1, 1000.0, step=101)) == [101]
    assert spikes_of(losses_with_outlier(0.1, 1000.0, step=130), warmup=30) == []
    assert spikes_of(losses_with_outlier(0.1, 1000.0, step=131), warmup=30) == [131]


def test_spike_at_new_loss_level_is_soon_normal() -> None:
    spikes = spikes_of([1.0] * 150 + [9.0] * 50)
    assert spikes[0] == 151
    assert spikes[-1] < 171


def train_with_spike(
    make_trainer: MakeTrainer, name: str, monkeypatch: pytest.MonkeyPatch, **flags: Any
) -> RecordingTrainer:
    """Return a trainer after update 25, with a loss of update 22 that was multiplied by 100."""
    monkeypatch.setattr(loss_monitor, "MIN_HISTORY", 15)
    flags = {**FLAGS, "train__max_updates": 25, "train__save_every": 10, **flags}
    trainer = make_trainer(name, "luong", **flags)
    forward = trainer.module.forward

    def forward_with_spike(batch: MicroBatch) -> Losses:
        losses = forward(batch)
        factor = 100 if trainer.module.training and trainer.state.step == 21 else 1
        return losses._replace(translation=losses.translation * factor)

    trainer.module.forward = forward_with_spike  # type: ignore[method-assign]
    trainer.train(validate)
    return trainer


def test_spike_is_logged_with_its_lines(
    make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = train_with_spike(make_trainer, "run", monkeypatch)
    (log_line,) = (line for line in trainer.run.log.read_text().splitlines() if "spike" in line)
    assert "warning: update 22: loss spike, " in log_line
    update = trainer.micro_batcher.build(
        trainer.batch_stream.first_window.pairs, trainer.batch_stream.first_window.batches[0]
    )
    assert update.tgt_tokens > 0
    logged_texts = texts_at(log_line)
    assert len(logged_texts) > 3
    (stderr_line,) = (line for line in capsys.readouterr().err.splitlines() if "spike" in line)
    assert texts_at(stderr_line) == logged_texts[:3]
    assert f"and {len(logged_texts) - 3} more ({trainer.run.log} lists all)" in stderr_line
    assert "restored the weights" not in trainer.run.log.read_text(), "off by default"


def test_rewind_restores_weights_of_last_checkpoint(
    make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags: dict[str, Any] = {"train__on_spike": "rewind", "train__ema": 0.9}
    trainer = train_with_spike(make_trainer, "run", monkeypatch, **flags)
    stopped = train_with_spike(make_trainer, "short", monkeypatch, **flags, train__max_updates=20)
    assert all(map(torch.equal, weights_and_moments(trainer), weights_and_moments(stopped)))
    assert "restored the weights of update 20; the text since then is skipped\n" in (
        trainer.run.log.read_text()
    )
    assert trainer.state.step == 25
    resumed = make_trainer("run", "luong", **{**FLAGS, **flags})
    resumed.resume()
    assert resumed.state.step == 25
    assert all(map(torch.equal, weights_and_moments(trainer), weights_and_moments(resumed)))
    assert not math.isnan(resumed.state.scores["25"])


def test_rewind_without_checkpoint_warns(
    make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags: dict[str, Any] = {"train__on_spike": "rewind", "train__save_every": 1000}
    log = train_with_spike(make_trainer, "run", monkeypatch, **flags).run.log.read_text()
    assert "warning: no checkpoint to restore yet\n" in log
