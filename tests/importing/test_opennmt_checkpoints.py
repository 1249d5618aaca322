"""Checkpoints of OpenNMT-py: the same model as in eole, and no code of the pickle is run."""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
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
    write_eole_folder,
)
from tests.support.models.marian_folders import make_text
from tests.support.models.opennmt_checkpoints import read_content, save_checkpoint
from tests.support.promises.pickle_bombs import Bomb

SRC, TGT = make_text(0), make_text(3)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("original") / "eole"
    write_eole_folder(folder, SRC, TGT, share_embeddings=True, norm_eps=1e-6)
    return folder


def test_import_checkpoint_equals_model_of_eole(original: Path, tmp_path: Path) -> None:
    file = save_checkpoint(read_content(original), original, tmp_path / "checkpoint")
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
    "NaN": (
        change("generator", bias=torch.full((1,), torch.nan)),
        r"model_step_3\.pt: generator\.bias: expected",
    ),
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
    file = save_checkpoint(content, original, tmp_path / "checkpoint")
    with pytest.raises(NMTError, match=message) as error:
        import_model(file, tmp_path / "run", [], [])
    assert "\n" not in str(error.value)
    assert os.listdir(tmp_path) == ["checkpoint"]


def test_import_checkpoint_without_pieces_is_refused(original: Path, tmp_path: Path) -> None:
    file = save_checkpoint(read_content(original), original, tmp_path / "checkpoint")
    (tmp_path / "checkpoint" / "target.spm").unlink()
    with pytest.raises(NMTError, match=r"target\.spm: no such file"):
        import_model(file, tmp_path / "run", [], [])


def test_import_file_of_other_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"text")
    with pytest.raises(NMTError, match=r"expected a model folder or a \.pt file, got none"):
        import_model(tmp_path / "model.bin", tmp_path / "run", [], [])


def test_import_truncated_checkpoint_is_refused(original: Path, tmp_path: Path) -> None:
    file = save_checkpoint(read_content(original), original, tmp_path / "checkpoint")
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(NMTError, match="expected tensors only, got another file"):
        import_model(file, tmp_path / "run", [], [])
