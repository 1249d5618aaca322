"""Exported models in transformers: logits and token ids equal those of nmt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from nmt.config.sections.tokenizer import TokenizerConfig
from nmt.data.tokenizer.tokenizer import Tokenizer, Tokenizers
from nmt.data.tokenizer.training import train_tokenizer
from nmt.export.engines import unsupported_settings
from nmt.export.huggingface import MarianEngine, write_huggingface, write_tokenizer
from tests.support.models.exportable_models import (
    BOS,
    EOS,
    make_engine,
    random_sources,
    transformer_of,
)

transformers = pytest.importorskip("transformers", reason="needs nmt[export]")

MODELS: list[dict[str, Any]] = [
    {"tie": "none"},
    {"tie": "target"},
    {"tie": "all"},
    {"activation": "gelu", "encoder_layers": 3, "decoder_layers": 1},
    {"activation": "swish"},
]


def write_without_tokenizer(
    model: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Any:
    engine, config = make_engine(1, norm_position="post", **model)
    monkeypatch.setattr("nmt.export.huggingface.write_tokenizer", lambda *_: None)
    write_huggingface(transformer_of(engine), config, engine.settings, engine.tokenizers, folder)
    return engine


@pytest.mark.parametrize("model", MODELS, ids=lambda model: "-".join(map(str, model.values())))
def test_huggingface_logits_equal_nmt(
    model: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = write_without_tokenizer(model, tmp_path, monkeypatch)
    marian = transformers.MarianMTModel.from_pretrained(str(tmp_path))
    src = torch.tensor([[7, 8, 9, 10, EOS]])
    tgt_in = torch.tensor([[BOS, 5, 30, 6]])
    with torch.inference_mode():
        expected = marian(src, decoder_input_ids=tgt_in).logits
        memory = engine.model.encode(src, torch.tensor([5]))
        hidden, _ = engine.model.decode(memory, tgt_in)
        logits = engine.model.output.logits(hidden)
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)


def test_huggingface_greedy_search_equals_nmt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = write_without_tokenizer({"tie": "all"}, tmp_path, monkeypatch)
    exported = MarianEngine(tmp_path, engine.tokenizers, engine.settings)
    sources = random_sources(10)
    translations, expected = exported.search(sources), engine.search(sources)
    assert [best.tokens for [best] in translations] == [best.tokens for [best] in expected]
    assert len({tuple(best.tokens) for [best] in translations}) > 3


@pytest.mark.parametrize("joint", [True, False])
def test_huggingface_tokenizer_ids_equal_nmt(joint: bool, tmp_path: Path) -> None:
    text = [f"the {word} is   “{word}” at {n} o’clock" for n, word in enumerate(["a", "dé"])]
    settings = TokenizerConfig(vocab_size=360)
    src = Tokenizer(train_tokenizer(text, settings, exact=False, name="src"))
    tgt = src if joint else Tokenizer(train_tokenizer(text[::-1], settings, False, "tgt"))
    write_tokenizer(Tokenizers(src, tgt), tmp_path)
    with pytest.warns(UserWarning, match="sacremoses"):
        exported = transformers.MarianTokenizer.from_pretrained(str(tmp_path))
    for line in [*text, "", " x ", "café 😀 中"]:
        assert exported(line).input_ids == [*src.encode([line])[0], src.eos]


@pytest.mark.parametrize(
    ("model", "setting"),
    [
        ({}, "norm_position"),
        ({"norm_position": "post", "norm": "rms", "norm_epsilon": 1e-5}, "norm"),
        ({"norm_position": "post", "norm_epsilon": 1e-6}, "norm_epsilon"),
        ({"norm_position": "post", "positions": "rotary"}, "positions"),
        ({"norm_position": "post", "activation": "swiglu"}, "activation"),
        ({"norm_position": "post", "num_kv_heads": 1}, "num_kv_heads"),
        ({"norm_position": "post", "source_eos": False}, "source_eos"),
    ],
)
def test_unsupported_settings_of_huggingface_are_named(model: dict[str, Any], setting: str) -> None:
    _, config = make_engine(1, **model)
    assert [key for key, _ in unsupported_settings(config, "huggingface")] == [setting]
