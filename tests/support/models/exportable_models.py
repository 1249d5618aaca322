"""Tiny Transformers with random weights, and a tokenizer for them."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import torch

from nmt.config.model_config import TransformerConfig
from nmt.config.sections.decode import DecodeConfig
from nmt.data.tokenizer.tokenizer import Tokenizers
from nmt.decoding.engines.torch_engine import TorchEngine
from nmt.models.build import build_model
from nmt.models.transformer import TransformerModel

PAD, UNK, CONTROL, BOS, EOS = range(5)
VOCAB = 40


class FakeTokenizer:
    """The attributes of a tokenizer that an export uses."""

    pad, unk, bos, eos = PAD, UNK, BOS, EOS
    never_output = [PAD, CONTROL, BOS]
    tags: tuple[int, ...] = ()
    vocab_size = VOCAB

    def pieces(self, tokens: Iterable[int]) -> list[str]:
        return ["<unk>" if token == UNK else f"p{token}" for token in tokens]


def make_engine(
    beam_size: int, eos_bias: float = 0.0, **settings: Any
) -> tuple[TorchEngine, TransformerConfig]:
    """Return an engine with a tiny Transformer of random weights, and the model config."""
    sizes = {"d_model": 16, "d_ff": 32, "num_heads": 4, "num_layers": 2, "tie": "none"}
    config = TransformerConfig(arch="transformer", **{**sizes, **settings})
    torch.manual_seed(1)
    model = build_model(config, VOCAB, VOCAB, PAD)
    for name, parameter in model.named_parameters():
        if "norm" not in name:
            torch.nn.init.normal_(parameter, std=0.3)
    model.output.bias.data[EOS] = eos_bias
    model.output.bias.data[CONTROL] = 9.0  # the most probable token is never output
    pieces: Any = FakeTokenizer()
    decode = DecodeConfig(beam_size=beam_size, length_penalty=0.0, max_length_ratio=1.0)
    tokenizers = Tokenizers(pieces, pieces)
    engine = TorchEngine(model.eval(), tokenizers, decode, torch.device("cpu"))
    return engine, config


def transformer_of(engine: TorchEngine) -> TransformerModel:
    assert isinstance(engine.model, TransformerModel)
    return engine.model


def random_sources(count: int) -> list[list[int]]:
    rng = random.Random(2)
    return [[rng.randrange(EOS + 1, VOCAB) for _ in range(rng.randint(1, 9))] for _ in range(count)]
