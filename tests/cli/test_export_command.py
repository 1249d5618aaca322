"""`nmt export`, and the exported model behind the same command line."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import pytest
from commandline import Result, done, nmt, settings
from tinyruns import Tiny

TRANSFORMER = {
    "arch": "transformer",
    "d_model": 16,
    "d_ff": 32,
    "num_heads": 2,
    "num_layers": 1,
    "norm_place": "post",
    "tie": "all",
}
needs_ctranslate2 = pytest.mark.skipif(
    importlib.util.find_spec("ctranslate2") is None, reason="needs nmt[export]"
)
needs_transformers = pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None, reason="needs nmt[export]"
)


def make_transformer(tiny: Tiny, **changed: object) -> None:
    """Let the tiny config be a Transformer's, trained for two updates."""
    model = {**TRANSFORMER, **changed}
    lines = "".join(f"  {key}: {json.dumps(value)}\n" for key, value in model.items())
    tiny.replace("model:\n  d_embed: 8\n  d_hidden: 8\n", f"model:\n{lines}")
    done(tiny.train())


def refused(result: Result, *words: str) -> None:
    assert result.code == 2
    assert result.out == ""
    assert all(word in result.err for word in words), result.err
    assert "Traceback" not in result.err


@needs_ctranslate2
def test_an_export_translates_alone_as_the_run_does(tiny: Tiny, tmp_path: Path) -> None:
    make_transformer(tiny)
    result = done(nmt("export", tiny.run, "--to", "ctranslate2"))
    assert "equal on 4 of 4 lines" in result.out
    alone = tmp_path / "elsewhere"
    shutil.move(tiny.run / "ctranslate2", alone)
    text = "1 2 3\n\n4 5 6 7\n"
    flags = ["--set", "decode.length_penalty=0", "--set", "decode.max_length_ratio=1"]
    ours = done(nmt("translate", "-m", tiny.run, *flags, stdin=text)).lines
    theirs = done(nmt("translate", "-m", alone, "--engine", "ctranslate2", *flags, stdin=text))
    assert theirs.lines == ours
    assert ours[1] == ""


@needs_ctranslate2
def test_the_engine_finds_the_export_in_the_run(tiny: Tiny) -> None:
    make_transformer(tiny)
    refused(nmt("translate", "-m", tiny.run, "--engine", "ctranslate2"), "nmt export", "writes it")
    done(nmt("export", tiny.run, "--to", "ctranslate2", "--quantization", "int8"))
    result = done(nmt("translate", "-m", tiny.run, "--engine", "ctranslate2", stdin="1 2\n3\n"))
    assert len(result.lines) == 2
    assert json.loads((tiny.run / "ctranslate2" / "config.json").read_text())
    refused(nmt("translate", "-m", tiny.run / "ctranslate2"), "got an export", "--engine")


@needs_transformers
def test_a_marian_model_is_written_and_compared(tiny: Tiny, tmp_path: Path) -> None:
    make_transformer(tiny)
    result = done(nmt("export", tiny.run, "--to", "huggingface", "-o", tmp_path / "hf"))
    assert "equal on 4 of 4 lines" in result.out
    assert (tmp_path / "hf" / "model.safetensors").is_file()


def test_what_an_engine_does_not_run_is_refused_with_every_reason(tiny: Tiny) -> None:
    make_transformer(tiny, decoder="ssru", norm_place="pre", activation="swiglu")
    refused(
        nmt("export", tiny.run, "--to", "huggingface"),
        "model.decoder: MarianMT runs transformer only, is ssru",
        "model.norm_place: MarianMT runs post only, is pre",
        "model.activation: MarianMT runs relu or gelu only, is swiglu",
    )
    assert not (tiny.run / "huggingface").exists()
    refused(
        nmt("export", tiny.run, "--to", "huggingface", "--quantization", "int8"), "--quantization"
    )


def test_a_recurrent_model_is_refused(tiny: Tiny) -> None:
    done(tiny.train())
    refused(nmt("export", tiny.run, "--to", "ctranslate2"), "Transformers only, this is rnn")


def test_a_config_that_asks_for_the_impossible_is_refused_before_training(tiny: Tiny) -> None:
    tiny.replace("decode:\n", "export: [ctranslate2]\ndecode:\n")
    refused(tiny.train(), "model.arch", "Transformers only")
    assert not tiny.run.exists()


def test_a_missing_package_is_named(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    make_transformer(tiny)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    refused(nmt("export", tiny.run, "--to", "ctranslate2"), "pip install 'nmt[export]'")


@needs_ctranslate2
def test_a_run_is_exported_when_its_config_says_so(tiny: Tiny) -> None:
    tiny.replace("decode:\n", "export: [ctranslate2]\ndecode:\n")
    make_transformer(tiny)
    assert (tiny.run / "ctranslate2" / "model.bin").is_file()


@pytest.mark.parametrize("precision", ["auto", "bf16", "int8"])
def test_precisions_translate(tiny: Tiny, precision: str) -> None:
    make_transformer(tiny)
    flags = settings(**{"decode.precision": precision})
    assert len(done(nmt("translate", "-m", tiny.run, *flags, stdin="1 2\n3\n")).lines) == 2
