"""Read a checkpoint of OpenNMT-py 3, a pickle with tensors, vocabularies and options.

The SentencePiece models that the options name must be in the folder of the checkpoint. The
Transformer is that of eole, with other names of the weights.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from nmt.errors import DataError, show_value
from nmt.importing.imported_model import ImportedModel
from nmt.importing.model_folder import check_names, parse_settings
from nmt.importing.opennmt.eole import SearchSection
from nmt.importing.opennmt.model_assembly import assemble_model
from nmt.importing.opennmt.model_settings import ModelSettings, first_rate
from nmt.importing.opennmt.subwords import check_transforms, find_models, read_tokenizers
from nmt.importing.pickled_tensors import load_pickled_checkpoint
from nmt.importing.weights import PickledSource

CHECKPOINT = ".pt"
"""Suffix of checkpoints."""
RENAMED = (
    (r"encoder\.transformer\.", "encoder.transformer_layers."),
    (r"\.(layer_norm_1|(?<=\d\.)layer_norm)\.", ".input_layernorm."),
    (r"\.layer_norm_2\.", ".precontext_layernorm."),
    (r"\.feed_forward\.layer_norm\.", ".post_attention_layernorm."),
    (r"\.feed_forward\.w_1\.", ".mlp.gate_up_proj."),
    (r"\.feed_forward\.w_2\.", ".mlp.down_proj."),
    (r"\.feed_forward\.w_3\.", ".mlp.up_proj."),
    (r"^encoder\.embeddings\.make_embedding\.", "src_emb."),
    (r"^decoder\.embeddings\.make_embedding\.", "tgt_emb."),
    (r"\.emb_luts\.0\.", ".embeddings."),
)
"""Patterns in the names of OpenNMT-py, with the names of eole."""


class CheckpointOptions(BaseModel):
    """The options that decide what the model computes. Others steer training."""

    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False)

    model_task: Literal["seq2seq"] = "seq2seq"
    model_type: Literal["text"] = "text"
    encoder_type: Literal["transformer"]
    decoder_type: Literal["transformer"]
    enc_layers: int = Field(ge=1, le=1000)
    dec_layers: int = Field(ge=1, le=1000)
    enc_hid_size: int = Field(ge=1, le=2**16)
    heads: int = Field(ge=1, le=2**16)
    transformer_ff: int = Field(ge=1, le=2**16)
    num_kv: int = Field(0, ge=0, le=2**16)
    pos_ffn_activation_fn: Literal["relu", "gelu", "silu"] = "relu"
    layer_norm: Literal["standard", "rms"] = "standard"
    norm_eps: float = Field(1e-6, ge=1e-12, le=1)
    position_encoding: Literal[True]
    position_encoding_type: Literal["SinusoidalInterleaved", "SinusoidalConcat"] = (
        "SinusoidalInterleaved"
    )
    max_relative_positions: Literal[0] = 0
    relative_positions_buckets: Literal[0] = 0
    self_attn_type: Literal["scaled-dot", "scaled-dot-flash"] = "scaled-dot"
    parallel_residual: Literal[False] = False
    sliding_window: Literal[0] = 0
    num_experts: Literal[0] = 0
    multiquery: Literal[False] = False
    n_src_feats: Literal[0] = 0
    copy_attn: Literal[False] = False
    generator_function: Literal["softmax"] = "softmax"
    quant_type: Literal[""] = ""
    share_embeddings: bool = False
    share_decoder_embeddings: bool = False


def read_checkpoint(file: Path) -> ImportedModel:
    """Read and check a checkpoint; raise DataError with the reason if nmt cannot import it."""
    checkpoint = load_pickled_checkpoint(file)
    options, vocabulary = (_section(checkpoint, name, file) for name in ("opt", "vocab"))
    settings = _read_settings(options, file)
    check_transforms(options.get("transforms"), f"{file}: transforms")
    models = find_models(options, file.parent, str(file))
    source = PickledSource(_rename(checkpoint, file), file)
    return assemble_model(
        "OpenNMT-py",
        settings,
        read_tokenizers(vocabulary, models, file),
        lambda: nullcontext(source),
        SearchSection(length_penalty="none").to_decode_config(),
        file,
    )


def _read_settings(content: dict[str, Any], file: Path) -> ModelSettings:
    options = parse_settings(CheckpointOptions, content, file)
    is_gated = options.pos_ffn_activation_fn == "silu"
    return ModelSettings(
        hidden_size=options.enc_hid_size,
        transformer_ff=options.transformer_ff,
        heads=options.heads,
        heads_kv=options.num_kv or None,
        encoder_layers=options.enc_layers,
        decoder_layers=options.dec_layers,
        mlp_activation_fn="gated-silu" if is_gated else options.pos_ffn_activation_fn,
        layer_norm=options.layer_norm,
        norm_eps=options.norm_eps,
        position_encoding_type=options.position_encoding_type,
        n_positions=0,
        position_shift=0,
        rotary_interleave=False,
        normalize=False,
        share_embeddings=options.share_embeddings,
        share_decoder_embeddings=options.share_decoder_embeddings,
        dropout=first_rate(content, "dropout", 0.3, str(file)),
        attention_dropout=first_rate(content, "attention_dropout", 0.1, str(file)),
    )


def _rename(checkpoint: Mapping[str, Any], file: Path) -> dict[str, Tensor]:
    """Return the tensors of the model and the generator under the names of eole."""
    model, generator = (_section(checkpoint, name, file) for name in ("model", "generator"))
    tensors = {f"generator.{name}": tensor for name, tensor in generator.items()}
    for name, tensor in model.items():
        for pattern, replacement in RENAMED:
            name = re.sub(pattern, replacement, name)
        tensors[name] = tensor
    check_names(tensors, file)
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            raise DataError(f"{file}: {name}: expected a tensor, got {show_value(tensor)}")
    return tensors


def _section(checkpoint: Mapping[str, Any], name: str, file: Path) -> dict[str, Any]:
    section = checkpoint.get(name)
    if not isinstance(section, dict) or not all(isinstance(key, str) for key in section):
        raise DataError(
            f"{file}: {name}: expected the model, generator, vocab and opt of OpenNMT-py 3, "
            f"got {show_value(section)}"
        )
    return section
