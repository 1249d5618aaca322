"""Names of the weights in Marian, and their conversion.

Marian multiplies x W with W of input x output, nmt W x; matrices are therefore transposed. Marian's
decoder starts with a zero vector, which becomes the embedding of bos.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nmt.config.model_config import TransformerConfig
from nmt.errors import DataError
from nmt.importing.marian.archive import Arrays
from nmt.importing.weights import LAYER, tensor2tensor_positions, weight_shapes

ATTENTION = {"query": "q", "key": "k", "value": "v", "output": "o"}
BLOCKS = {"attention": "self", "past": "self", "cross": "context"}
FEED_FORWARD = {
    "feed_forward.into": ("ffn_W1", "ffn_b1"),
    "feed_forward.out": ("ffn_W2", "ffn_b2"),
}
"""Names of weight and bias of linear maps."""
SSRU = {"past.forget": ("rnn_Wf", "rnn_bf"), "past.value": ("rnn_W", "")}
"""Names of weight and bias of the linear maps of an SSRU; the second has no bias."""
NORMS = {
    "attention_sum.norm": "self_Wo_ln",
    "past_sum.norm": "self_Wo_ln",
    "cross_sum.norm": "context_Wo_ln",
    "feed_forward_sum.norm": "ffn_ffn_ln",
}
SSRU_NORM = "rnn_ffn_ln"
SETTINGS = "special:model.yml"
JOINT, SOURCE, TARGET = "Wemb", "encoder_Wemb", "decoder_Wemb"
OUTPUT, TRANSPOSED_OUTPUT = "decoder_ff_logit_out_W", "decoder_ff_logit_out_Wt"
OUTPUT_BIAS = "decoder_ff_logit_out_b"


@dataclass(frozen=True)
class Vocabulary:
    """Sizes of a vocabulary."""

    pieces: int
    """Number of pieces, which are the rows of Marian's embedding."""
    tokens: int
    """Number of token ids in nmt: pieces and the added special tokens, whose rows are zero."""


def convert_weights(
    arrays: Arrays,
    config: TransformerConfig,
    src: Vocabulary,
    tgt: Vocabulary,
    where: Path,
) -> dict[str, Tensor]:
    """Return the weights of nmt's model in fp32.

    The biases of keys are dropped, because they add a constant to all scores of a query. Raises
    DataError, which begins with `where`, if names, shapes or types differ.
    """
    shapes = weight_shapes(config, src.tokens, tgt.tokens)
    reader = _Reader(arrays, where)
    weights: dict[str, Tensor] = {}
    for name, shape in shapes.items():
        if match := LAYER.fullmatch(name):
            marian_name = layer_name(config, *match.groups())
            weights[name] = reader.read_linear(marian_name, shape)
            if name.endswith("key.weight"):
                reader.read_linear(marian_name.replace("_Wk", "_bk"), shape[:1])
    width = config.d_model
    is_joint = JOINT in arrays
    weights["src.embedding.weight"] = reader.read_rows(JOINT if is_joint else SOURCE, src, width)
    if config.tie != "all":
        weights["tgt.embedding.weight"] = reader.read_rows(
            JOINT if is_joint else TARGET, tgt, width
        )
    if config.tie == "none":
        if OUTPUT in arrays:
            matrix = reader.read(OUTPUT, (width, tgt.pieces)).T
            weights["output.weight"] = add_rows(matrix, tgt)
        else:
            weights["output.weight"] = reader.read_rows(TRANSPOSED_OUTPUT, tgt, width)
    for side in ("src", "tgt"):
        weights[f"{side}.position.weight"] = tensor2tensor_positions(config.max_positions, width)
    weights["output.bias"] = add_rows(reader.read(OUTPUT_BIAS, (1, tgt.pieces))[0], tgt)
    reader.check_all_read()
    if {name: tuple(weight.shape) for name, weight in weights.items()} != shapes:
        raise DataError(f"{where}: expected all weights of the model, got others")
    return weights


def layer_name(config: TransformerConfig, side: str, index: str, part: str, kind: str) -> str:
    """Return Marian's name of a weight in a layer. Marian counts layers from 1."""
    prefix = f"{side}_l{int(index) + 1}"
    block, _, projection = part.rpartition(".")
    is_weight, is_ssru = kind == "weight", config.decoder == "ssru"
    linear = FEED_FORWARD | SSRU if is_ssru else FEED_FORWARD
    if part in linear:
        return f"{prefix}_{linear[part][0 if is_weight else 1]}"
    if part in NORMS:
        norm = SSRU_NORM if is_ssru and part == "past_sum.norm" else NORMS[part]
        return f"{prefix}_{norm}_{'scale' if is_weight else 'bias'}"
    return f"{prefix}_{BLOCKS[block]}_{'W' if is_weight else 'b'}{ATTENTION[projection]}"


def add_rows(weight: Tensor, vocabulary: Vocabulary) -> Tensor:
    """Return a weight with zeros for the added special tokens."""
    zeros = weight.new_zeros(vocabulary.tokens - vocabulary.pieces, *weight.shape[1:])
    return torch.cat([weight, zeros])


class _Reader:
    """Arrays that are checked when they are read, and whose names must all be read."""

    def __init__(self, arrays: Mapping[str, np.ndarray], where: Path) -> None:
        self.arrays, self.where = arrays, where
        self.unread = arrays.keys() - {SETTINGS}

    def read(self, name: str, shape: Sequence[int]) -> Tensor:
        """Return an array in fp32; raise DataError unless it has this shape and is finite."""
        array = self.arrays.get(name)
        if array is None:
            raise DataError(f"{self.where}: {name}: expected this tensor, got none")
        if array.dtype.kind != "f" or array.shape != tuple(shape):
            raise DataError(
                f"{self.where}: {name}: expected floats of the shape {tuple(shape)}, "
                f"got {array.dtype} of {array.shape}"
            )
        self.unread = self.unread - {name}
        tensor = torch.from_numpy(array.astype(np.float32))
        if not bool(torch.isfinite(tensor).all()):
            raise DataError(f"{self.where}: {name}: expected finite numbers, got NaN or inf")
        return tensor

    def read_linear(self, name: str, shape: Sequence[int]) -> Tensor:
        """Return a matrix, transposed, or a vector, which Marian stores as a row."""
        if len(shape) == 1:
            return self.read(name, (1, *shape))[0]
        return self.read(name, shape[::-1]).T.contiguous()

    def read_rows(self, name: str, vocabulary: Vocabulary, width: int) -> Tensor:
        """Return the embedding of a vocabulary, with zeros for the added tokens."""
        return add_rows(self.read(name, (vocabulary.pieces, width)), vocabulary)

    def check_all_read(self) -> None:
        """Raise DataError that names the first array that no weight needs."""
        for name in sorted(self.unread):
            raise DataError(f"{self.where}: {name}: expected no such tensor, got one")
