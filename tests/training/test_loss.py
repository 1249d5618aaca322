"""The loss of a padded batch against a sum over single sentences."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from nmt.core.distributed.process_group import ProcessGroup
from nmt.data.batching.batches import Batch
from nmt.data.batching.loader import MicroBatch, build_micro_batch
from nmt.device.precision import Precision
from nmt.training.optimization.loss import ModelWithLoss
from nmt.training.signals import Signals
from nmt.training.trainer import Trainer
from nmt.training.validation import mean_loss, sum_loss
from tests.support.training.tiny_trainer import MakeTrainer

CPU = Precision("fp32", torch.device("cpu"))


def build_trainer(make_trainer: MakeTrainer, **values: Any) -> Trainer:
    """Return a trainer with a model far from uniform, so that label smoothing has an effect."""
    trainer = make_trainer(model__tie="none", **values)
    with torch.no_grad():
        trainer.model.output.bias.copy_(torch.linspace(-5, 5, len(trainer.model.output.bias)))
    return trainer


def padded_batch(trainer: Trainer, rows: range) -> MicroBatch:
    """Return these rows as one batch, padded to the longest."""
    numbers = torch.tensor(list(rows)).numpy()
    longest = [int(trainer.corpus.lengths(side)[numbers].max()) + 1 for side in ("src", "tgt")]
    return build_micro_batch(trainer.corpus, Batch(numbers, *longest), trainer.tokenizers)


def reference(trainer: Trainer, rows: range, smoothing: float) -> tuple[float, int]:
    """Return the sum of the loss over single sentences, and the number of tokens."""
    model, tokenizer = trainer.model, trainer.tokenizers.tgt
    total, count = 0.0, 0
    model.eval()
    with torch.no_grad():
        for row in rows:
            src = [*trainer.corpus.row("src", row).tolist(), tokenizer.eos]
            tgt = [*trainer.corpus.row("tgt", row).tolist(), tokenizer.eos]
            memory = model.encode(torch.tensor([src]), torch.tensor([len(src)]))
            hidden, _ = model.decode(memory, torch.tensor([[tokenizer.bos, *tgt[:-1]]]))
            log_probs = torch.log(torch.softmax(model.output.logits(hidden)[0].double(), -1))
            for t, token in enumerate(tgt):
                total -= (1 - smoothing) * float(log_probs[t, token])
                total -= smoothing * float(log_probs[t].mean())
            count += len(tgt)
    return total, count


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_of_batch_is_sum_over_sentences(make_trainer: MakeTrainer, smoothing: float) -> None:
    trainer = build_trainer(make_trainer, train__label_smoothing=smoothing)
    expected, tokens = reference(trainer, range(20), smoothing)
    batch = padded_batch(trainer, range(20))
    assert batch.tgt_tokens == tokens < batch.padded_tokens
    trainer.module.train()
    assert trainer.module(batch).translation.item() == pytest.approx(expected, rel=1e-5)


def test_label_smoothing_changes_training_loss_only(make_trainer: MakeTrainer) -> None:
    trainer = build_trainer(make_trainer, train__label_smoothing=0.1)
    batch = padded_batch(trainer, range(20))
    plain = reference(trainer, range(20), 0.0)[0]
    trainer.module.train()
    assert abs(trainer.module(batch).translation.item() / plain - 1) > 0.01
    trainer.module.eval()
    assert trainer.module(batch).translation.item() == pytest.approx(plain, rel=1e-5)


@pytest.mark.parametrize("size", [1, 7, 60])
def test_corpus_loss_ignores_smoothing_dropout_and_batches(
    make_trainer: MakeTrainer, size: int
) -> None:
    trainer = build_trainer(make_trainer, model__dropout=0.5, train__label_smoothing=0.1)
    total, tokens = reference(trainer, range(60), 0.0)
    batches = [padded_batch(trainer, range(i, min(60, i + size))) for i in range(0, 60, size)]
    step = trainer.module.train()
    assert isinstance(step, ModelWithLoss)
    loss = mean_loss([sum_loss(step, batches, CPU, Signals(ProcessGroup()))])
    assert loss == pytest.approx(total / tokens, rel=1e-5)
    assert step.training, "the mode is restored"
