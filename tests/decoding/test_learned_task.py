"""Models learn to reverse strings of digits, with exact match on unseen strings."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch

from nmt.config.model_config import RNNConfig, TransformerConfig
from nmt.config.sections.decode import DecodeConfig
from nmt.config.sections.train import TrainConfig
from nmt.data.batching.loader import MicroBatch, pad_rows
from nmt.data.tokenizer.tokenizer import Tokenizers
from nmt.decoding.engines.torch_engine import TorchEngine
from nmt.models.build import build_model
from nmt.training.optimization.loss import ModelWithLoss
from tests.support.models.reference_search import BOS, EOS, FIRST_REAL, PAD, FakeTokenizer

DIGITS = range(FIRST_REAL, FIRST_REAL + 10)
VOCAB = FIRST_REAL + 10
OPTIMIZER_STEPS, BATCH_SIZE = {"rnn": 400, "transformer": 300}, {"rnn": 64, "transformer": 48}
"""By architecture."""


def random_source(rng: random.Random) -> list[int]:
    return [rng.choice(DIGITS) for _ in range(rng.randint(3, 5))]


def make_batch(sources: list[list[int]]) -> MicroBatch:
    targets = [[*reversed(source), EOS] for source in sources]
    length = max(map(len, targets))
    return MicroBatch(
        src=pad_rows([[*source, EOS] for source in sources], length, PAD),
        src_len=torch.tensor([len(source) + 1 for source in sources]),
        tgt_in=pad_rows([[BOS, *target[:-1]] for target in targets], length, PAD),
        targets=torch.tensor([token for target in targets for token in target]),
        positions=torch.tensor(
            [b * length + t for b, target in enumerate(targets) for t in range(len(target))]
        ),
        link_tgt_positions=torch.empty(0, dtype=torch.int64),
        link_src_positions=torch.empty(0, dtype=torch.int64),
        link_weights=torch.empty(0),
    )


def make_config(settings: dict[str, Any]) -> RNNConfig | TransformerConfig:
    if settings.get("arch") == "transformer":
        sizes = {"d_model": 48, "d_ff": 96, "num_heads": 4, "num_layers": 2, "dropout": 0.0}
        return TransformerConfig(**{**sizes, **settings})
    return RNNConfig(**{"d_embed": 32, "d_hidden": 48, "dropout": 0.0, **settings})


MODELS: dict[str, dict[str, Any]] = {
    "none": {"attention": "none", "cell": "gru", "d_hidden": 96},
    "input-feeding": {
        "attention": "luong",
        "score": "general",
        "num_heads": 2,
        "input_feeding": True,
    },
    "coverage": {"attention": "bahdanau", "score": "additive", "coverage": True, "cell": "lstm"},
    "location": {"attention": "luong", "score": "location"},
    "monotonic": {
        "attention": "luong",
        "score": "additive",
        "window": "local_m",
        "window_width": 4,
    },
    "transformer": {"arch": "transformer"},
    "post-norm": {
        "arch": "transformer",
        "norm_position": "post",
        "norm": "rms",
        "positions": "rotary",
        "activation": "swiglu",
        "num_kv_heads": 2,
    },
    "ssru": {"arch": "transformer", "decoder": "ssru", "positions": "learned"},
    "predictive": {
        "attention": "luong",
        "score": "general",
        "window": "local_p",
        "window_width": 2,
    },
}


SLOW_MODELS = ("input-feeding", "coverage", "location", "post-norm", "monotonic", "predictive")
"""Variants of models that the fast suite trains too; all contracts of their layers are tested."""


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(settings, id=name, marks=[pytest.mark.slow] * (name in SLOW_MODELS))
        for name, settings in MODELS.items()
    ],
)
def test_model_trained_on_reversed_digits_reverses_unseen(settings: dict[str, Any]) -> None:
    rng = random.Random(1)
    test_sources = [random_source(rng) for _ in range(100)]
    test_set = {tuple(source) for source in test_sources}
    arch = settings.get("arch", "rnn")
    steps = OPTIMIZER_STEPS[arch]
    torch.manual_seed(1)
    model = build_model(make_config(settings), VOCAB, VOCAB, PAD)
    model_with_loss = ModelWithLoss(model, TrainConfig(label_smoothing=0.0))
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, steps)
    for _ in range(steps):
        sources = (random_source(rng) for _ in range(BATCH_SIZE[arch]))
        batch = make_batch([source for source in sources if tuple(source) not in test_set])
        optimizer.zero_grad()
        (model_with_loss(batch).translation / batch.tgt_tokens).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    tokenizer: Any = FakeTokenizer(VOCAB)
    tokenizers, greedy = Tokenizers(tokenizer, tokenizer), DecodeConfig(beam_size=1)
    engine = TorchEngine(model, tokenizers, greedy, torch.device("cpu"))
    translations = [best.tokens for (best,) in engine.search(test_sources)]
    errors = [
        (source, tokens)
        for source, tokens in zip(test_sources, translations, strict=True)
        if tokens != source[::-1]
    ]
    assert errors == []
