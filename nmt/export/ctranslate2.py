"""Write a Transformer as a CTranslate2 model (https://github.com/OpenNMT/CTranslate2).

The model must have no settings in `nmt.export.engines.unsupported_settings`.
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
from nmt.models.layers import POSITION_BASE, FeedForward, TokenEmbedding, sinusoidal_positions
from nmt.models.multi_head_attention import MultiHeadAttention
from nmt.models.transformer import TransformerModel

FORBIDDEN_BIAS = -1e9
"""Output bias of a piece that is never output: its probability becomes 0."""


def write_ctranslate2(
    model: TransformerModel,
    config: TransformerConfig,
    tokenizers: Tokenizers,
    folder: Path,
    quantization: str | None,
) -> None:
    """Write the model and its vocabularies to `folder`, which exists.

    `quantization` is a type of CTranslate2 such as int8; None keeps fp32.
    """
    with torch.inference_mode():
        # a copy, because quantization rounds the tensors in place
        spec = _build_specification(copy.deepcopy(model), config, tokenizers)
        spec.validate()
        spec.optimize(quantization=quantization)
        spec.save(str(folder))


def _build_specification(
    model: TransformerModel, config: TransformerConfig, tokenizers: Tokenizers
) -> Any:
    """Return the TransformerSpec of CTranslate2 with the weights, vocabularies and settings."""
    from ctranslate2 import specs

    activations = {
        "relu": specs.Activation.RELU,
        "gelu": specs.Activation.GELU,
        "swish": specs.Activation.SWISH,
        "swiglu": specs.Activation.SWISH,
    }
    is_rotary = config.positions == "rotary"
    settings: dict[str, Any] = {
        "pre_norm": config.norm_position == "pre",
        "activation": activations[config.activation],
        "ffn_glu": config.activation == "swiglu",
        "rms_norm": config.norm == "rms",
        "num_heads_kv": config.num_kv_heads,
        "rotary_dim": 0 if is_rotary else None,  # 0: all dimensions of a head
        "rotary_interleave": False,
        "rotary_base": POSITION_BASE,
    }
    encoder_layers, decoder_layers = layer_counts(config)
    spec = specs.TransformerSpec(
        specs.TransformerEncoderSpec(encoder_layers, config.num_heads, **settings),
        specs.TransformerDecoderSpec(decoder_layers, config.num_heads, **settings),
    )
    encoder, decoder = spec.encoder, spec.decoder
    encoder.embeddings[0].weight = model.src.embedding.weight
    decoder.embeddings.weight = model.tgt.embedding.weight
    if is_rotary:
        del encoder.position_encodings  # the constructor omits only those of the decoder
    else:
        encoder.position_encodings.encodings = _position_vectors(model.src)
        decoder.position_encodings.encodings = _position_vectors(model.tgt)
    if config.norm_position == "pre":
        _set_norm(encoder.layer_norm, model.encoder_norm)
        _set_norm(decoder.layer_norm, model.decoder_norm)
    for layer_spec, layer in zip(encoder.layer, model.encoder_layers(), strict=True):
        _set_self_attention(layer_spec.self_attention, layer.attention, layer.attention_sum.norm)
        _set_feed_forward(layer_spec.ffn, layer.feed_forward, layer.feed_forward_sum.norm)
    for layer_spec, decoder_layer in zip(decoder.layer, model.decoder_layers(), strict=True):
        _set_self_attention(
            layer_spec.self_attention, decoder_layer.self_attention(), decoder_layer.past_sum.norm
        )
        _set_cross_attention(
            layer_spec.attention, decoder_layer.cross, decoder_layer.cross_sum.norm
        )
        _set_feed_forward(
            layer_spec.ffn, decoder_layer.feed_forward, decoder_layer.feed_forward_sum.norm
        )
    decoder.projection.weight = model.output.weight
    bias = model.output.bias.clone()
    bias[tokenizers.tgt.never_output] = FORBIDDEN_BIAS
    decoder.projection.bias = bias
    spec.register_source_vocabulary(_vocabulary(tokenizers.src))
    tgt_vocabulary = _vocabulary(tokenizers.tgt)
    spec.register_target_vocabulary(tgt_vocabulary)
    spec.config.bos_token = spec.config.decoder_start_token = tgt_vocabulary[tokenizers.tgt.bos]
    spec.config.eos_token = tgt_vocabulary[tokenizers.tgt.eos]
    spec.config.layer_norm_epsilon = config.norm_epsilon
    return spec


def _vocabulary(tokenizer: Tokenizer) -> list[str]:
    """Return the pieces in the order of their ids."""
    return tokenizer.pieces(range(tokenizer.vocab_size))


def _position_vectors(embedding: TokenEmbedding) -> Tensor:
    """Return the vectors that are added to the embeddings, positions x D."""
    if embedding.positions == "learned":
        return embedding.position.weight
    return sinusoidal_positions(torch.arange(SINUSOIDAL_POSITIONS), embedding.width)


def _set_norm(spec: Any, norm: Any) -> None:
    """Set the weights of a LayerNorm or RMSNorm; only the first has a bias."""
    spec.gamma = norm.weight
    if isinstance(norm, nn.LayerNorm):
        spec.beta = norm.bias


def _set_linear(spec: Any, *linears: nn.Linear) -> None:
    """Set the concatenation of linear layers with the same input; a missing bias becomes zeros."""
    spec.weight = torch.cat([linear.weight for linear in linears])
    spec.bias = torch.cat(
        [
            linear.weight.new_zeros(linear.out_features) if linear.bias is None else linear.bias
            for linear in linears
        ]
    )


def _set_self_attention(spec: Any, attention: MultiHeadAttention, norm: Any) -> None:
    """Set self-attention, in which one product projects queries, keys and values."""
    _set_norm(spec.layer_norm, norm)
    _set_linear(spec.linear[0], attention.query, attention.key, attention.value)
    _set_linear(spec.linear[1], attention.output)


def _set_cross_attention(spec: Any, attention: MultiHeadAttention, norm: Any) -> None:
    """Set cross-attention, in which one product projects keys and values."""
    _set_norm(spec.layer_norm, norm)
    _set_linear(spec.linear[0], attention.query)
    _set_linear(spec.linear[1], attention.key, attention.value)
    _set_linear(spec.linear[2], attention.output)


def _set_feed_forward(spec: Any, feed_forward: FeedForward, norm: Any) -> None:
    """Set a feed-forward network, gated (`linear_0_noact`) or not."""
    _set_norm(spec.layer_norm, norm)
    _set_linear(spec.linear_0, feed_forward.into)
    if feed_forward.gate is not None:
        _set_linear(spec.linear_0_noact, feed_forward.gate)
    _set_linear(spec.linear_1, feed_forward.out)
