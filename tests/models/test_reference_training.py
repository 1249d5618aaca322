"""Training with hand-written kernels against training with the plain equations, in float64."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from nmt.config.model_config import RNNConfig, TransformerConfig
from nmt.config.sections.train import TrainConfig
from nmt.data.batching.loader import MicroBatch
from nmt.models.build import build_model
from nmt.models.kernels.selection import KERNELS_VARIABLE, select_kernels
from nmt.training.optimization.loss import ModelWithLoss

UPDATES = 20
VOCAB_SIZE, PAD, EOS = 12, 0, 3
SMALL_RNN: dict[str, Any] = {"d_embed": 6, "d_hidden": 8, "dropout": 0.0}
SMALL_TRANSFORMER: dict[str, Any] = {
    "arch": "transformer",
    "d_model": 8,
    "d_ff": 12,
    "num_heads": 2,
    "num_layers": 2,
    "dropout": 0.0,
}
BAHDANAU: dict[str, Any] = {"attention": "bahdanau", "score": "additive"}
FEEDING: dict[str, Any] = {"attention": "luong", "input_feeding": True}
RNNS: dict[str, dict[str, Any]] = {
    "none": {"attention": "none"},
    "bahdanau": BAHDANAU,
    "bahdanau-lstm": {**BAHDANAU, "cell": "lstm"},
    "bahdanau-heads": {**BAHDANAU, "num_heads": 2},
    "bahdanau-coverage": {**BAHDANAU, "coverage": True},
    "bahdanau-coverage-local_p": {**BAHDANAU, "coverage": True, "window": "local_p"},
    "luong-dot": {"score": "dot"},
    "luong-general": {"score": "general"},
    "luong-additive": {"score": "additive"},
    "luong-additive-local_m": {"score": "additive", "window": "local_m", "window_width": 1},
    "luong-general-local_p": {"score": "general", "window": "local_p", "window_width": 1},
    "luong-location": {"score": "location"},
    "luong-lstm-3-layers": {"cell": "lstm", "num_layers": 3},
    "feeding-general": {**FEEDING, "score": "general"},
    "feeding-general-lstm-heads": {**FEEDING, "cell": "lstm", "num_heads": 2},
    "feeding-additive": {**FEEDING, "score": "additive"},
    "feeding-local_p": {**FEEDING, "window": "local_p", "window_width": 1},
}
TRANSFORMERS: dict[str, dict[str, Any]] = {
    "transformer": {},
    "transformer-post": {"norm_position": "post", "positions": "rotary", "num_kv_heads": 1},
    "ssru": {"decoder": "ssru"},
}
CONFIGS: dict[str, RNNConfig | TransformerConfig] = {
    **{name: RNNConfig(**SMALL_RNN, **settings) for name, settings in RNNS.items()},
    **{
        name: TransformerConfig(**SMALL_TRANSFORMER, **settings)
        for name, settings in TRANSFORMERS.items()
    },
}


def make_batch(seed: int) -> MicroBatch:
    """Return three random pairs of different lengths."""
    generator = torch.Generator().manual_seed(seed)
    src_len, tgt_len = torch.tensor([5, 2, 4]), torch.tensor([3, 6, 4])

    def tokens(lengths: Tensor) -> Tensor:
        width = int(lengths.max())
        ids = torch.randint(4, VOCAB_SIZE, (len(lengths), width), generator=generator)
        return ids.masked_fill(torch.arange(width) >= lengths[:, None], PAD)

    tgt = tokens(tgt_len)
    no_links = torch.empty(0, dtype=torch.int64)
    return MicroBatch(
        src=tokens(src_len),
        src_len=src_len,
        tgt_in=torch.cat([torch.full((3, 1), EOS), tgt[:, :-1]], 1),
        targets=tgt[tgt != PAD],
        positions=(tgt != PAD).flatten().nonzero()[:, 0],
        link_tgt_positions=no_links,
        link_src_positions=no_links,
        link_weights=torch.empty(0),
    )


def train(config: RNNConfig | TransformerConfig) -> Iterator[dict[str, Tensor]]:
    """Train from the same random weights; yield loss and gradients of each update."""
    torch.manual_seed(1)
    model = build_model(config, VOCAB_SIZE, VOCAB_SIZE, PAD).double()
    module = ModelWithLoss(model, TrainConfig(label_smoothing=0.1)).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for step in range(UPDATES):
        optimizer.zero_grad()
        loss = module(make_batch(step)).translation
        loss.backward()
        gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
        yield {"loss": loss.detach(), **gradients}
        optimizer.step()


@pytest.mark.parametrize("name", CONFIGS)
def test_training_with_kernels_matches_reference(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = {}
    try:
        for choice in ("auto", "reference"):
            monkeypatch.setenv(KERNELS_VARIABLE, choice)
            select_kernels.cache_clear()
            records[choice] = list(train(CONFIGS[name]))
    finally:
        select_kernels.cache_clear()
    for actual, expected in zip(records["auto"], records["reference"], strict=True):
        assert actual.keys() == expected.keys()
        for key, tensor in expected.items():
            torch.testing.assert_close(
                actual[key], tensor, rtol=1e-9, atol=1e-9, msg=lambda text, k=key: f"{k}: {text}"
            )
    losses = [float(record["loss"]) for record in records["auto"]]
    assert losses[-1] < losses[0]
