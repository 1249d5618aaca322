"""Checkpoints of OpenNMT-py: the same model as in eole, and no code of the pickle is run."""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from nmt.config.loader import load_config
from nmt.core.run_dir import RunDir
from nmt.errors import NMTError
from nmt.importing.importer import import_model
from tests.support.models.eole_folders import (
    DECODER_LAYERS,
    ENCODER_LAYERS,
    HEADS,
    INNER,
    WIDTH,
    write_eole_folder,
)
from tests.support.models.marian_folders import make_text
from tests.support.promises.pickle_bombs import Bomb

SRC, TGT = make_text(0), make_text(3)
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


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("original") / "eole"
    write_eole_folder(folder, SRC, TGT, share_embeddings=True, norm_eps=1e-6)
    return folder


def save(content: object, original: Path, folder: Path) -> Path:
    """Write a checkpoint with the SentencePiece models in a new folder."""
    folder.mkdir()
    for name in ("source.spm", "target.spm"):
        (folder / name).write_bytes((original / name).read_bytes())
    torch.save(content, folder / "model_step_3.pt")
    return folder / "model_step_3.pt"


def test_import_checkpoint_equals_model_of_eole(original: Path, tmp_path: Path) -> None:
    file = save(read_content(original), original, tmp_path / "checkpoint")
    runs = [RunDir(tmp_path / name) for name in ("opennmt", "eole")]
    for source, run in zip((file, original), runs, strict=True):
        import_model(source, run.path, [], SRC[:2])
    weights = [load_file(run.checkpoint(0) / "model.safetensors") for run in runs]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    configs = [load_config(run.config) for run in runs]
    assert configs[0].model == configs[1].model
    assert configs[0].decode.length_penalty == 0
    for name in ("tokenizer_src", "tokenizer_tgt"):
        assert getattr(runs[0], name).read_bytes() == getattr(runs[1], name).read_bytes()
    record = json.loads(runs[0].imported.read_text(encoding="utf-8"))
    assert record["layout"] == "OpenNMT-py"
    assert [*record["sha256"]] == ["model_step_3.pt"]


def change(name: str, **changes: Any) -> Callable[[dict[str, Any], Path], None]:
    """Return a function that changes values of a part of a checkpoint."""

    def apply(content: dict[str, Any], marker: Path) -> None:
        part = content[name]
        (vars(part) if isinstance(part, argparse.Namespace) else part).update(changes)

    return apply


def add_bomb(content: dict[str, Any], marker: Path) -> None:
    content["opt"].data = Bomb(marker)


def remove_model(content: dict[str, Any], marker: Path) -> None:
    del content["model"]


DAMAGE: dict[str, tuple[Callable[[dict[str, Any], Path], None], str]] = {
    "code": (add_bomb, "the pickle names posix mkdir"),
    "path": (change("opt", save_model=Path("model")), "the pickle names pathlib"),
    "class": (change("opt", data=re.compile("a")), "the pickle names re"),
    "process": (change("opt", data=subprocess.Popen), "the pickle names .* Popen"),
    "integers": (change("model", x=torch.ones(2, dtype=torch.int64)), "plain values, got a Tensor"),
    "no model": (remove_model, "model: expected the model, generator, vocab and opt"),
    "lora": (lambda content, marker: content.update(generator=None), "generator: expected the mod"),
    "no tensor": (change("model", x="text"), "x: expected a tensor, got 'text'"),
    "extra": (change("model", x=torch.ones(2)), "x: expected no such tensor"),
    "language model": (change("opt", model_task="lm"), "model_task: "),
    "rotary": (change("opt", max_relative_positions=-1), "max_relative_positions: "),
    "average": (change("opt", self_attn_type="average"), "self_attn_type: "),
    "copy": (change("opt", copy_attn=True), "copy_attn: "),
    "bpe": (change("opt", transforms=["bpe"]), "transforms: expected sentencepiece"),
    "width": (change("opt", enc_hid_size=20), "expected .*20.*, got the shape"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_import_checkpoint_refusal_is_one_line(name: str, original: Path, tmp_path: Path) -> None:
    damage, message = DAMAGE[name]
    content, marker = read_content(original), tmp_path / "marker"
    damage(content, marker)
    file = save(content, original, tmp_path / "checkpoint")
    with pytest.raises(NMTError, match=message) as error:
        import_model(file, tmp_path / "run", [], [])
    assert "\n" not in str(error.value)
    assert os.listdir(tmp_path) == ["checkpoint"]


def test_import_checkpoint_without_pieces_is_refused(original: Path, tmp_path: Path) -> None:
    file = save(read_content(original), original, tmp_path / "checkpoint")
    (tmp_path / "checkpoint" / "target.spm").unlink()
    with pytest.raises(NMTError, match=r"target\.spm: no such file"):
        import_model(file, tmp_path / "run", [], [])


def test_import_file_of_other_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"text")
    with pytest.raises(NMTError, match=r"expected a model folder or a \.pt file, got none"):
        import_model(tmp_path / "model.bin", tmp_path / "run", [], [])


def test_import_truncated_checkpoint_is_refused(original: Path, tmp_path: Path) -> None:
    file = save(read_content(original), original, tmp_path / "checkpoint")
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(NMTError, match="expected tensors only, got another file"):
        import_model(file, tmp_path / "run", [], [])
