"""Read a model folder of eole: config.json, vocab.json, model.00.safetensors, SentencePiece models.

nmt represents encoder-decoder Transformers with pre-norm layers, and text that SentencePiece alone
tokenizes. Such a model reads a source without eos.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from nmt.errors import DataError, show_value
from nmt.importing.imported_model import ImportedModel
from nmt.importing.model_folder import MAX_VOCABULARY_BYTES, parse_settings, read_json
from nmt.importing.opennmt.model_assembly import assemble_model
from nmt.importing.opennmt.model_settings import (
    ModelSettings,
    check_off,
    check_rotary,
    first_rate,
)
from nmt.importing.opennmt.subwords import (
    TOKENIZER,
    UNK,
    check_transforms,
    find_models,
    read_tokenizers,
)
from nmt.importing.weights import open_safetensors

WEIGHTS = re.compile(r"model\.\d\d\.safetensors")
WITHOUT_EFFECT = (
    *("add_qkvbias", "add_key_bias", "add_final_linear_bias", "add_ffnbias", "generator_bias"),
    *("architecture", "eole_version", "huggingface_model", "input_feed"),
    *("word_vec_size", "src_word_vec_size", "tgt_word_vec_size", "bidirectional_encoder"),
    *("adapter_bias", "projector_activation_fn", "spatial_merge_size", "estimator_type"),
    *("alignment_layer", "alignment_heads", "full_context_alignment", "lambda_align"),
    *("lambda_coverage", "global_attention", "global_attention_function", "with_cross_attn"),
    *("max_position_embeddings", "num_experts_per_tok", "mtp_lambda", "position_encoding"),
    *("freeze_word_vecs_enc", "freeze_word_vecs_dec", "rope_config"),
    *("linear_conv_kernel_dim", "linear_key_head_dim", "linear_value_head_dim"),
    *("linear_num_key_heads", "linear_num_value_heads"),
)
"""Settings that steer training, name biases, whose tensors say the same, or have no effect."""


class EoleSection(BaseModel):
    """A section of the settings of eole, with its defaults. A file may omit equal values."""

    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False, extra="allow")


class ModelSection(EoleSection):
    """Settings of the whole model."""

    encoder: dict[str, Any]
    decoder: dict[str, Any]
    embeddings: dict[str, Any] = {}
    share_embeddings: bool = False
    share_decoder_embeddings: bool = False
    generator_function: Literal["softmax"] = "softmax"


class EmbeddingSection(EoleSection):
    """Settings of both embeddings."""

    embedding_type: Literal["standard"] = "standard"
    src_word_vec_size: int = 512
    tgt_word_vec_size: int = 512
    position_encoding_type: Literal[
        "SinusoidalInterleaved", "SinusoidalConcat", "Learned", "Rotary"
    ] = "SinusoidalInterleaved"
    n_positions: int | None = Field(None, ge=0, le=2**16)
    position_shift: int | None = Field(0, ge=0, le=2**16)
    normalize: bool | None = False


class StackSection(EoleSection):
    """Settings of the encoder or the decoder."""

    layers: int = Field(2, ge=1, le=1000)
    hidden_size: int = Field(512, ge=1, le=2**16)
    heads: int = Field(8, ge=1, le=2**16)
    heads_kv: int | None = Field(None, ge=1, le=2**16)
    head_dim: int | None = None
    attn_scaling: float | None = None
    transformer_ff: int = Field(2048, ge=1, le=2**16)
    mlp_activation_fn: Literal["relu", "gelu", "silu", "gated-silu"] = "relu"
    layer_norm: Literal["standard", "standardFP32", "rms"] = "standard"
    norm_eps: float = Field(1e-5, ge=1e-12, le=1)


class EncoderSection(StackSection):
    """Settings of the encoder."""

    encoder_type: Literal["transformer"]
    encoder_layer_style: Literal["standard"] = "standard"
    final_encoder_layer_norm: Literal[True] = True


class DecoderSection(StackSection):
    """Settings of the decoder."""

    decoder_type: Literal["transformer"]
    LM_type: Literal["causal"] = "causal"


class SearchSection(EoleSection):
    """Settings of search."""

    beam_size: int = Field(5, ge=1, le=10_000)
    length_penalty: Literal["avg", "wu", "none"] = "avg"
    alpha: float = Field(1.0, ge=0, le=100)
    ban_unk_token: bool = False

    def to_decode_config(self) -> dict[str, Any]:
        """Return the section `decode`."""
        return {
            "beam_size": self.beam_size,
            "length_norm": "wu" if self.length_penalty == "wu" else "average",
            "length_penalty": 0.0 if self.length_penalty == "none" else self.alpha,
            "forbid": [UNK] if self.ban_unk_token else [],
        }


REPRESENTED = {
    *WITHOUT_EFFECT,
    *EmbeddingSection.model_fields,
    *EncoderSection.model_fields,
    *DecoderSection.model_fields,
}
"""Settings that nmt represents, or that have no effect."""


def read_eole(folder: Path) -> ImportedModel:
    """Read and check a model folder; raise DataError with the reason if nmt cannot import it."""
    file, vocabulary_file = folder / "config.json", folder / "vocab.json"
    content = read_json(file)
    settings = read_model_settings(content, file)
    check_transforms(content.get("transforms"), f"{file}: transforms")
    transforms = _section(_section(content, "transforms_configs", file), TOKENIZER, file)
    models = find_models(transforms, folder, str(file))
    vocabulary = read_json(vocabulary_file, MAX_VOCABULARY_BYTES)
    weight_files = sorted(path for path in folder.iterdir() if WEIGHTS.fullmatch(path.name))
    if not weight_files:
        raise DataError(f"{folder}: expected model.00.safetensors, got none")
    search = parse_settings(SearchSection, _section(content, "inference", file), file)
    return assemble_model(
        "eole",
        settings,
        read_tokenizers(vocabulary, models, vocabulary_file),
        lambda: open_safetensors(weight_files),
        search.to_decode_config(),
        folder,
    )


def read_model_settings(content: Mapping[str, Any], file: Path) -> ModelSettings:
    """Return the settings of the model; raise DataError that names one that nmt lacks."""
    training = _section(content, "training", file)
    if quantization := training.get("quant_type"):
        raise DataError(
            f"{file}: quant_type: expected no quantization, got {show_value(quantization)}"
        )
    sections = _section(content, "model", file)
    if not sections.get("encoder") or not sections.get("decoder"):
        raise DataError(
            f"{file}: architecture: expected an encoder and a decoder, "
            f"got {show_value(sections.get('architecture'))}"
        )
    model = parse_settings(ModelSection, sections, file)
    shared = model.model_extra or {}
    for section in (shared, model.embeddings, model.encoder, model.decoder):
        check_off(section, REPRESENTED, str(file))
    embeddings = parse_settings(EmbeddingSection, shared | model.embeddings, file)
    encoder = parse_settings(EncoderSection, shared | model.encoder, file)
    decoder = parse_settings(DecoderSection, shared | model.decoder, file)
    _check_stacks(encoder, decoder, file)
    rope = _section(shared | model.decoder, "rope_config", file)
    return ModelSettings(
        hidden_size=encoder.hidden_size,
        transformer_ff=encoder.transformer_ff,
        heads=encoder.heads,
        heads_kv=encoder.heads_kv,
        encoder_layers=encoder.layers,
        decoder_layers=decoder.layers,
        mlp_activation_fn=encoder.mlp_activation_fn,
        layer_norm="rms" if encoder.layer_norm == "rms" else "standard",
        norm_eps=encoder.norm_eps,
        position_encoding_type=embeddings.position_encoding_type,
        n_positions=embeddings.n_positions or 0,
        position_shift=embeddings.position_shift or 0,
        rotary_interleave=check_rotary(rope, str(file)),
        normalize=embeddings.normalize is True,
        share_embeddings=model.share_embeddings,
        share_decoder_embeddings=model.share_decoder_embeddings,
        dropout=first_rate(training, "dropout", 0.3, str(file)),
        attention_dropout=first_rate(training, "attention_dropout", 0.1, str(file)),
    )


def _check_stacks(encoder: EncoderSection, decoder: DecoderSection, file: Path) -> None:
    """Raise DataError unless encoder and decoder have equal settings that nmt represents."""
    for name in StackSection.model_fields.keys() - {"layers"}:
        ours, theirs = getattr(encoder, name), getattr(decoder, name)
        if ours != theirs:
            raise DataError(
                f"{file}: {name}: expected the same for encoder and decoder, "
                f"got {show_value(ours)} and {show_value(theirs)}"
            )
    head_dim = encoder.hidden_size // encoder.heads
    for name in ("head_dim", "attn_scaling"):
        value = getattr(encoder, name)
        if value not in (None, head_dim):
            raise DataError(
                f"{file}: {name}: expected hidden_size / heads = {head_dim}, got {value}"
            )


def _section(content: Mapping[str, Any], name: str, file: Path) -> dict[str, Any]:
    """Return a section of the settings, {} if there is none."""
    section = content.get(name)
    if section is not None and not isinstance(section, dict):
        raise DataError(f"{file}: {name}: expected settings, got {show_value(section)}")
    return section or {}
