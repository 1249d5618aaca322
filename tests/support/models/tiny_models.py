"""Tiny models and batches for the tests of models."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nmt.config.model_config import RNNConfig, TransformerConfig
from nmt.models.build import AnyModel, build_model
from nmt.models.rnn import RNNModel

PAD, BOS, VOCAB = 0, 1, 11
WINDOW_WIDTH = 1
"""D of the local windows, less than the source lengths."""


def make_model(seed: int = 1, **settings: Any) -> RNNModel:
    """Return a tiny recurrent model in eval mode."""
    sizes = {"d_embed": 6, "d_hidden": 8, "dropout": 0.0, "window_width": WINDOW_WIDTH}
    model = make_random_model(RNNConfig(**{**sizes, **settings}), seed)
    assert isinstance(model, RNNModel)
    return model


def make_arch_model(settings: dict[str, Any], seed: int = 1) -> AnyModel:
    """Return a tiny model of any architecture in eval mode."""
    if settings.get("arch") != "transformer":
        return make_model(seed, **settings)
    sizes = {"d_model": 8, "d_ff": 12, "num_heads": 2, "dropout": 0.0, "max_positions": 16}
    return make_random_model(TransformerConfig(**{**sizes, **settings}), seed)


def make_random_model(config: RNNConfig | TransformerConfig, seed: int) -> AnyModel:
    """Return a model with random weights and biases, so that every parameter matters."""
    torch.manual_seed(seed)
    model = build_model(config, VOCAB, VOCAB, PAD)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model.eval()


def make_source(lengths: list[int], seed: int = 2) -> tuple[Tensor, Tensor]:
    """Return random padded source ids of these lengths, and the lengths."""
    generator = torch.Generator().manual_seed(seed)
    src = torch.randint(2, VOCAB, (len(lengths), max(lengths)), generator=generator)
    for row, length in zip(src, lengths, strict=True):
        row[length:] = PAD
    return src, torch.tensor(lengths)


def make_target(rows: int, length: int, seed: int = 3) -> Tensor:
    """Return random target ids, rows x length, that begin with bos."""
    generator = torch.Generator().manual_seed(seed)
    tgt_in = torch.randint(2, VOCAB, (rows, length), generator=generator)
    tgt_in[:, 0] = BOS
    return tgt_in
