"""A Transformer as a CTranslate2 model (https://github.com/OpenNMT/CTranslate2).

Only the layouts that `TransformerConfig.not_exported` finds nothing against.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nmt.config.model_config import TransformerConfig, layer_counts
from nmt.data.tokenizer.tokenizer import Tokenizer, Tokenizers
from nmt.decoding.engines.ctranslate2 import SINUSOIDAL_POSITIONS
from nmt.models.layers import POSITION_BASE, TokenEmbedding, sinusoidal_positions
from nmt.models.multi_head_attention import MultiHeadAttention
from nmt.models.transformer import (
    FeedForward,
    TransformerModel,
)

NEVER = -1e9
"""Bias of a piece that is never output."""


def write_ctranslate2(
    model: TransformerModel,
    config: TransformerConfig,
    tokenizers: Tokenizers,
    folder: Path,
    quantization: str | None,
) -> None:
    """Fill `folder` with the model and its vocabularies, in CTranslate2's layout."""
    with torch.inference_mode():
        # a copy, because quantization rounds the very tensors it is given
        spec = _specification(copy.deepcopy(model), config, tokenizers)
        spec.validate()
        spec.optimize(quantization=quantization)
        spec.save(str(folder))


def _specification(model: TransformerModel, config: TransformerConfig, tokens: Tokenizers) -> Any:
    from ctranslate2 import specs

    activations = {
        "relu": specs.Activation.RELU,
        "gelu": specs.Activation.GELU,
        "swiglu": specs.Activation.SWISH,
    }
    rotary = config.positions == "rotary"
    settings: dict[str, Any] = {
        "pre_norm": config.norm_place == "pre",
        "activation": activations[config.activation],
        "ffn_glu": config.activation == "swiglu",
        "rms_norm": config.norm == "rms",
        "num_heads_kv": config.num_kv_heads,
        "rotary_dim": 0 if rotary else None,
        "rotary_interleave": False,
        "rotary_base": POSITION_BASE,
    }
    n, m = layer_counts(config)
    spec = specs.TransformerSpec(
        specs.TransformerEncoderSpec(n, config.num_heads, **settings),
        specs.TransformerDecoderSpec(m, config.num_heads, **settings),
    )
    encoder, decoder = spec.encoder, spec.decoder
    encoder.embeddings[0].weight = model.src.embedding.weight
    decoder.embeddings.weight = model.tgt.embedding.weight
    if rotary:
        del encoder.position_encodings
    else:
        encoder.position_encodings.encodings = _positions(model.src)
        decoder.position_encodings.encodings = _positions(model.tgt)
    for to, of in ((encoder, model.encoder_norm), (decoder, model.decoder_norm)):
        if config.norm_place == "pre":
            _norm(to.layer_norm, of)
    for to, layer in zip(encoder.layer, model.encoder_layers(), strict=True):
        _self_attention(to.self_attention, layer.attention, layer.attention_sum.norm)
        _feed_forward(to.ffn, layer.feed_forward, layer.feed_forward_sum.norm)
    for to, upper in zip(decoder.layer, model.decoder_layers(), strict=True):
        _self_attention(to.self_attention, upper.self_attention(), upper.past_sum.norm)
        _cross_attention(to.attention, upper.cross, upper.cross_sum.norm)
        _feed_forward(to.ffn, upper.feed_forward, upper.feed_forward_sum.norm)
    decoder.projection.weight = model.output.weight
    bias = model.output.bias.clone()
    bias[tokens.tgt.never_output] = NEVER
    decoder.projection.bias = bias
    spec.register_source_vocabulary(_vocabulary(tokens.src))
    names = _vocabulary(tokens.tgt)
    spec.register_target_vocabulary(names)
    spec.config.bos_token = spec.config.decoder_start_token = names[tokens.tgt.bos]
    spec.config.eos_token = names[tokens.tgt.eos]
    spec.config.layer_norm_epsilon = _first_norm(model).eps
    return spec


def _vocabulary(tokenizer: Tokenizer) -> list[str]:
    return tokenizer.pieces(range(tokenizer.vocab_size))


def _first_norm(model: TransformerModel) -> Any:
    return next(m for m in model.modules() if isinstance(m, nn.LayerNorm | nn.RMSNorm))


def _positions(embedded: TokenEmbedding) -> Tensor:
    if embedded.positions == "learned":
        return embedded.position.weight
    return sinusoidal_positions(torch.arange(SINUSOIDAL_POSITIONS), embedded.width)


def _norm(to: Any, norm: Any) -> None:
    to.gamma = norm.weight
    if isinstance(norm, nn.LayerNorm):
        to.beta = norm.bias


def _linear(to: Any, *linears: nn.Linear) -> None:
    """Put linear maps of one input side by side; one without a bias gets zeros."""
    to.weight = torch.cat([linear.weight for linear in linears])
    to.bias = torch.cat(
        [
            linear.weight.new_zeros(linear.out_features) if linear.bias is None else linear.bias
            for linear in linears
        ]
    )


def _self_attention(to: Any, attention: MultiHeadAttention, norm: Any) -> None:
    _norm(to.layer_norm, norm)
    _linear(to.linear[0], attention.query, attention.key, attention.value)
    _linear(to.linear[1], attention.output)


def _cross_attention(to: Any, attention: MultiHeadAttention, norm: Any) -> None:
    _norm(to.layer_norm, norm)
    _linear(to.linear[0], attention.query)
    _linear(to.linear[1], attention.key, attention.value)
    _linear(to.linear[2], attention.output)


def _feed_forward(to: Any, feed_forward: FeedForward, norm: Any) -> None:
    _norm(to.layer_norm, norm)
    _linear(to.linear_0, feed_forward.into)
    if feed_forward.gate is not None:
        _linear(to.linear_0_noact, feed_forward.gate)
    _linear(to.linear_1, feed_forward.out)
