"""Tiny models and batches that the tests of the models share."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nmt.config.model_config import RNNConfig, TransformerConfig
from nmt.models.build import AnyModel, build_model
from nmt.models.rnn import RNNModel

PAD, BOS, VOCAB = 0, 1, 11
WINDOW_WIDTH = 1
"""D of the local windows: narrower than the sources."""


def make_model(seed: int = 1, **settings: Any) -> RNNModel:
    """A tiny recurrent model in eval mode."""
    sizes = {"d_embed": 6, "d_hidden": 8, "dropout": 0.0, "window_width": WINDOW_WIDTH}
    model = randomised(RNNConfig(**{**sizes, **settings}), seed)
    assert isinstance(model, RNNModel)
    return model


def make_any(settings: dict[str, Any], seed: int = 1) -> AnyModel:
    """A tiny model of any architecture in eval mode."""
    if settings.get("arch") != "transformer":
        return make_model(seed, **settings)
    sizes = {"d_model": 8, "d_ff": 12, "num_heads": 2, "dropout": 0.0, "max_positions": 16}
    return randomised(TransformerConfig(**{**sizes, **settings}), seed)


def randomised(config: RNNConfig | TransformerConfig, seed: int) -> AnyModel:
    """A model whose every weight is random, the biases too, so that each matters."""
    torch.manual_seed(seed)
    model = build_model(config, VOCAB, VOCAB, PAD)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model.eval()


def make_source(lengths: list[int], seed: int = 2) -> tuple[Tensor, Tensor]:
    """Random padded source ids of these lengths, and the lengths."""
    generator = torch.Generator().manual_seed(seed)
    src = torch.randint(2, VOCAB, (len(lengths), max(lengths)), generator=generator)
    for row, length in zip(src, lengths, strict=True):
        row[length:] = PAD
    return src, torch.tensor(lengths)


def make_target(rows: int, length: int, seed: int = 3) -> Tensor:
    """Random target ids, rows x length, bos first."""
    generator = torch.Generator().manual_seed(seed)
    tgt_in = torch.randint(2, VOCAB, (rows, length), generator=generator)
    tgt_in[:, 0] = BOS
    return tgt_in
