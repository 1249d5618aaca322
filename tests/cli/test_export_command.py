"""`nmt export`, and translation by the exported model."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import pytest

from tests.support.command_line import Result, assert_success, nmt, settings
from tests.support.tiny_runs import Tiny

TRANSFORMER = {
    "arch": "transformer",
    "d_model": 16,
    "d_ff": 32,
    "num_heads": 2,
    "num_layers": 1,
    "norm_position": "post",
    "tie": "all",
}
needs_ctranslate2 = pytest.mark.skipif(
    importlib.util.find_spec("ctranslate2") is None, reason="needs nmt[export]"
)
needs_transformers = pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None, reason="needs nmt[export]"
)


def make_transformer(tiny: Tiny, **changed: object) -> None:
    """Replace the model of the tiny config by a Transformer and train it for two updates."""
    model = {**TRANSFORMER, **changed}
    lines = "".join(f"  {key}: {json.dumps(value)}\n" for key, value in model.items())
    tiny.replace("model:\n  d_embed: 8\n  d_hidden: 8\n", f"model:\n{lines}")
    assert_success(tiny.train())


def assert_refused(result: Result, *words: str) -> None:
    assert result.code == 2
    assert result.out == ""
    assert all(word in result.err for word in words), result.err
    assert "Traceback" not in result.err


@needs_ctranslate2
def test_export_ctranslate2_translates_like_the_run(tiny: Tiny, tmp_path: Path) -> None:
    make_transformer(tiny)
    result = assert_success(nmt("export", tiny.run, "--to", "ctranslate2"))
    assert "equal on 4 of 4 lines" in result.out
    moved = tmp_path / "elsewhere"
    shutil.move(tiny.run / "ctranslate2", moved)
    text = "1 2 3\n\n4 5 6 7\n"
    flags = ["--set", "decode.length_penalty=0", "--set", "decode.max_length_ratio=1"]
    ours = assert_success(nmt("translate", "-m", tiny.run, *flags, stdin=text)).lines
    theirs = assert_success(
        nmt("translate", "-m", moved, "--engine", "ctranslate2", *flags, stdin=text)
    )
    assert theirs.lines == ours
    assert ours[1] == ""


@needs_ctranslate2
def test_translate_engine_option_finds_export_in_run(tiny: Tiny) -> None:
    make_transformer(tiny)
    assert_refused(
        nmt("translate", "-m", tiny.run, "--engine", "ctranslate2"), "nmt export", "writes it"
    )
    assert_success(nmt("export", tiny.run, "--to", "ctranslate2", "--quantization", "int8"))
    result = assert_success(
        nmt("translate", "-m", tiny.run, "--engine", "ctranslate2", stdin="1 2\n3\n")
    )
    assert len(result.lines) == 2
    assert json.loads((tiny.run / "ctranslate2" / "config.json").read_text())
    assert_refused(nmt("translate", "-m", tiny.run / "ctranslate2"), "got an export", "--engine")


@needs_transformers
def test_export_huggingface_is_written_and_compared(tiny: Tiny, tmp_path: Path) -> None:
    make_transformer(tiny)
    result = assert_success(nmt("export", tiny.run, "--to", "huggingface", "-o", tmp_path / "hf"))
    assert "equal on 4 of 4 lines" in result.out
    assert (tmp_path / "hf" / "model.safetensors").is_file()


def test_export_unsupported_model_names_every_setting(tiny: Tiny) -> None:
    make_transformer(tiny, decoder="ssru", norm_position="pre", activation="swiglu")
    assert_refused(
        nmt("export", tiny.run, "--to", "huggingface"),
        "model.decoder: MarianMT runs transformer only, is ssru",
        "model.norm_position: MarianMT runs post only, is pre",
        "model.activation: MarianMT runs relu or gelu or swish only, is swiglu",
    )
    assert not (tiny.run / "huggingface").exists()
    assert_refused(
        nmt("export", tiny.run, "--to", "huggingface", "--quantization", "int8"), "--quantization"
    )


def test_export_recurrent_model_is_refused(tiny: Tiny) -> None:
    assert_success(tiny.train())
    assert_refused(nmt("export", tiny.run, "--to", "ctranslate2"), "Transformers only, this is rnn")


def test_train_unsupported_export_is_refused_first(tiny: Tiny) -> None:
    tiny.replace("decode:\n", "export: [ctranslate2]\ndecode:\n")
    assert_refused(tiny.train(), "model.arch", "Transformers only")
    assert not tiny.run.exists()


def test_export_missing_package_is_named(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    make_transformer(tiny)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert_refused(nmt("export", tiny.run, "--to", "ctranslate2"), "pip install 'nmt[export]'")


@needs_ctranslate2
def test_train_with_export_setting_writes_export(tiny: Tiny) -> None:
    tiny.replace("decode:\n", "export: [ctranslate2]\ndecode:\n")
    make_transformer(tiny)
    assert (tiny.run / "ctranslate2" / "model.bin").is_file()


@pytest.mark.parametrize("precision", ["auto", "bf16", "int8"])
def test_translate_transformer_in_any_precision_succeeds(tiny: Tiny, precision: str) -> None:
    make_transformer(tiny)
    flags = settings(**{"decode.precision": precision})
    assert (
        len(assert_success(nmt("translate", "-m", tiny.run, *flags, stdin="1 2\n3\n")).lines) == 2
    )
