"""Model folders of eole with random weights, in its file formats."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.support.models.marian_folders import pieces_of, train_sentencepiece

SPECIAL_PIECES = ["<unk>", "<blank>", "<s>", "</s>"]
SPECIALS = {
    "bos_token": "<s>",
    "pad_token": "<blank>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
}
WIDTH, INNER, HEADS, ENCODER_LAYERS, DECODER_LAYERS = 16, 24, 4, 2, 1
N_POSITIONS = 300


def write_eole_folder(
    folder: Path,
    src_lines: Sequence[str],
    tgt_lines: Sequence[str],
    separate: bool = False,
    embeddings: dict[str, Any] | None = None,
    **settings: Any,
) -> None:
    """Write a model; `settings` and `embeddings` are added to those of the model."""
    folder.mkdir(exist_ok=True)
    models = [train_sentencepiece(src_lines, 150), train_sentencepiece(tgt_lines, 120)]
    for name, model in zip(("source.spm", "target.spm"), models, strict=True):
        (folder / name).write_bytes(model)
    src, tgt = (
        [piece for piece in pieces_of(model)[:-3] if piece not in SPECIAL_PIECES]
        for model in models
    )
    if not separate:
        src = tgt = list(dict.fromkeys([*src, *tgt]))
    src, tgt = [*SPECIAL_PIECES, *src], [*SPECIAL_PIECES, *tgt]
    model_settings = {
        "architecture": "transformer",
        "hidden_size": WIDTH,
        "transformer_ff": INNER,
        "heads": HEADS,
        "embeddings": {"word_vec_size": WIDTH, **(embeddings or {})},
        "encoder": {"encoder_type": "transformer", "layers": ENCODER_LAYERS, "hidden_size": WIDTH},
        "decoder": {"decoder_type": "transformer", "layers": DECODER_LAYERS, "heads": HEADS},
        **settings,
    }
    config = {
        "share_vocab": not separate,
        "src_vocab": "vocab",
        "tgt_vocab": "vocab",
        "transforms": ["sentencepiece", "filtertoolong"],
        "transforms_configs": {
            "sentencepiece": {
                "src_subword_model": "${MODEL_PATH}/source.spm",
                "tgt_subword_model": "${MODEL_PATH}/target.spm",
            }
        },
        "training": {"dropout": [0.1], "attention_dropout": [0.1]},
        "model": model_settings,
    }
    vocabulary = {"src": src, "tgt": tgt, "decoder_start_token": "<s>", "specials": SPECIALS}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False))
    tensors = make_tensors(model_settings, len(src), len(tgt))
    save_file(tensors, folder / "model.00.safetensors")


def make_tensors(settings: dict[str, Any], src_size: int, tgt_size: int) -> dict[str, Tensor]:
    """Return random tensors under the names of eole, that make translations differ and end."""
    torch.manual_seed(src_size)
    shapes: dict[str, tuple[int, ...]] = {"src_emb.embeddings.weight": (src_size, WIDTH)}
    embeddings, is_gated = settings["embeddings"], settings.get("mlp_activation_fn") == "gated-silu"
    has_norm_bias = settings.get("layer_norm") != "rms"
    heads_kv = settings.get("heads_kv", HEADS)

    def add_linear(name: str, outputs: int, inputs: int, bias: bool) -> None:
        shapes[f"{name}.weight"] = (outputs, inputs)
        if bias:
            shapes[f"{name}.bias"] = (outputs,)

    def add_norm(name: str) -> None:
        shapes[f"{name}.weight"] = (WIDTH,)
        if has_norm_bias:
            shapes[f"{name}.bias"] = (WIDTH,)

    for side, layers in (("encoder", ENCODER_LAYERS), ("decoder", DECODER_LAYERS)):
        for index in range(layers):
            prefix = f"{side}.transformer_layers.{index}"
            is_decoder = side == "decoder"
            add_norm(f"{prefix}.input_layernorm")
            add_norm(f"{prefix}.post_attention_layernorm")
            if is_decoder:
                shapes[f"{prefix}.layer_scalar"] = (1,)
                add_norm(f"{prefix}.precontext_layernorm")
            for block in ("self_attn", "context_attn") if is_decoder else ("self_attn",):
                for part in ("linear_keys", "linear_values", "linear_query", "final_linear"):
                    is_shared = part in ("linear_keys", "linear_values")
                    outputs = WIDTH * heads_kv // HEADS if is_shared else WIDTH
                    bias = settings.get("add_qkvbias", False)
                    if part == "final_linear":  # of the encoder, eole has it only if named
                        bias = settings.get("add_final_linear_bias", bias and is_decoder)
                    add_linear(f"{prefix}.{block}.{part}", outputs, WIDTH, bias)
            bias = settings.get("add_ffnbias", False)
            for part in ("gate_up_proj", "up_proj") if is_gated else ("gate_up_proj",):
                add_linear(f"{prefix}.mlp.{part}", INNER, WIDTH, bias)
            add_linear(f"{prefix}.mlp.down_proj", WIDTH, INNER, bias)
        add_norm(f"{side}.layer_norm")
    if not settings.get("share_embeddings"):
        shapes["tgt_emb.embeddings.weight"] = (tgt_size, WIDTH)
    add_linear("generator", tgt_size, WIDTH, settings.get("generator_bias", True))
    if settings.get("share_decoder_embeddings"):
        shapes.pop("generator.weight")
    if embeddings.get("position_encoding_type") == "Learned":
        shapes |= dict.fromkeys(("src_emb.pe.weight", "tgt_emb.pe.weight"), (N_POSITIONS, WIDTH))
    tensors = {name: torch.randn(shape) * 0.4 for name, shape in shapes.items()}
    kind = embeddings.get("position_encoding_type", "SinusoidalInterleaved")
    if kind.startswith("Sinusoidal"):
        tensors |= {f"{side}_emb.pe.pe": make_sinusoids(kind) for side in ("src", "tgt")}
    for name, tensor in tensors.items():
        if "norm" in name and name.endswith("weight"):
            tensor += 1
        elif "embeddings" in name and kind.startswith("Sinusoidal"):
            tensor *= 0.5
        elif name.endswith("layer_scalar"):
            tensor.fill_(1)
    if "generator.bias" in tensors:
        tensors["generator.bias"][SPECIAL_PIECES.index("</s>")] += 0.5
    return tensors


def make_sinusoids(kind: str) -> Tensor:
    """Return position vectors, positions x 1 x width."""
    half = WIDTH // 2
    is_interleaved = kind == "SinusoidalInterleaved"
    exponents = torch.arange(half) / (half if is_interleaved else half - 1)
    angles = torch.arange(5000)[:, None] / 10_000**exponents
    parts = [angles.sin(), angles.cos()]
    return (torch.stack(parts, -1).flatten(1) if is_interleaved else torch.cat(parts, 1))[:, None]
