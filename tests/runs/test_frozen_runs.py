"""Tests that run folders of all released formats load.

`frozen/v1` reverses strings of digits. The release that wrote format 1 trained it. Never regenerate
it: a failure here means that old models no longer load.
"""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest
import torch

import nmt
from nmt.config.loader import load_config
from nmt.core.run_dir import RunDir
from nmt.data.tokenizer.storage import load_tokenizers
from nmt.models.build import build_model
from nmt.training.checkpoints.checkpoint import last_checkpoint, load_checkpoint
from nmt.training.optimization.optimizer import build_optimizer
from tests.support.paths import FROZEN

VERSIONS = sorted(FROZEN.iterdir())


def digit_strings(count: int) -> list[str]:
    rng = random.Random(11)
    return [" ".join(rng.choices("0123456789", k=rng.randint(3, 6))) for _ in range(count)]


def test_frozen_runs_include_format_v1() -> None:
    assert [folder.name for folder in VERSIONS] == ["v1"]


@pytest.mark.parametrize("folder", VERSIONS, ids=lambda folder: folder.name)
def test_frozen_run_when_loaded_reverses_digits(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "run", symlinks=True)
    lines = digit_strings(50)
    assert nmt.load(copy, device="cpu").translate(lines) == [line[::-1] for line in lines]


@pytest.mark.parametrize("folder", VERSIONS, ids=lambda folder: folder.name)
def test_frozen_run_checkpoint_restores_model_and_optimizer(folder: Path) -> None:
    run = RunDir(folder)
    config, tokenizers = load_config(run.config), load_tokenizers(run)
    size = tokenizers.tgt.vocab_size
    model = build_model(config.model, size, size, tokenizers.tgt.pad)
    optimizer = build_optimizer(model, config.train, torch.device("cpu"))
    checkpoint = last_checkpoint(run)
    assert checkpoint is not None
    assert load_checkpoint(checkpoint, model, optimizer).step == 300
    assert all(optimizer.state[p]["step"] == 300 for p in model.parameters())
