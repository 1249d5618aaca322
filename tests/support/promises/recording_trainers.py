"""Trainers of tiny models on a mixture with BPE-dropout that record the state of each update."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from nmt.config.sections.data import TrainSet
from nmt.config.sections.tokenizer import TokenizerConfig
from nmt.core.distributed.process_group import ProcessGroup
from nmt.core.run_dir import RunDir
from nmt.data.batching.loader import RankBatch
from nmt.data.corpus.corpus import Corpus
from nmt.data.tokenizer.tokenizer import TagIds, Tokenizer, Tokenizers
from nmt.data.tokenizer.training import train_tokenizer
from nmt.device.precision import Precision
from nmt.device.seeding import seed_everything
from nmt.models.build import build_model
from nmt.training.batch_stream import ScheduledBatch
from nmt.training.checkpoints.state_hash import hash_state
from nmt.training.checkpoints.train_state import TrainState
from nmt.training.monitoring.run_log import RunLog
from nmt.training.optimization.loss import Losses
from nmt.training.trainer import Trainer
from tests.support.data.memory_chunks import corpus_from_pairs
from tests.support.training.tiny_trainer import make_config, make_pairs

MODELS: dict[str, dict[str, Any]] = {
    "luong": {"attention": "luong", "input_feeding": True, "d_embed": 8, "d_hidden": 8},
    "bahdanau": {"attention": "bahdanau", "score": "additive", "d_embed": 8, "d_hidden": 8},
    "transformer": {"arch": "transformer", "d_model": 8, "d_ff": 16, "num_heads": 2},
}
MakeTrainer = Callable[..., "RecordingTrainer"]


class RecordingTrainer(Trainer):
    """Records a digest of the batch of each update, and of the state after it."""

    batches: list[str]
    states: list[str]

    def record_step(
        self, scheduled: ScheduledBatch, losses: Losses, gradient_norm: torch.Tensor
    ) -> None:
        super().record_step(scheduled, losses, gradient_norm)
        self.batches.append(hash_batch(scheduled.batch))
        self.states.append(
            hash_state(self.state, self.model, self.optimizer, self.ema, self.precision)
        )


def hash_batch(batch: RankBatch) -> str:
    """Return the SHA-256 of the token ids of a batch."""
    digest = hashlib.sha256()
    for micro_batch in batch.micro_batches:
        for tensor in (micro_batch.src, micro_batch.tgt_in, micro_batch.targets):
            digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def validate(state: TrainState) -> dict[str, float]:
    """Return a score that rises and falls, and depends on the optimizer step only."""
    return {"bleu": float(state.step * 7 % 11), "loss": 1.0, "perplexity": 1.0}


@pytest.fixture(scope="module")
def encoded_text(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tokenizers, Corpus]:
    """Return two text sets encoded by one tokenizer; the second has a tag."""
    folder = tmp_path_factory.mktemp("mixture")
    pairs = make_pairs()
    lines = [line for pair in pairs for line in pair]
    config = TokenizerConfig(type="bpe", vocab_size=400)
    both = Tokenizer(train_tokenizer(lines, config, exact=False, name="both sides"))
    tokenizers = Tokenizers(both, both)
    corpus_from_pairs(pairs[:45], tokenizers, folder / "0")
    corpus_from_pairs(pairs[45:], tokenizers.with_tags(TagIds((both.reserved[0],))), folder / "1")
    return tokenizers, Corpus(folder / "0", folder / "1")


@pytest.fixture
def make_trainer(encoded_text: tuple[Tokenizers, Corpus], tmp_path: Path) -> MakeTrainer:
    """Return a function that builds a trainer with a run folder of the given name."""
    tokenizers, corpus = encoded_text

    def make_trainer(name: str, model: str, **values: Any) -> RecordingTrainer:
        sets = [TrainSet(prefix=Path(name), weight=1.0) for name in "ab"]
        settings = {
            "data__train": sets,
            "data__workers": 0,
            "tokenizer__type": "bpe",
            "tokenizer__sampling": 0.3,
            "train__batch_tokens": 120,
            "train__validate_every": 7,
            "train__ema": 0.9,
            "model__dropout": 0.2,
            **{f"model__{key}": value for key, value in MODELS[model].items()},
        }
        config = make_config(**settings | values)
        run = RunDir(tmp_path / name)
        run.path.mkdir(exist_ok=True)
        seed_everything(1)
        size = tokenizers.tgt.vocab_size
        network = build_model(config.model, size, size, tokenizers.tgt.pad)
        log, kind = RunLog(run.log, run.metrics), Precision("fp32", torch.device("cpu"))
        trainer = RecordingTrainer(
            config, run, log, network, corpus, tokenizers, kind, ProcessGroup()
        )
        trainer.batches, trainer.states = [], []
        return trainer

    return make_trainer
