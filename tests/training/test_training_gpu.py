"""Training on a GPU: half precision, loss scaling, pinned memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from nmt.data.batching.loader import build_micro_batch, prefetch
from nmt.device.precision import Precision
from nmt.training.trainer import Trainer
from tests.support.training.tiny_trainer import MakeTrainer, batches_of, update_of

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
FLAGS = {"train__max_updates": 60, "train__validate_every": 20, "train__lr": 1e-2}


def validation_loss(trainer: Trainer) -> float:
    """Return the training loss per token in fp32, without dropout."""
    micro = [
        build_micro_batch(trainer.corpus, batch, trainer.tokenizers).to(trainer.precision.device)
        for batch in batches_of(trainer)
    ]
    trainer.module.eval()
    with torch.no_grad():
        return float(sum(trainer.module(batch).translation for batch in micro)) / sum(
            b.tgt_tokens for b in micro
        )


@pytest.mark.parametrize("precision", ["fp16", "bf16", "fp32"])
def test_train_in_any_precision_keeps_fp32_weights(
    make_trainer: MakeTrainer, precision: str
) -> None:
    trainer = make_trainer(precision=precision, device="cuda", **FLAGS)
    before = validation_loss(trainer)
    trainer.train(lambda state: {"bleu": 0.0})
    assert validation_loss(trainer) < before - 0.5
    for parameter in trainer.model.parameters():
        assert parameter.dtype == torch.float32
        assert parameter.isfinite().all()


def test_precision_auto_is_bf16_if_gpu_supports_it() -> None:
    name = Precision("auto", torch.device("cuda")).name
    assert name == ("bf16" if torch.cuda.get_device_capability()[0] >= 8 else "fp32")


def test_loss_scaler_is_enabled_in_fp16_only(make_trainer: MakeTrainer) -> None:
    scales = {
        name: make_trainer(name, precision=name, device="cuda").precision.scaler.is_enabled()
        for name in ("fp16", "bf16", "fp32")
    }
    assert scales == {"fp16": True, "bf16": False, "fp32": False}


def test_resume_restores_loss_scaler(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(precision="fp16", device="cuda", **FLAGS | {"train__max_updates": 7})
    trainer.precision.scaler = torch.amp.GradScaler("cuda", init_scale=2.0**10, growth_interval=5)
    trainer.train(lambda state: {"bleu": 0.0})
    assert trainer.precision.scaler.get_scale() == 2.0**11, "it grew once, after five good updates"
    resumed = make_trainer(precision="fp16", device="cuda", **FLAGS | {"train__max_updates": 7})
    resumed.resume()
    assert resumed.precision.scaler.state_dict() == trainer.precision.scaler.state_dict()
    assert resumed.state == trainer.state


def test_train_step_overflow_skips_and_halves_scale(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(precision="fp16", device="cuda", **FLAGS)
    trainer.precision.scaler = torch.amp.GradScaler("cuda", init_scale=2.0**120)
    before = [p.detach().clone() for p in trainer.model.parameters()]
    batch = build_micro_batch(trainer.corpus, batches_of(trainer)[0], trainer.tokenizers)
    trainer.train_step(update_of(batch))
    after = list(trainer.model.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert trainer.precision.scaler.get_scale() == 2.0**119


def test_resume_on_gpu_restores_equal_state(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(device="cuda", **FLAGS | {"train__max_updates": 5})
    trainer.train(lambda state: {"bleu": 0.0})
    resumed = make_trainer(device="cuda", **FLAGS | {"train__max_updates": 5})
    resumed.resume()
    pairs = zip(trainer.model.parameters(), resumed.model.parameters(), strict=True)
    for first_weight, second_weight in pairs:
        assert torch.equal(first_weight, second_weight)
        states = trainer.optimizer.state[first_weight], resumed.optimizer.state[second_weight]
        assert states[0].keys() == states[1].keys()
        for key, value in states[0].items():
            assert states[1][key].device == value.device
            assert torch.equal(value, states[1][key])
    batch = build_micro_batch(trainer.corpus, batches_of(trainer)[0], trainer.tokenizers)
    losses = [
        float(current.train_step(update_of(batch))[0].translation) for current in (trainer, resumed)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_ema_update_does_not_wait_for_gpu(make_trainer: MakeTrainer) -> None:
    average = make_trainer(device="cuda", train__ema=0.9, **FLAGS).ema
    assert average is not None
    average.update(1)
    torch.cuda.set_sync_debug_mode("error")
    try:
        average.update(2)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_skipped_step_does_not_wait_for_gpu(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(precision="bf16", device="cuda", **FLAGS)
    batch = build_micro_batch(trainer.corpus, batches_of(trainer)[0], trainer.tokenizers)
    trainer.train_step(update_of(batch))
    before = [p.detach().clone() for p in trainer.model.parameters()]
    for parameter in trainer.model.parameters():
        parameter.grad = torch.full_like(parameter, torch.nan)
    torch.cuda.set_sync_debug_mode("error")
    try:
        norm = trainer.precision.step(trainer.optimizer, 1.0)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert norm.isnan()
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.model.parameters(), strict=True))


TRANSFORMER = {"arch": "transformer", "d_model": 32, "d_ff": 64, "num_heads": 4, "num_layers": 2}


def transformer_settings(**settings: Any) -> dict[str, Any]:
    """Return the settings of a small Transformer."""
    return {f"model__{key}": value for key, value in (TRANSFORMER | settings).items()}


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_train_step_does_not_wait_for_gpu(make_trainer: MakeTrainer, precision: str) -> None:
    settings = transformer_settings(dropout=0.1) | {"train__ema": 0.9, "precision": precision}
    trainer = make_trainer(device="cuda", **settings, **FLAGS)
    batch = trainer.micro_batcher.build(trainer.corpus, batches_of(trainer)[0])
    trainer.train_step(batch)
    torch.cuda.set_sync_debug_mode("error")
    try:
        trainer.train_step(batch)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("kv_heads", [4, 2])
def test_attention_with_padding_and_dropout_is_fused(
    make_trainer: MakeTrainer, kv_heads: int
) -> None:
    """Without a fused backend, torch raises an error here."""
    settings = transformer_settings(dropout=0.1, num_kv_heads=kv_heads) | {"precision": "bf16"}
    trainer = make_trainer(device="cuda", **settings, **FLAGS)
    batch = trainer.micro_batcher.build(trainer.corpus, batches_of(trainer)[0])
    with sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION]):
        losses, norm = trainer.train_step(batch)
    assert losses.translation.isfinite()
    assert norm.isfinite()


def test_loss_and_gradients_equal_those_of_cpu(make_trainer: MakeTrainer) -> None:
    gradients = {}
    for device in ("cpu", "cuda"):
        trainer = make_trainer(device, device=device, **transformer_settings(), **FLAGS)
        batch = trainer.micro_batcher.build(trainer.corpus, batches_of(trainer)[0])
        trainer.module.train()
        losses = trainer.forward_backward(batch, 1)
        weights = trainer.model.parameters()
        grads = [weight.grad.cpu() for weight in weights if weight.grad is not None]
        gradients[device] = [losses.translation.cpu(), *grads]
    for first, second in zip(*gradients.values(), strict=True):
        torch.testing.assert_close(first, second, rtol=1e-3, atol=1e-4)


def test_compiled_training_reaches_loss_of_plain_training(make_trainer: MakeTrainer) -> None:
    settings = transformer_settings() | FLAGS | {"precision": "bf16"}
    losses = []
    for choice in ("off", "on"):
        trainer = make_trainer(choice, device="cuda", **settings, train__compile=choice)
        trainer.train(lambda state: {"bleu": 0.0})
        losses.append(validation_loss(trainer))
    assert losses[0] == pytest.approx(losses[1], rel=0.05)


def test_pinned_prefetch_yields_planned_batches(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(device="cuda", train__micro_batch_tokens=70)
    batches = batches_of(trainer) * 5
    count = 0
    updates = prefetch(trainer.micro_batcher.build(trainer.corpus, batch) for batch in batches)
    for batch, update in zip(batches, updates, strict=True):
        planned = [
            build_micro_batch(trainer.corpus, part, trainer.tokenizers) for part in batch.split(70)
        ]
        for micro_batch, expected in zip(update.micro_batches, planned, strict=True):
            assert micro_batch.src.is_pinned()
            assert micro_batch.targets.is_pinned()
            gpu_batch = micro_batch.to(torch.device("cuda"))
            assert gpu_batch.src_len.device.type == "cpu"
            for name in ("src", "src_len", "tgt_in", "targets", "positions"):
                assert torch.equal(getattr(gpu_batch, name).cpu(), getattr(expected, name))
            count += 1
    assert count > len(batches)
