"""Resume a run on a mixture with BPE-dropout in the middle of an epoch, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from nmt.config.sections.data import AugmentConfig, TrainSet
from nmt.core.distributed.process_group import ProcessGroup
from nmt.core.run_dir import RunDir
from nmt.data.batching.loader import RankBatch
from nmt.data.corpus.corpus import Corpus
from nmt.data.tokenizer.tokenizer import Tokenizers
from nmt.device.precision import Precision
from nmt.device.seeding import seed_everything
from nmt.models.build import build_model
from nmt.training.checkpoints.train_state import TrainState
from nmt.training.monitoring.run_log import RunLog
from nmt.training.optimization.loss import Losses
from nmt.training.trainer import Trainer
from tests.support.promises.recording_trainers import encoded_text, hash_batch
from tests.support.training.tiny_trainer import make_config

__all__ = ["encoded_text"]

UPDATES = 14
Make = Callable[..., tuple[Trainer, list[str]]]


class RecordingTrainer(Trainer):
    """Records a digest of the batch of each step."""

    digests: list[str]

    def train_step(self, batch: RankBatch) -> tuple[Losses, torch.Tensor]:
        """Record the digest of the batch and train on it."""
        self.digests.append(hash_batch(batch))
        return super().train_step(batch)


@pytest.fixture
def make(encoded_text: tuple[Tokenizers, Corpus], tmp_path: Path) -> Make:
    tokenizers, corpus = encoded_text

    def make(name: str, workers: int, updates: int) -> tuple[Trainer, list[str]]:
        sets = [TrainSet(prefix=Path("a"), weight=1.0), TrainSet(prefix=Path("b"), weight=1.0)]
        config = make_config(
            data__train=sets,
            data__workers=workers,
            data__augment=AugmentConfig(typos=0.3, noise=0.2),
            tokenizer__type="bpe",
            tokenizer__sampling=0.3,
            train__batch_tokens=120,
            train__max_updates=updates,
            train__validate_every=1000,
            model__dropout=0.2,
        )
        run = RunDir(tmp_path / name)
        run.path.mkdir(exist_ok=True)
        seed_everything(1)
        size = tokenizers.tgt.vocab_size
        model = build_model(config.model, size, size, tokenizers.tgt.pad)
        log, kind = RunLog(run.log, run.metrics), Precision("fp32", torch.device("cpu"))
        trainer = RecordingTrainer(
            config, run, log, model, corpus, tokenizers, kind, ProcessGroup()
        )
        trainer.digests = []
        return trainer, trainer.digests

    return make


def score(state: TrainState) -> dict[str, float]:
    return {"bleu": float(state.step), "loss": 1.0, "perplexity": 1.0}


@pytest.mark.parametrize("workers", [0, 1, 4])
@pytest.mark.parametrize("stop", [3, 9])
def test_resume_of_mixture_equals_uninterrupted_run(make: Make, workers: int, stop: int) -> None:
    uninterrupted, expected = make("uninterrupted", 0, UPDATES)
    uninterrupted.train(score)
    assert uninterrupted.state.epoch >= 1, "expected a run of more than one epoch"
    first, before = make("stopped", workers, stop)
    first.train(score)
    assert first.state.batch > 0, "it stops in the middle of an epoch"
    second, after = make("stopped", 4 - workers, UPDATES)
    second.resume()
    second.train(score)
    assert len(set(expected)) == UPDATES
    assert before + after == expected
    for first_weight, second_weight in zip(
        uninterrupted.model.parameters(), second.model.parameters(), strict=True
    ):
        assert first_weight.equal(second_weight)
