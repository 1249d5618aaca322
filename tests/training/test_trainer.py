"""The optimizer step and the training loop: limits, patience, checkpoints, records."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from nmt.core.run_dir import RunDir
from nmt.data.batching import epochs
from nmt.data.batching.loader import MicroBatch, RankBatch, build_micro_batch
from nmt.training.checkpoints.train_state import TrainState
from nmt.training.trainer import Trainer
from tests.support.training.tiny_trainer import MakeTrainer, batches_of, update_of


def batch_of(trainer: Trainer, tokens: int | None = None) -> list[MicroBatch]:
    """Return the first batch of the epoch in micro-batches of at most `tokens` tokens."""
    parts = batches_of(trainer)[0].split(tokens)
    return [build_micro_batch(trainer.corpus, part, trainer.tokenizers) for part in parts]


def scores(values: list[float], metric: str = "bleu") -> Callable[[TrainState], dict[str, float]]:
    """Return a validation function that returns these scores, one per call."""
    remaining: Iterator[float] = iter(values)
    return lambda state: {metric: next(remaining)}


def steps(run: RunDir) -> list[int]:
    """Return the optimizer steps of the checkpoints on disk."""
    return sorted(int(folder.name.removeprefix("step_")) for folder in run.checkpoints.iterdir())


def records(run: RunDir, kind: str) -> list[dict[str, Any]]:
    lines = run.metrics.read_text().split("\n")[:-1]
    return [record for record in map(json.loads, lines) if record["kind"] == kind]


# -- optimizer step --------------------------------------------------------------------------


@pytest.mark.parametrize("tokens", [1, 40, 100])
def test_train_step_with_micro_batches_has_equal_gradient(
    make_trainer: MakeTrainer, tokens: int
) -> None:
    flags = {"train__optimizer": "sgd", "train__lr": 1.0}
    full_trainer, split_trainer = make_trainer(**flags), make_trainer("split", **flags)
    parts = batch_of(split_trainer, tokens)
    assert len(parts) > 1
    losses = [
        float(full_trainer.train_step(update_of(*batch_of(full_trainer)))[0].translation),
        float(split_trainer.train_step(update_of(*parts))[0].translation),
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    parameter_pairs = zip(
        full_trainer.model.named_parameters(), split_trainer.model.named_parameters(), strict=True
    )
    for (name, first_weight), (_, second_weight) in parameter_pairs:
        assert first_weight.grad is not None, name
        assert second_weight.grad is not None, name
        assert first_weight.grad.abs().max() > 0 or "pad" in name, name
        torch.testing.assert_close(first_weight.grad, second_weight.grad, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(first_weight, second_weight, rtol=1e-4, atol=1e-5)


def test_train_step_gradient_is_of_mean_loss_per_token(
    make_trainer: MakeTrainer,
) -> None:
    trainer = make_trainer(train__clip_norm=0.0, train__optimizer="sgd", train__lr=1e-9)
    reference = make_trainer("other")
    batch = batch_of(reference)[0]
    reference.module.train()
    (reference.module(batch).translation / batch.tgt_tokens).backward()
    trainer.train_step(update_of(*batch_of(trainer, 60)))
    for first_weight, second_weight in zip(
        trainer.model.parameters(), reference.model.parameters(), strict=True
    ):
        assert first_weight.grad is not None
        assert second_weight.grad is not None
        torch.testing.assert_close(first_weight.grad, second_weight.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("clip", "changed"), [(1e-3, True), (0.0, False), (1e6, False)])
def test_train_step_clips_and_returns_norm_before(
    make_trainer: MakeTrainer, clip: float, changed: bool
) -> None:
    trainer = make_trainer(train__clip_norm=clip)
    _, norm = trainer.train_step(update_of(*batch_of(trainer)))
    grads = [p.grad for p in trainer.model.parameters() if p.grad is not None]
    clipped_norm = math.sqrt(sum(float(grad.double().square().sum()) for grad in grads))
    assert float(norm) > 1e-2
    assert clipped_norm == pytest.approx(clip if changed else float(norm), rel=1e-3)


def first_loss(trainer: Trainer, update: int = 0, tokens: int | None = None) -> float:
    trainer.state.step = update
    return float(trainer.train_step(update_of(*batch_of(trainer, tokens)))[0].translation)


def test_dropout_depends_on_seed_and_step_only(
    make_trainer: MakeTrainer,
) -> None:
    flags = {"model__dropout": 0.5, "train__label_smoothing": 0.0}
    loss = first_loss(make_trainer(**flags))
    busy = make_trainer(**flags)
    torch.rand(1000)
    assert first_loss(busy) == loss
    assert first_loss(make_trainer(**flags), update=1) != loss
    other_seed = make_trainer(**flags)
    seeded = other_seed.settings.model_copy(update={"seed": 2})
    other_seed.settings = seeded  # the seed of the batches is still 1
    assert first_loss(other_seed) != loss


def test_dropout_differs_between_micro_batches(make_trainer: MakeTrainer) -> None:
    def loss(copies: int) -> float:
        trainer = make_trainer(model__dropout=0.5)
        return float(trainer.train_step(update_of(*batch_of(trainer) * copies))[0].translation)

    assert loss(2) != pytest.approx(2 * loss(1), rel=1e-4)
    assert loss(2) == loss(2)


def test_train_step_uses_rate_of_step_counted_from_one(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(train__lr=1.0, train__warmup=4, train__optimizer="sgd")
    trainer.train_step(update_of(*batch_of(trainer)))
    assert trainer.optimizer.param_groups[0]["lr"] == 0.25


# -- limits ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"max_updates": 3}, "max_updates 3 reached"),
        ({"max_updates": 3, "max_epochs": 9}, "max_updates 3 reached"),
        ({"max_updates": 999, "max_epochs": 2}, "max_epochs 2 reached"),
        ({"max_updates": 999, "max_hours": 1e-9}, "max_hours 1e-09 reached"),
        ({"max_updates": 3, "max_hours": 9.0}, "max_updates 3 reached"),
    ],
)
def test_train_ends_at_first_limit(
    make_trainer: MakeTrainer, limits: dict[str, Any], reason: str
) -> None:
    trainer = make_trainer(**{f"train__{name}": value for name, value in limits.items()})
    updates = {"max_updates": 3, "max_epochs": 2 * len(batches_of(trainer)), "max_hours": 1}
    assert trainer.train(scores([1.0] * 9)) == reason
    assert trainer.state.step == updates[reason.split()[0]]
    assert steps(trainer.run)[-1] == trainer.state.step, "the end is validated and saved"


def test_train_epoch_uses_every_pair_once(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(train__max_epochs=1)
    trainer.train(scores([1.0]))
    tokens = int(trainer.corpus.lengths("tgt").sum()) + len(trainer.corpus)
    assert trainer.state.tgt_tokens == tokens
    state = trainer.state
    assert (state.epoch, state.window, state.batch) == (1, 0, 0)


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Divide epochs into several windows of about two batches."""
    monkeypatch.setattr(epochs, "WINDOW", 2)


def rows_trained_on(trainer: Trainer, updates: int) -> list[list[int]]:
    """Train until an optimizer step; return the rows of each batch."""
    rows: list[list[int]] = []
    train_step = trainer.train_step

    def record_rows(batch: RankBatch) -> Any:
        rows.append(batch.batch.rows.tolist())
        return train_step(batch)

    trainer.train_step = record_rows  # type: ignore[method-assign]
    trainer.set_config(trainer.config.with_values({"train.max_updates": updates}))
    trainer.train(scores([1.0] * 99))
    return rows


@pytest.mark.usefixtures("windows")
def test_train_with_windows_uses_every_pair_once(make_trainer: MakeTrainer) -> None:
    flags = {"train__batch_tokens": 100, "train__validate_every": "epoch"}
    trainer = make_trainer(train__max_epochs=2, **flags)
    assert trainer.batch_stream.planner.num_windows > 2
    sizes = [len(batches_of(trainer, epoch)) for epoch in range(3)]
    trained_rows = rows_trained_on(trainer, sum(sizes[:2]) + 2)
    assert len(trained_rows) == sum(sizes[:2])
    for epoch, part in enumerate((trained_rows[: sizes[0]], trained_rows[sizes[0] :])):
        assert part == [batch.rows.tolist() for batch in batches_of(trainer, epoch)]
        rows = sorted(row for batch in part for row in batch)
        assert rows == list(range(len(trainer.corpus)))
    assert (trainer.state.epoch, trainer.state.window, trainer.state.batch) == (2, 0, 0)
    ends = [(record["update"], record["epoch"]) for record in records(trainer.run, "train")]
    assert ends == [(sizes[0], 1), (sum(sizes[:2]), 2)]


@pytest.mark.usefixtures("windows")
def test_resume_continues_with_next_batch(make_trainer: MakeTrainer) -> None:
    flags = {"train__batch_tokens": 100, "train__validate_every": 9999}
    uninterrupted = make_trainer("uninterrupted", **flags)
    epoch_steps = len(batches_of(uninterrupted))
    last = epoch_steps + 5
    expected = rows_trained_on(uninterrupted, last)
    positions = set()
    for stop in range(1, last, 2):
        first = make_trainer(f"run{stop}", **flags)
        first_rows = rows_trained_on(first, stop)
        resumed = make_trainer(f"run{stop}", **flags)
        resumed.resume()
        positions.add((resumed.state.epoch, resumed.state.window))
        assert first_rows + rows_trained_on(resumed, last) == expected
        assert resumed.state.tgt_tokens == uninterrupted.state.tgt_tokens
    assert len(positions) > uninterrupted.batch_stream.planner.num_windows, (
        "stops were in every window and in the next epoch"
    )


# -- validation, patience, the best ----------------------------------------------------------

EVERY_STEP = {"train__validate_every": 1, "train__max_updates": 99}


def test_train_ends_when_patience_is_exhausted(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(**EVERY_STEP | {"train__patience": 3})
    reason = trainer.train(scores([1.0, 3.0, 2.0, 3.0, 1.0, 9.0]))
    assert reason == "no better bleu in 3 validations"
    assert (trainer.state.step, trainer.state.best_step, trainer.state.best_score) == (5, 2, 3)


@pytest.mark.parametrize(
    ("metric", "values", "best"),
    [
        ("bleu", [1.0, 3.0, 2.0], 2),
        ("loss", [3.0, 1.0, 2.0], 2),
        ("perplexity", [3.0, 4.0, 2.0], 3),
        ("bleu", [2.0, 2.0, 2.0], 1),
        ("loss", [math.nan, 5.0, 6.0], 2),
        ("loss", [5.0, math.nan, 6.0], 1),
        ("loss", [math.nan, 5.0, 4.0], 3),
    ],
)
def test_best_link_points_to_best_checkpoint(
    make_trainer: MakeTrainer, metric: str, values: list[float], best: int
) -> None:
    flags = {"train__validate_every": 1, "train__max_updates": 3, "train__stop_metric": metric}
    trainer = make_trainer(**flags)
    trainer.train(scores(values, metric))
    run = trainer.run
    assert run.best.resolve() == run.checkpoint(best).resolve()
    assert run.last.resolve() == run.checkpoint(3).resolve()
    assert steps(run) == sorted({best, 3})
    for link in (run.best, run.last):
        assert (link / "model.safetensors").is_file()
        assert not link.readlink().is_absolute(), "a run folder can be moved"


def test_best_link_with_nan_scores_is_absent(make_trainer: MakeTrainer) -> None:
    flags = {"train__stop_metric": "loss", "train__validate_every": 1, "train__max_updates": 2}
    trainer = make_trainer(**flags)
    trainer.train(scores([math.nan] * 2, "loss"))
    assert trainer.state.best_score is None
    assert not trainer.run.best.exists()


@pytest.mark.parametrize(
    ("keep_best", "keep_last", "expected"),
    [(1, 1, [2, 6]), (2, 1, [2, 4, 6]), (1, 3, [2, 4, 5, 6]), (3, 2, [2, 3, 4, 5, 6])],
)
def test_train_keeps_best_and_newest_checkpoints(
    make_trainer: MakeTrainer, keep_best: int, keep_last: int, expected: list[int]
) -> None:
    flags = {"train__keep_best": keep_best, "train__keep_last": keep_last}
    trainer = make_trainer(**EVERY_STEP | flags | {"train__max_updates": 6})
    trainer.train(scores([1.0, 9.0, 5.0, 8.0, 2.0, 3.0]))
    assert steps(trainer.run) == expected


def test_save_every_saves_between_validations(make_trainer: MakeTrainer) -> None:
    flags = {"train__save_every": 2, "train__validate_every": 3, "train__keep_last": 99}
    trainer = make_trainer(train__max_updates=7, **flags)
    trainer.train(scores([1.0] * 9))
    assert steps(trainer.run) == [2, 3, 4, 6, 7]
    assert [record["update"] for record in records(trainer.run, "valid")] == [3, 6, 7]


def test_plateau_halves_rate_after_two_validations(
    make_trainer: MakeTrainer,
) -> None:
    flags = {"train__schedule": "plateau", "train__lr": 1.0, "train__optimizer": "sgd"}
    trainer = make_trainer(**EVERY_STEP | flags | {"train__max_updates": 8})
    trainer.train(scores([5.0, 1.0, 1.0, 1.0, 1.0, 6.0, 1.0, 1.0]))
    rates = [record["lr"] for record in records(trainer.run, "train")]
    assert rates == [1.0, 1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.25]
    assert trainer.state.lr_reductions == 3


# -- records ---------------------------------------------------------------------------------


def test_metrics_of_train_and_valid_have_all_fields(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(train__max_updates=4, train__validate_every=2)
    trainer.train(scores([1.0, 2.0]))
    train, valid = records(trainer.run, "train"), records(trainer.run, "valid")
    assert [record["update"] for record in train] == [2, 4]
    assert [(record["update"], record["bleu"]) for record in valid] == [(2, 1.0), (4, 2.0)]
    fields = {"kind", "update", "epoch", "loss", "tokens_per_second", "padding", "lr"}
    assert set(train[0]) == fields | {*("grad_norm", "seconds", "gflops_per_second", "data_wait")}
    assert train[0]["seconds"] < valid[0]["seconds"] <= train[1]["seconds"]
    assert 0 <= train[0]["padding"] < 1
    updates = len(batches_of(trainer))
    assert train[1]["epoch"] == round(4 / updates, 3)


def test_metrics_loss_is_mean_per_token_since_last_record(
    make_trainer: MakeTrainer,
) -> None:
    reference = make_trainer("by_hand")
    total = tokens = 0.0
    for number, batch in enumerate(batches_of(reference)[:2]):
        reference.state.step = number
        micro = build_micro_batch(reference.corpus, batch, reference.tokenizers)
        total += float(reference.train_step(update_of(micro))[0].translation)
        tokens += micro.tgt_tokens
    trainer = make_trainer(train__max_updates=2, train__validate_every=2)
    trainer.train(scores([1.0]))
    assert records(trainer.run, "train")[0]["loss"] == pytest.approx(total / tokens, rel=1e-6)
