"""The training step against the reference implementation, without dropout."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from nmt.device.seeding import seed_everything
from nmt.models.build import build_model, weights_of
from nmt.training.trainer import Trainer
from tests.support.training.reference_training import (
    Adam,
    Hidden,
    Weights,
    recurrent,
    smoothed_loss,
    transformer,
)
from tests.support.training.tiny_trainer import MakeTrainer, batches_of

SMOOTHING, RATE = 0.1, 5e-3
CASES: dict[str, tuple[dict[str, Any], Hidden]] = {
    "luong, LSTM, general": (
        {"attention": "luong", "score": "general", "cell": "lstm", "tie": "none"},
        recurrent("luong", 2, feeding=False),
    ),
    "luong, input feeding": (
        {"attention": "luong", "score": "additive", "input_feeding": True, "tie": "none"},
        recurrent("luong", 1, feeding=True),
    ),
    "bahdanau": (
        {"attention": "bahdanau", "score": "additive", "tie": "all"},
        recurrent("bahdanau", 1, feeding=False),
    ),
    "transformer": (
        {"arch": "transformer", "d_model": 8, "d_ff": 16, "num_heads": 2, "num_layers": 2},
        transformer(2, 2),
    ),
}


def trainer_of(make_trainer: MakeTrainer, model: dict[str, Any], **train: Any) -> Trainer:
    values = {f"model__{key}": value for key, value in model.items()}
    settings = {"batch_tokens": 96, "micro_batch_tokens": 48, "lr": RATE, "schedule": "constant"}
    values |= {f"train__{key}": value for key, value in (settings | train).items()}
    return make_trainer(model__dropout=0.0, train__label_smoothing=SMOOTHING, **values)


def plain_gradients(
    trainer: Trainer, weights: Weights, hidden: Hidden, rows: list[int]
) -> tuple[float, Weights]:
    """Return the mean loss per token of some pairs and its gradients, by the reference."""
    leaves = {name: weight.detach().requires_grad_() for name, weight in weights.items()}
    src, tgt = trainer.tokenizers.src, trainer.tokenizers.tgt
    total, tokens = torch.zeros((), dtype=torch.float64), 0
    for row in rows:
        source = [*trainer.corpus.row("src", row).tolist(), src.eos]
        target = trainer.corpus.row("tgt", row).tolist()
        hidden_states = hidden(leaves, source, [tgt.bos, *target])
        total = total + smoothed_loss(leaves, hidden_states, [*target, tgt.eos], SMOOTHING)
        tokens += len(target) + 1
    loss = total / tokens
    gradients = torch.autograd.grad(loss, list(leaves.values()))
    return float(loss.detach()), dict(zip(leaves, gradients, strict=True))


@pytest.mark.parametrize(
    "case",
    [pytest.param("luong, LSTM, general", marks=pytest.mark.slow), *list(CASES)[1:]],
)
def test_train_step_in_float64_equals_reference(make_trainer: MakeTrainer, case: str) -> None:
    model, hidden = CASES[case]
    trainer = trainer_of(make_trainer, model)
    trainer.model.double()
    weights = {name: weight.clone() for name, weight in weights_of(trainer.model).items()}
    adam = Adam(weights, clip=1.0)
    for number in range(40):
        batches = batches_of(trainer, trainer.state.epoch)
        batch = batches[number % len(batches)]
        rank_batch = trainer.micro_batcher.build(trainer.corpus, batch)
        losses, _ = trainer.train_step(rank_batch)
        trainer.state.step += 1
        loss, gradients = plain_gradients(trainer, weights, hidden, batch.rows.tolist())
        adam.update(gradients, RATE)
        assert float(losses.translation) / rank_batch.tgt_tokens == pytest.approx(loss, rel=1e-9)
    for name, weight in weights_of(trainer.model).items():
        torch.testing.assert_close(weight, weights[name], rtol=1e-9, atol=1e-9, msg=name)


@pytest.mark.parametrize("case", CASES)
def test_gradients_in_fp32_are_close_to_reference(make_trainer: MakeTrainer, case: str) -> None:
    model, hidden = CASES[case]
    trainer = trainer_of(make_trainer, model, clip_norm=0.0)
    batch = batches_of(trainer)[0]
    weights = {name: weight.double() for name, weight in weights_of(trainer.model).items()}
    _, expected = plain_gradients(trainer, weights, hidden, batch.rows.tolist())
    trainer.train_step(trainer.micro_batcher.build(trainer.corpus, batch))
    for name, parameter in trainer.model.named_parameters():
        assert parameter.grad is not None
        difference = (parameter.grad.double() - expected[name]).norm()
        assert difference <= 1e-5 * expected[name].norm(), name


@pytest.mark.parametrize(
    "case", [pytest.param("luong, input feeding", marks=pytest.mark.slow), "transformer"]
)
def test_training_in_bf16_is_within_seed_noise(make_trainer: MakeTrainer, case: str) -> None:
    """After 200 steps bf16 and fp32 differ no more than two seeds do."""
    model, _ = CASES[case]
    if case != "transformer":  # with 8 units, a model learns only the token frequencies
        model = model | {"d_embed": 32, "d_hidden": 32}

    def loss(precision: str, seed: int) -> float:
        trainer = trainer_of(make_trainer, model, seed=seed)
        seed_everything(seed)
        size = trainer.tokenizers.tgt.vocab_size
        seeded_model = build_model(trainer.config.model, size, size, trainer.tokenizers.tgt.pad)
        trainer.model.load_state_dict(seeded_model.state_dict())
        precision_trainer = make_trainer("bf16", precision)
        trainer.precision = precision_trainer.precision
        total = tokens = 0.0
        for number in range(200):
            batches = batches_of(trainer, trainer.state.epoch)
            rank_batch = trainer.micro_batcher.build(trainer.corpus, batches[number % len(batches)])
            losses, _ = trainer.train_step(rank_batch)
            trainer.state.step += 1
            if number >= 200 - len(batches):
                total += float(losses.translation)
                tokens += rank_batch.tgt_tokens
        return total / tokens

    seed_losses = [loss("fp32", seed) for seed in (1, 2, 3)]
    spread = max(seed_losses) - min(seed_losses)
    bf16_loss = loss("bf16", 1)
    assert min(seed_losses) - spread <= bf16_loss <= max(seed_losses) + spread, (
        seed_losses,
        bf16_loss,
    )
