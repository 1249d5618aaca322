"""The size of micro-batches: measured in advance, and halved if memory runs out."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from nmt.data.batching.loader import MicroBatch
from nmt.device.memory import available_memory
from nmt.errors import RunError
from nmt.training.optimization.loss import Losses
from nmt.training.optimization.micro_batches import is_out_of_memory
from nmt.training.planning import micro_batch_size
from nmt.training.planning.micro_batch_size import find_micro_batch_tokens
from nmt.training.trainer import Trainer
from tests.support.training.tiny_trainer import MakeTrainer, batches_of

DROPOUT = {"model__dropout": 0.3}


def limit_memory(trainer: Trainer, tokens: float, error: Callable[[], Exception]) -> list[int]:
    """Raise an error in micro-batches of more than `tokens`, after a part of the gradient.

    Returns a list to which each forward pass appends the size of its micro-batch.
    """
    forward, sizes = trainer.module.forward, []

    def limited_forward(batch: MicroBatch) -> Losses:
        sizes.append(batch.tgt_in.numel())
        losses = forward(batch)
        if sizes[-1] > tokens:
            losses.translation.backward(retain_graph=True)
            raise error()
        return losses

    trainer.module.forward = limited_forward  # type: ignore[method-assign]
    return sizes


def gpu_memory_error() -> Exception:
    return torch.OutOfMemoryError("CUDA out of memory")


def cpu_memory_error() -> Exception:
    try:
        torch.empty(2**50)
    except RuntimeError as error:
        return error
    raise AssertionError("expected an error, got a petabyte of memory")


def find_tokens(trainer: Trainer) -> tuple[int, str]:
    """Return the size of micro-batches that fits into memory, and the reason."""
    return find_micro_batch_tokens(
        trainer.config,
        trainer.batch_stream.first_window,
        trainer.micro_batcher,
        trainer.parallel,
        trainer.precision,
        trainer.ranks,
    )


def gradients(trainer: Trainer) -> list[torch.Tensor]:
    return [weight.grad.clone() for weight in trainer.model.parameters() if weight.grad is not None]


def test_is_out_of_memory_recognizes_memory_errors_only() -> None:
    assert is_out_of_memory(cpu_memory_error())  # type: ignore[arg-type]
    assert is_out_of_memory(gpu_memory_error())  # type: ignore[arg-type]
    assert is_out_of_memory(RuntimeError("could not create a memory object"))
    assert is_out_of_memory(MemoryError())
    unsupported = "could not create a primitive descriptor for the matmul primitive"
    assert not is_out_of_memory(RuntimeError(unsupported))
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


@pytest.mark.parametrize("error", [cpu_memory_error, gpu_memory_error])
def test_train_step_out_of_memory_halves_micro_batches(
    make_trainer: MakeTrainer, error: Callable[[], Exception]
) -> None:
    plain, tight = make_trainer("plain"), make_trainer("tight")
    sizes = limit_memory(tight, 80, error)
    for batch in batches_of(plain)[:3]:
        expected, _ = plain.train_step(plain.micro_batcher.build(plain.corpus, batch))
        losses, _ = tight.train_step(tight.micro_batcher.build(tight.corpus, batch))
        torch.testing.assert_close(losses.translation, expected.translation, rtol=1e-5, atol=0)
        torch.testing.assert_close(gradients(tight), gradients(plain), rtol=1e-3, atol=1e-6)
    assert tight.micro_batcher.max_tokens is not None
    assert tight.micro_batcher.max_tokens <= 80
    assert sizes[0] > 80
    assert all(size <= 80 for size in sizes[-3:])
    assert "out of memory with micro-batches of" in tight.run.log.read_text()


def test_train_step_out_of_memory_in_one_pair_fails(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer()
    limit_memory(trainer, 1, gpu_memory_error)
    words = r"out of memory with a single pair of \d+ source and \d+ target tokens, .*src.txt:\d+:"
    with pytest.raises(RunError, match=words):
        trainer.train_step(trainer.micro_batcher.build(trainer.corpus, batches_of(trainer)[0]))


def test_train_step_other_error_is_raised(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer()
    limit_memory(trainer, 1, lambda: RuntimeError("something else"))
    with pytest.raises(RuntimeError, match="something else"):
        trainer.train_step(trainer.micro_batcher.build(trainer.corpus, batches_of(trainer)[0]))


def test_find_micro_batch_takes_full_batch_if_it_fits(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(train__micro_batch_tokens="auto", data__max_length=10)
    before = [weight.clone() for weight in trainer.model.parameters()]
    sizes = limit_memory(trainer, math.inf, gpu_memory_error)
    tokens, why = find_tokens(trainer)
    assert tokens == 256
    assert "peak memory" in why
    assert sizes[::2] == sorted(sizes[::2])  # each size is measured with the two worst shapes
    assert max(sizes) == max(batch.tgt_tokens for batch in batches_of(trainer))
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.model.parameters(), strict=True))
    assert not gradients(trainer)


def test_find_micro_batch_takes_largest_without_error(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(train__micro_batch_tokens="auto", data__max_length=10)
    limit_memory(trainer, 100, gpu_memory_error)
    assert find_tokens(trainer)[0] == 64


def test_find_micro_batch_stops_before_memory_is_full(
    make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process uses 1,000 bytes plus 10 per token. 80% of the free 1,900 bytes are 1,520."""
    trainer = make_trainer(train__micro_batch_tokens="auto", data__max_length=10)
    sizes = limit_memory(trainer, math.inf, gpu_memory_error)
    monkeypatch.setattr(
        micro_batch_size, "peak_memory", lambda device: 1000 + 10 * max([0, *sizes])
    )
    monkeypatch.setattr(micro_batch_size, "available_memory", lambda device: 1900.0)
    tokens, _ = find_tokens(trainer)
    assert tokens == 128
    assert 1000 + 10 * max(sizes) <= 1000 + 0.8 * 1900


def test_find_micro_batch_unknown_memory_takes_full_batch(
    make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer(train__micro_batch_tokens="auto", data__max_length=10)
    monkeypatch.setattr(micro_batch_size, "available_memory", lambda device: math.inf)
    assert find_tokens(trainer)[0] == 256


def test_available_memory_is_divided_by_local_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = available_memory(torch.device("cpu"))
    assert 0 < alone < math.inf
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert available_memory(torch.device("cpu")) == pytest.approx(alone / 4, rel=0.2)


def test_find_micro_batch_fails_if_nothing_fits(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(train__micro_batch_tokens="auto", data__max_length=10)
    limit_memory(trainer, 1, gpu_memory_error)
    with pytest.raises(RunError, match="out of memory with micro-batches of 11 tokens"):
        find_tokens(trainer)


def saved_bytes(trainer: Trainer) -> int:
    """Return the bytes that a forward pass saves for the backward pass, without weights."""
    weights = {weight.untyped_storage().data_ptr() for weight in trainer.model.parameters()}
    bytes_by_storage: dict[int, int] = {}

    def record_bytes(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            bytes_by_storage[storage.data_ptr()] = storage.nbytes()
        return tensor

    update = trainer.micro_batcher.build(trainer.corpus, batches_of(trainer)[0])
    trainer.module.train()
    torch.manual_seed(1)
    with torch.autograd.graph.saved_tensors_hooks(record_bytes, lambda tensor: tensor):
        losses = trainer.module(update.micro_batches[0])
    total = sum(bytes_by_storage.values())
    losses.translation.backward()
    return total


def test_activation_checkpointing_saves_memory_same_gradients(
    make_trainer: MakeTrainer,
) -> None:
    settings: dict[str, Any] = {
        "model__arch": "transformer",
        "model__d_model": 32,
        "model__num_heads": 2,
        "model__num_layers": 4,
        **DROPOUT,
        "model__attention_dropout": 0.2,
    }
    plain = make_trainer("plain", **settings)
    recomputing = make_trainer("recomputing", train__activation_checkpointing=True, **settings)
    assert saved_bytes(recomputing) < saved_bytes(plain) / 3
    for first_weight, second_weight in zip(gradients(recomputing), gradients(plain), strict=True):
        assert torch.equal(first_weight, second_weight)
