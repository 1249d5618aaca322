"""Checkpoints of OpenNMT-py 3.5.1 with the models of eole folders."""

from __future__ import annotations

import argparse
import json
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from tests.support.models.eole_folders import (
    DECODER_LAYERS,
    ENCODER_LAYERS,
    HEADS,
    INNER,
    WIDTH,
    write_eole_folder,
)
from tests.support.models.marian_folders import make_text

CHECKPOINT = "model_step_3.pt"
ENCODER_NAMES = {
    "input_layernorm": "layer_norm",
    "post_attention_layernorm": "feed_forward.layer_norm",
    "mlp.gate_up_proj": "feed_forward.w_1",
    "mlp.down_proj": "feed_forward.w_2",
}
DECODER_NAMES = ENCODER_NAMES | {
    "input_layernorm": "layer_norm_1",
    "precontext_layernorm": "layer_norm_2",
}
"""Names in OpenNMT-py 3.5.1 of the parts of a layer of eole."""


def opennmt_name(name: str) -> str:
    """Return the name in OpenNMT-py of a tensor of eole."""
    side, rest = ("encoder" if name[:3] in ("src", "enc") else "decoder"), name.partition(".")[2]
    if name.startswith(("src_emb", "tgt_emb")):
        rest = rest.replace("embeddings.weight", "emb_luts.0.weight")
        return f"{side}.embeddings.make_embedding.{rest}"
    for part, other in (ENCODER_NAMES if side == "encoder" else DECODER_NAMES).items():
        rest = rest.replace(f".{part}.", f".{other}.")
    return f"{side}.{rest}".replace("encoder.transformer_layers", "encoder.transformer")


def read_content(folder: Path) -> dict[str, Any]:
    """Return the content of a checkpoint with the model of an eole folder."""
    tensors = load_file(folder / "model.00.safetensors")
    vocabulary = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    options = argparse.Namespace(
        model_task="seq2seq",
        encoder_type="transformer",
        decoder_type="transformer",
        enc_layers=ENCODER_LAYERS,
        dec_layers=DECODER_LAYERS,
        enc_hid_size=WIDTH,
        dec_hid_size=WIDTH,
        heads=HEADS,
        transformer_ff=INNER,
        num_kv=0,
        norm_eps=1e-6,
        pos_ffn_activation_fn="relu",
        position_encoding=True,
        position_encoding_type="SinusoidalInterleaved",
        share_embeddings=True,
        share_decoder_embeddings=False,
        self_attn_type="scaled-dot-flash",
        transforms=["sentencepiece", "filtertoolong"],
        src_subword_model="/data/source.spm",
        tgt_subword_model="/data/target.spm",
        dropout=[0.1],
        attention_dropout=[0.1],
        src_onmttok_kwargs="{'mode': 'none'}",
        lora_layers=[],
        train_from=None,
    )
    model = {
        opennmt_name(name): tensor
        for name, tensor in tensors.items()
        if not name.startswith("generator.") and not name.endswith("layer_scalar")
    }
    model["decoder.embeddings.make_embedding.emb_luts.0.weight"] = tensors[
        "src_emb.embeddings.weight"
    ]
    generator = {key: tensors[f"generator.{key}"] for key in ("weight", "bias")}
    vocab = {key: vocabulary[key] for key in ("src", "tgt", "decoder_start_token")}
    return {
        "model": model,
        "generator": OrderedDict(generator),
        "vocab": vocab | {"data_task": "seq2seq"},
        "opt": options,
        "optim": {"training_step": 3, "optimizer": {"state": {0: {"step": torch.tensor(3)}}}},
    }


def save_checkpoint(content: object, original: Path, folder: Path) -> Path:
    """Write a checkpoint with the SentencePiece models in a new folder."""
    folder.mkdir()
    for name in ("source.spm", "target.spm"):
        (folder / name).write_bytes((original / name).read_bytes())
    torch.save(content, folder / CHECKPOINT)
    return folder / CHECKPOINT


def write_opennmt_folder(folder: Path) -> None:
    """Write a checkpoint and its SentencePiece models to a new folder."""
    original = folder.with_name(f"{folder.name}-eole")
    write_eole_folder(original, make_text(0), make_text(3), share_embeddings=True, norm_eps=1e-6)
    save_checkpoint(read_content(original), original, folder)
