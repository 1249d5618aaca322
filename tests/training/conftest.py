"""Fixtures that build trainers on one small corpus."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from nmt.core.distributed.process_group import ProcessGroup
from nmt.core.run_dir import RunDir
from nmt.data.corpus.corpus import Corpus
from nmt.data.tokenizer.tokenizer import Tokenizers
from nmt.device.precision import Precision
from nmt.device.seeding import seed_everything
from nmt.models.build import build_model
from nmt.training.monitoring.run_log import RunLog
from nmt.training.trainer import Trainer
from tests.support.data.memory_chunks import corpus_from_pairs
from tests.support.training.tiny_trainer import (
    MakeTrainer,
    make_config,
    make_pairs,
    make_tokenizers,
)


@pytest.fixture(scope="session")
def pairs() -> list[tuple[str, str]]:
    return make_pairs()


@pytest.fixture(scope="session")
def tokenizers(pairs: list[tuple[str, str]]) -> Tokenizers:
    return make_tokenizers(pairs)


@pytest.fixture(scope="session")
def corpus(
    pairs: list[tuple[str, str]], tokenizers: Tokenizers, tmp_path_factory: pytest.TempPathFactory
) -> Corpus:
    return corpus_from_pairs(pairs, tokenizers, tmp_path_factory.mktemp("corpus") / "c")


@pytest.fixture
def make_trainer(corpus: Corpus, tokenizers: Tokenizers, tmp_path: Path) -> MakeTrainer:
    """Return a function that makes a trainer with these settings, the same weights each time."""

    def make(
        name: str = "run", precision: str = "fp32", device: str = "cpu", **values: Any
    ) -> Trainer:
        config = make_config(**values)
        run = RunDir(tmp_path / name)
        run.path.mkdir(exist_ok=True)
        seed_everything(1)
        size = tokenizers.tgt.vocab_size
        model = build_model(config.model, size, size, tokenizers.tgt.pad).to(torch.device(device))
        log = RunLog(run.log, run.metrics)
        kind = Precision(precision, torch.device(device))
        return Trainer(config, run, log, model, corpus, tokenizers, kind, ProcessGroup())

    return make
