"""Model folders of eole without eole: what nmt represents, and one line for all others."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from nmt.config.loader import load_config
from nmt.core.run_dir import RunDir
from nmt.decoding.loading import load_engine
from nmt.errors import NMTError
from nmt.importing.importer import import_model
from tests.support.models.eole_folders import N_POSITIONS, write_eole_folder
from tests.support.models.marian_folders import make_text

SRC, TGT = make_text(0), make_text(3)
WEIGHTS = "model.00.safetensors"
NORM = "decoder.transformer_layers.0.precontext_layernorm.weight"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("original") / "eole"
    write_eole_folder(folder, SRC, TGT, share_decoder_embeddings=True)
    return folder


@pytest.fixture
def folder(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the model, which a test changes; eole is not used."""
    monkeypatch.setitem(sys.modules, "eole", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    return Path(shutil.copytree(original, tmp_path / "eole"))


def change_json(file: str, *path: str, value: Any) -> Callable[[Path], None]:
    """Return a function that sets the value at a path of keys."""

    def change(folder: Path) -> None:
        content = json.loads((folder / file).read_text(encoding="utf-8"))
        section = content
        for key in path[:-1]:
            section = section.setdefault(key, {})
        section[path[-1]] = value
        (folder / file).write_text(json.dumps(content), encoding="utf-8")

    return change


def set_model(*path: str, value: Any) -> Callable[[Path], None]:
    return change_json("config.json", "model", *path, value=value)


def change_tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def rewrite(folder: Path) -> None:
        tensors = load_file(folder / WEIGHTS)
        change(tensors)
        save_file(tensors, folder / WEIGHTS)

    return rewrite


def truncate(file: str) -> Callable[[Path], None]:
    def cut(folder: Path) -> None:
        (folder / file).write_bytes((folder / file).read_bytes()[:-100])

    return cut


TRANSFORM = ("config.json", "transforms_configs", "sentencepiece")
DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "gemma norm": (set_model("layer_norm", value="gemma-rms"), "layer_norm: .*'gemma-rms'"),
    "post-norm": (
        set_model("encoder", "encoder_layer_style", value="postnorm"),
        "encoder_layer_st",
    ),
    "no final norm": (set_model("encoder", "final_encoder_layer_norm", value=False), "final_enc"),
    "alibi": (
        set_model("embeddings", "position_encoding_type", value="Alibi"),
        "position_encoding",
    ),
    "relative": (set_model("relative_positions_buckets", value=32), "relative_positions_buckets"),
    "theta": (
        set_model("rope_config", value={"rotary_theta": 500000}),
        "rotary_theta: expected 10000",
    ),
    "gated gelu": (set_model("mlp_activation_fn", value="gated-gelu"), "mlp_activation_fn"),
    "experts": (set_model("num_experts", value=8), "num_experts: expected no such setting"),
    "parallel": (set_model("decoder", "parallel_residual", value=True), "parallel_residual"),
    "window": (set_model("sliding_window", value=128), "sliding_window: expected no such"),
    "query norm": (set_model("query_norm", value=True), "query_norm: expected no such setting"),
    "unknown": (set_model("new_feature", value="on"), "new_feature: expected no such setting"),
    "head size": (set_model("head_dim", value=8), "head_dim: expected hidden_size / heads = 4"),
    "sides differ": (set_model("decoder", "heads", value=2), "heads: expected the same for enc"),
    "sparsemax": (set_model("generator_function", value="sparsemax"), "generator_function"),
    "rnn": (set_model("decoder", "decoder_type", value="rnn"), "decoder_type: .*'rnn'"),
    "decoder only": (set_model("encoder", value=None), "expected an encoder and a decoder"),
    "code in encoder": (
        set_model("encoder", value="__import__('os').system('touch marker')"),
        "encoder: input should be a valid dictionary",
    ),
    "code in model": (
        change_json("config.json", "model", value="__import__('os').system('touch marker')"),
        "model: expected settings",
    ),
    "quantized": (
        change_json("config.json", "training", "quant_type", value="awq_gemm"),
        "quant_type: expected no quantization, got 'awq_gemm'",
    ),
    "dropout": (
        change_json("config.json", "training", "dropout", value=[2]),
        "dropout: expected rates from 0 to 1",
    ),
    "penalty": (
        change_json("config.json", "inference", value={"length_penalty": "new"}),
        "length_penalty",
    ),
    "joiners": (
        change_json("config.json", "transforms", value=["onmt_tokenize"]),
        "transforms: expected sentencepiece, got .*onmt_tokenize",
    ),
    "prefix": (
        change_json("config.json", "transforms", value=["sentencepiece", "prefix"]),
        "transforms for training only .*'prefix'",
    ),
    "threshold": (
        lambda folder: [
            change_json(*TRANSFORM, "src_vocab_threshold", value=5)(folder),
            change_json(*TRANSFORM, "src_subword_vocab", value="vocab")(folder),
        ],
        "src_vocab_threshold: expected 0, got 5",
    ),
    "no model file": (
        change_json(*TRANSFORM, "src_subword_model", value="../other.spm"),
        "eole/other.spm: no such file",
    ),
    "no model name": (change_json(*TRANSFORM, "src_subword_model", value=".."), "expected a file"),
    "vocabulary size": (
        change_json("vocab.json", "tgt", value=["<unk>", "<blank>", "<s>", "</s>"]),
        "generator.bias: expected .4,., got the shape",
    ),
    "no pieces": (
        change_json("vocab.json", "src", value={}),
        "src: expected 1 to 1,000,000 pieces",
    ),
    "odd piece": (change_json("vocab.json", "src", value=["a", 3]), "src: expected pieces of text"),
    "repeated piece": (
        change_json("vocab.json", "src", value=["<blank>", "</s>", "a", "a"]),
        "vocab.json: expected different pieces",
    ),
    "no start": (
        change_json("vocab.json", "decoder_start_token", value="<start>"),
        "tgt: expected the piece '<start>'",
    ),
    "no vocabulary": (lambda folder: (folder / "vocab.json").unlink(), "vocab.json: no such file"),
    "no weights": (lambda folder: (folder / WEIGHTS).unlink(), "expected model.00.safetensors"),
    "cut weights": (truncate(WEIGHTS), "expected a safetensors file, got a damaged one"),
    "cut config": (truncate("config.json"), "config.json: expected JSON"),
    "cut pieces": (truncate("source.spm"), "source.spm: "),
    "repeated shard": (
        lambda folder: shutil.copy(folder / WEIGHTS, folder / "model.01.safetensors"),
        "expected one tensor of this name, got two",
    ),
    "shape": (
        change_tensors(lambda tensors: tensors.update({NORM: torch.ones(9)})),
        f"{NORM}: expected .16,., got the shape .9,.",
    ),
    "missing": (change_tensors(lambda tensors: tensors.pop(NORM)), f"{NORM}: expected this tensor"),
    "extra": (
        change_tensors(lambda tensors: tensors.update(x=torch.ones(2))),
        "x: expected no such tensor",
    ),
    "NaN": (
        change_tensors(lambda tensors: tensors[NORM].fill_(torch.nan)),
        rf"model\.00\.safetensors: {NORM}: expected finite",
    ),
    "layer factor": (
        change_tensors(lambda t: t["decoder.transformer_layers.0.layer_scalar"].fill_(2)),
        "layer_scalar: expected 1",
    ),
    "positions": (
        change_tensors(lambda tensors: tensors["src_emb.pe.pe"].add_(1)),
        "src_emb.pe.pe: expected sinusoidal positions",
    ),
    "untied": (
        change_tensors(
            lambda t: t.update({"generator.weight": t["tgt_emb.embeddings.weight"] + 1})
        ),
        "generator.weight: expected the same as tgt_emb.embeddings.weight",
    ),
    "shared": (
        lambda folder: [
            set_model("share_embeddings", value=True)(folder),
            change_json("vocab.json", "src", value=["<unk>", "<blank>", "<s>", "</s>"])(folder),
        ],
        "share_embeddings: expected one vocabulary",
    ),
    "short table": (
        lambda folder: [
            set_model("embeddings", "position_encoding_type", value="Learned")(folder),
            set_model("embeddings", "n_positions", value=4)(folder),
            set_model("embeddings", "position_shift", value=4)(folder),
        ],
        "n_positions: expected more than position_shift",
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_import_eole_folder_refusal_is_one_line(name: str, folder: Path, tmp_path: Path) -> None:
    damage, message = DAMAGE[name]
    damage(folder)
    with pytest.raises(NMTError, match=message) as error:
        import_model(folder, tmp_path / "run", [], [])
    assert "\n" not in str(error.value)
    assert os.listdir(tmp_path) == ["eole"]
    assert not Path("marker").exists()


def test_import_key_bias_with_rotary_is_refused(tmp_path: Path) -> None:
    rotary = {"position_encoding_type": "Rotary"}
    write_eole_folder(tmp_path / "eole", SRC, TGT, embeddings=rotary, add_qkvbias=True)
    with pytest.raises(NMTError, match=r"linear_keys.bias: expected zeros, got others"):
        import_model(tmp_path / "eole", tmp_path / "run", [], [])


def test_import_eole_folder_without_eole_is_not_compared(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    change_json("config.json", "inference", value={"beam_size": 3, "ban_unk_token": True})(folder)
    assert import_model(folder, tmp_path / "run", ["data.src=en"], SRC[:3]) is None
    assert "nothing was compared, because eole is not installed" in caplog.text
    config = load_config(tmp_path / "run" / "config.yaml")
    assert config.decode.beam_size == 3
    assert config.decode.forbid == ["<unk>"]
    engine = load_engine(RunDir(tmp_path / "run"), config, "cpu")
    [[best]] = engine.search([[5, 6, 7]])
    assert engine.tokenizers.tgt.bos == 2
    assert best.tokens


def test_import_eole_shards_equal_one_file(folder: Path, tmp_path: Path) -> None:
    import_model(folder, tmp_path / "one", [], [])
    tensors = load_file(folder / WEIGHTS)
    names = sorted(tensors)
    save_file({name: tensors[name] for name in names[:9]}, folder / WEIGHTS)
    save_file({name: tensors[name] for name in names[9:]}, folder / "model.01.safetensors")
    import_model(folder, tmp_path / "two", [], [])
    one, two = (
        load_file(RunDir(tmp_path / name).checkpoint(0) / "model.safetensors")
        for name in ("one", "two")
    )
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_import_eole_learned_positions_start_after_shift(tmp_path: Path) -> None:
    learned = {
        "position_encoding_type": "Learned",
        "n_positions": N_POSITIONS,
        "position_shift": 2,
    }
    write_eole_folder(tmp_path / "eole", SRC, TGT, embeddings=learned)
    import_model(tmp_path / "eole", tmp_path / "run", [], [])
    run = RunDir(tmp_path / "run")
    model: Any = load_engine(run, load_config(run.config), "cpu").model
    stored = load_file(tmp_path / "eole" / WEIGHTS)["src_emb.pe.weight"]
    assert torch.equal(model.src.position.weight, stored[2:])
