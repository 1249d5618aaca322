"""Names of the weights in eole, and their conversion.

nmt has the sines of a position vector in the first half of its dimensions and the cosines in the
second half. With the positions SinusoidalInterleaved, eole alternates them. Permuting these
dimensions in all weights that read or write them does not change what the model computes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from nmt.errors import DataError
from nmt.importing.opennmt.model_settings import CONCATENATED_POSITIONS, ModelSettings
from nmt.importing.weights import (
    LAYER,
    POSITION_TOLERANCE,
    Shape,
    TensorSource,
    read_equal,
    read_finite,
    weight_shapes,
)
from nmt.models.layers import sinusoidal_positions

BLOCKS = {"attention": "self_attn", "past": "self_attn", "cross": "context_attn"}
PROJECTIONS = {
    "query": "linear_query",
    "key": "linear_keys",
    "value": "linear_values",
    "output": "final_linear",
}
PARTS = {
    "attention_sum.norm": "input_layernorm",
    "past_sum.norm": "input_layernorm",
    "cross_sum.norm": "precontext_layernorm",
    "feed_forward_sum.norm": "post_attention_layernorm",
    "feed_forward.into": "mlp.gate_up_proj",
    "feed_forward.gate": "mlp.up_proj",
    "feed_forward.out": "mlp.down_proj",
}
"""Name in eole of each part of a layer."""
SOURCE, TARGET, OUTPUT = (
    "src_emb.embeddings.weight",
    "tgt_emb.embeddings.weight",
    "generator.weight",
)
OUTPUT_BIAS = "generator.bias"
SIDES = {"src": "src_emb", "tgt": "tgt_emb"}
MAX_POSITIONS = 2**16


def convert_weights(
    source: TensorSource, settings: ModelSettings, vocab_sizes: tuple[int, int], where: Path
) -> dict[str, Tensor]:
    """Return the weights of nmt's model in fp32.

    Biases that the model lacks become zeros. The biases of keys are dropped, because they add a
    constant to all scores of a query. Raises DataError, which begins with `where`, if names or
    shapes differ, before a tensor is read.
    """
    shapes = weight_shapes(settings.check(where), *vocab_sizes)
    names = {name: source_names(name, settings) for name in shapes}
    _check_shapes(source, names, shapes, settings, where)
    weights = {
        name: read_equal(source, names[name], where)
        if any(alias in source.shapes for alias in names[name])
        else torch.zeros(shape)
        for name, shape in shapes.items()
    }
    _check_values(source, settings, where)
    kind = settings.position_encoding_type
    if kind == "SinusoidalInterleaved":
        _check_sinusoids(source, where)
        order = _sines_first(settings.hidden_size)
        weights = {name: _permute(name, weight, order) for name, weight in weights.items()}
    if kind == "Rotary" and settings.rotary_interleave:
        order = _sines_first(settings.hidden_size // settings.heads)
        weights = {name: _permute_heads(name, weight, order) for name, weight in weights.items()}
    return _scale_inputs(weights, settings)


def source_names(name: str, settings: ModelSettings) -> list[str]:
    """Return the names of equal tensors in eole of a weight of nmt. One is enough."""
    if match := LAYER.fullmatch(name):
        return [_layer_name(*match.groups())]
    if name.startswith(("encoder_norm.", "decoder_norm.")):
        return [name.replace("_norm.", ".layer_norm.")]
    if name == "output.bias":
        return [OUTPUT_BIAS]
    if name.endswith(".position.weight"):
        kind = "weight" if settings.position_encoding_type == "Learned" else "pe"
        return [f"{SIDES[name.partition('.')[0]]}.pe.{kind}"]
    tied = [SOURCE, TARGET] if settings.share_embeddings else None
    src, tgt, output = tied or [SOURCE], tied or [TARGET], [OUTPUT]
    if settings.share_decoder_embeddings:
        tgt = output = [*tgt, OUTPUT]
        src = tgt if settings.share_embeddings else src
    return {"src.embedding.weight": src, "tgt.embedding.weight": tgt, "output.weight": output}[name]


def _layer_name(side: str, layer: str, part: str, kind: str) -> str:
    """Return the name in eole of a weight in a layer."""
    block, _, projection = part.rpartition(".")
    name = PARTS[part] if part in PARTS else f"{BLOCKS[block]}.{PROJECTIONS[projection]}"
    return f"{side}.transformer_layers.{layer}.{name}.{kind}"


def _check_shapes(
    source: TensorSource,
    names: Mapping[str, Sequence[str]],
    shapes: Mapping[str, Shape],
    settings: ModelSettings,
    where: Path,
) -> None:
    """Raise DataError that names the first tensor that is missing, unknown, or of another shape."""
    expected = {alias: shapes[name] for name, aliases in names.items() for alias in aliases}
    for name, shape in shapes.items():
        if name.endswith("key.weight"):
            expected[names[name][0].removesuffix("weight") + "bias"] = shape[:1]
    for index in range(settings.decoder_layers):
        expected[f"decoder.transformer_layers.{index}.layer_scalar"] = (1,)
    if settings.position_encoding_type == "Learned":
        for name in SIDES.values():
            expected[f"{name}.pe.weight"] = (settings.n_positions, settings.hidden_size)
    for weight, aliases in names.items():
        is_optional = weight.endswith(".bias") and ".norm." not in weight and "_norm." not in weight
        if not is_optional and not any(name in source.shapes for name in aliases):
            raise DataError(f"{where}: {aliases[0]}: expected this tensor, got none")
    for name, shape in source.shapes.items():
        expected_shape: object = expected.get(name, "no such tensor")
        if settings.is_sinusoidal and name in [f"{side}.pe.pe" for side in SIDES.values()]:
            rows = shape[0] if shape else 0
            positions = min(max(rows, CONCATENATED_POSITIONS), MAX_POSITIONS)
            expected_shape = (positions, 1, settings.hidden_size)
        if shape != expected_shape:
            raise DataError(f"{where}: {name}: expected {expected_shape}, got the shape {shape}")


def _check_values(source: TensorSource, settings: ModelSettings, where: Path) -> None:
    """Raise DataError if a tensor that nmt does not represent changes the model."""
    for name in source.shapes:
        if name.endswith(".layer_scalar") and bool(torch.any(read_finite(source, name) != 1)):
            raise DataError(f"{where}: {name}: expected 1, got another factor of the layer")
        is_rotary = settings.position_encoding_type == "Rotary"
        is_key_bias = is_rotary and name.endswith(".self_attn.linear_keys.bias")
        if is_key_bias and bool(torch.any(read_finite(source, name) != 0)):
            raise DataError(
                f"{where}: {name}: expected zeros, got others (with rotary positions, a bias of "
                "keys changes what the model computes, and nmt has none)"
            )


def _check_sinusoids(source: TensorSource, where: Path) -> None:
    """Raise DataError if stored position vectors are not alternating sines and cosines."""
    for side in SIDES.values():
        name = f"{side}.pe.pe"
        if name not in source.shapes:
            continue
        stored = read_finite(source, name)[:, 0]
        sinusoids = sinusoidal_positions(torch.arange(len(stored)), stored.size(1))
        order = _sines_first(stored.size(1))
        if not torch.allclose(stored[:, order], sinusoids, rtol=0, atol=POSITION_TOLERANCE):
            raise DataError(f"{where}: {name}: expected sinusoidal positions, got other values")


def _sines_first(size: int) -> Tensor:
    """Return the even indices, then the odd indices."""
    return torch.cat([torch.arange(0, size, 2), torch.arange(1, size, 2)])


def _permute(name: str, weight: Tensor, order: Tensor) -> Tensor:
    """Permute the D dimensions of the states that a weight reads or writes."""
    match = LAYER.fullmatch(name)
    part = match[3] if match else name.rpartition(".")[0]
    if part.endswith((".query", ".key", ".value", ".into", ".gate")) or name == "output.bias":
        return weight[:, order] if weight.dim() == 2 else weight
    return weight[order] if match or part.endswith("_norm") else weight[:, order]


def _permute_heads(name: str, weight: Tensor, order: Tensor) -> Tensor:
    """Permute the dimensions of each head of queries and keys in self-attention."""
    if not re.search(r"\.(attention|past)\.(query|key)\.", name):
        return weight
    return weight.reshape(-1, len(order), *weight.shape[1:])[:, order].flatten(0, 1)


def _scale_inputs(weights: dict[str, Tensor], settings: ModelSettings) -> dict[str, Tensor]:
    """Return the weights for a model that scales embeddings, but not positions, by sqrt(D)."""
    scale = math.sqrt(settings.hidden_size)
    for side in SIDES:
        embedding, position = f"{side}.embedding.weight", f"{side}.position.weight"
        if not settings.is_sinusoidal and not settings.normalize:
            weights[embedding] = weights[embedding] / scale
        if position in weights and settings.is_sinusoidal:
            weights[position] = weights[position][:CONCATENATED_POSITIONS, 0]
        elif position in weights:
            vectors = weights[position][settings.position_shift :]
            weights[position] = vectors * scale if settings.normalize else vectors
    return weights
