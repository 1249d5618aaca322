"""Names of the weights of a Transformer in Hugging Face's transformers, and their conversion.

MarianMT, M2M100 and NLLB have the same names for the same parts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from nmt.config.model_config import TransformerConfig
from nmt.errors import DataError
from nmt.importing.weights import (
    LAYER,
    POSITION_TOLERANCE,
    Shape,
    TensorSource,
    read_equal,
    read_finite,
    weight_shapes,
)

PARTS = {
    **dict.fromkeys(("attention", "past"), "self_attn"),
    **dict.fromkeys(("attention_sum.norm", "past_sum.norm"), "self_attn_layer_norm"),
    "cross": "encoder_attn",
    "cross_sum.norm": "encoder_attn_layer_norm",
    "feed_forward.into": "fc1",
    "feed_forward.out": "fc2",
    "feed_forward_sum.norm": "final_layer_norm",
}
"""Name in transformers of each part of a layer."""
PROJECTIONS = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "output": "out_proj"}
SHARED = "model.shared.weight"
SOURCE, TARGET = "model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight"
OUTPUT, OUTPUT_BIAS = "lm_head.weight", "final_logits_bias"
FINAL_NORM = re.compile(r"(encoder|decoder)_norm\.(weight|bias)")
"""Names in nmt of the norms behind the last layers, which a pre-norm model has."""
POSITIONS = [
    f"model.{side}.embed_positions.{name}"
    for side in ("encoder", "decoder")
    for name in ("weight", "weights")
]
"""Names of stored position vectors: in MarianMT, and in older files of M2M100."""
Aliases = Mapping[str, Sequence[str]]
"""For each weight of nmt, the names of equal tensors in the source; it has at least one."""


def transformer_aliases(
    config: TransformerConfig, names: Iterable[str], present: Container[str]
) -> Aliases:
    """Return the names in transformers of the weights `names`, except the output bias.

    `present` are the names in the source. M2M100 without tied weights has one embedding for both
    sides up to transformers 4, and one for each side, besides an unused one, from 5.
    """
    aliases: dict[str, Sequence[str]] = {}
    for name in names:
        if match := LAYER.fullmatch(name):
            aliases[name] = [_layer_name(*match.groups())]
        elif match := FINAL_NORM.fullmatch(name):
            aliases[name] = [f"model.{match[1]}.layer_norm.{match[2]}"]
    if config.tie == "all":
        aliases["src.embedding.weight"] = (SHARED, SOURCE, TARGET, OUTPUT)
    else:
        is_tied = config.tie == "target"
        source, target = (
            SHARED if SHARED in present and name not in present else name
            for name in (SOURCE, TARGET)
        )
        aliases["src.embedding.weight"] = (source,)
        aliases["tgt.embedding.weight"] = (target, OUTPUT) if is_tied else (target,)
        if not is_tied:
            aliases["output.weight"] = (OUTPUT,)
    return aliases


def _layer_name(side: str, layer: str, part: str, kind: str) -> str:
    """Return the name in transformers of a weight in a layer."""
    block, _, projection = part.rpartition(".")
    is_projection = projection in PROJECTIONS
    name = f"{PARTS[block]}.{PROJECTIONS[projection]}" if is_projection else PARTS[part]
    return f"model.{side}.layers.{layer}.{name}.{kind}"


def convert_weights(
    source: TensorSource,
    config: TransformerConfig,
    vocab_sizes: tuple[int, int],
    where: Path,
    positions: Callable[[int, int], Tensor],
) -> dict[str, Tensor]:
    """Return the weights of nmt's model in fp32, except learned positions.

    `positions` returns the position vectors of the model, length x width. The biases of keys are
    dropped, because they add a constant to all scores of a query. Raises DataError, which begins
    with `where`, if names or shapes differ, before any tensor is read.
    """
    shapes = weight_shapes(config, *vocab_sizes)
    aliases = transformer_aliases(config, shapes, source.shapes)
    _check_shapes(source, aliases, shapes, where)
    weights = {name: read_equal(source, names, where) for name, names in aliases.items()}
    weights["output.bias"] = torch.zeros(shapes["output.bias"])
    if OUTPUT_BIAS in source.shapes:
        weights["output.bias"] = read_finite(source, OUTPUT_BIAS)[0]
    _check_positions(source, positions, where)
    return weights


def _check_shapes(
    source: TensorSource, aliases: Aliases, shapes: Mapping[str, Shape], where: Path
) -> None:
    """Raise DataError that names the first tensor that is missing, unknown, or of another shape."""
    expected: dict[str, Shape] = {
        OUTPUT_BIAS: (1, *shapes["output.bias"]),
        SHARED: shapes["src.embedding.weight"],
        **{alias: shapes[name] for name, names in aliases.items() for alias in names},
    }
    for name, shape in shapes.items():
        if name.endswith("key.weight"):
            expected[f"{aliases[name][0].removesuffix('weight')}bias"] = shape[:1]
    for names in aliases.values():
        if not any(name in source.shapes for name in names):
            raise DataError(f"{where}: {names[0]}: expected this tensor, got none")
    for name, shape in source.shapes.items():
        if name in POSITIONS:
            width = shapes["src.embedding.weight"][1]
            is_expected = len(shape) == 2 and shape[0] <= 2**16 and shape[1] == width
        else:
            is_expected = shape == expected.get(name)
        if not is_expected:
            expected_shape = expected.get(name, "no such tensor")
            raise DataError(f"{where}: {name}: expected {expected_shape}, got the shape {shape}")


def _check_positions(
    source: TensorSource, positions: Callable[[int, int], Tensor], where: Path
) -> None:
    """Raise DataError if stored position vectors are not those of the model."""
    for name in POSITIONS:
        if name not in source.shapes:
            continue
        stored = read_finite(source, name)
        if not torch.allclose(stored, positions(*stored.shape), rtol=0, atol=POSITION_TOLERANCE):
            raise DataError(f"{where}: {name}: expected sinusoidal positions, got other values")
