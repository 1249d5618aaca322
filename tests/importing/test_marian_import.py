"""Imported MarianMT models: token ids and scores equal those of transformers."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from nmt.commands.tools import import_model as command
from nmt.config.loader import load_config
from nmt.core.run_dir import RunDir
from nmt.decoding.engines.torch_engine import TorchEngine
from nmt.decoding.loading import load_engine
from nmt.export.exporter import export_run
from nmt.importing.importer import import_model
from nmt.runs.clear_run import clear_run
from nmt.runs.summary import summarize_run
from tests.support.command_line import nmt
from tests.support.models.marian_folders import make_text, write_marian_folder
from tests.support.models.transformers_search import SEARCH, generate, transformers

CORPORA = Path(__file__).resolve().parents[3] / "shared" / "corpora"
LAYOUTS: dict[str, dict[str, Any]] = {
    "shared": {},
    "separate": {"separate": True},
    "untied": {"separate": True, "tie_word_embeddings": False},
    "tags": {"tags": [">>deu<<", ">>fra<<"], "activation_function": "relu"},
}
SRC, TGT = make_text(0), make_text(3)


def load_run(run: Path, *overrides: str) -> TorchEngine:
    return load_engine(RunDir(run), load_config(run / "config.yaml", [*SEARCH, *overrides]), "cpu")


def load_tokenizer(folder: Path) -> Any:
    with pytest.warns(UserWarning, match="sacremoses"):
        return transformers.MarianTokenizer.from_pretrained(str(folder))


def load_original(folder: Path) -> Any:
    return transformers.MarianMTModel.from_pretrained(str(folder), dtype=torch.float32).eval()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_import_token_ids_and_scores_equal_transformers(layout: str, tmp_path: Path) -> None:
    folder = tmp_path / "marian"
    write_marian_folder(folder, SRC, TGT, **LAYOUTS[layout])
    import_model(folder, tmp_path / "run", [], [])
    engine = load_run(tmp_path / "run")
    original, tokenizer = load_original(folder), load_tokenizer(folder)
    lines = [*SRC[:100], *TGT[:98], "ab ßß 中文", "  Ab, (c)  d"]
    if layout == "tags":
        lines[:50] = [f">>deu<< {line}" for line in SRC[:50]]
        lines[50:100] = [f">>fra<<{line}" for line in SRC[50:100]]
    sources = engine.tokenizers.src.encode(lines)
    rows = [tokenizer(line).input_ids for line in lines]
    assert [[*tokens, engine.tokenizers.src.eos] for tokens in sources] == rows
    assert any(engine.tokenizers.src.unk in row for row in rows)
    tgt = engine.tokenizers.tgt
    targets = [[*row, tgt.eos] for row in tgt.encode(lines)]
    assert targets == tokenizer(text_target=lines).input_ids

    for beam_size in (1, 4):
        engine = load_run(tmp_path / "run", f"decode.beam_size={beam_size}")
        translations = [best for [best] in engine.search(sources)]
        expected, scores = generate(original, rows, beam_size, banned=[tgt.pad])
        assert [best.tokens for best in translations] == expected
        if beam_size > 1:
            assert [best.score for best in translations] == pytest.approx(scores, abs=1e-4)
        assert len({tuple(best.tokens) for best in translations}) > 10


def test_translate_to_selects_marian_tag(tmp_path: Path) -> None:
    write_marian_folder(tmp_path / "marian", SRC, TGT, **LAYOUTS["tags"])
    import_model(tmp_path / "marian", tmp_path / "run", [], SRC[:3])
    for code in ("deu", "fra"):
        by_flag = nmt("translate", "--model", tmp_path / "run", "--to", code, stdin=SRC[0] + "\n")
        by_text = nmt("translate", "--model", tmp_path / "run", stdin=f">>{code}<< {SRC[0]}\n")
        assert by_flag.lines == by_text.lines
        assert load_run(tmp_path / "run", f"decode.tags.tgt_lang={code}").tokenizers.src.encode(
            SRC[:1]
        ) == load_run(tmp_path / "run").tokenizers.src.encode([f">>{code}<< {SRC[0]}"])
    result = nmt("translate", "--model", tmp_path / "run", "--to", "de", stdin="ab\n")
    assert result.code == 2
    assert "--to: tag tgt_lang: expected one of deu, fra, got 'de' (did you mean" in result.err


def test_import_compares_with_transformers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_marian_folder(tmp_path / "marian", SRC, TGT)
    (tmp_path / "lines").write_text("\n".join(SRC[:3]), encoding="utf-8")
    command.run(
        command.ImportOptions(
            tmp_path / "marian", tmp_path / "run", tmp_path / "lines", ["data.src=fr"]
        )
    )
    out = capsys.readouterr().out
    assert "source token ids: equal on 3 of 3 lines" in out
    assert "greedy token ids: equal on 3 of 3 lines" in out
    config = load_config(tmp_path / "run" / "config.yaml")
    assert (config.data.src, config.data.tgt) == ("fr", "de")
    assert (config.decode.beam_size, config.decode.length_norm) == (4, "average")
    assert json.loads((tmp_path / "run" / "import.json").read_text())["layout"] == "MarianMT"


def test_import_without_transformers_is_not_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write_marian_folder(tmp_path / "marian", SRC, TGT)
    with monkeypatch.context() as patch:
        patch.setattr(importlib.util, "find_spec", lambda name: None)
        assert import_model(tmp_path / "marian", tmp_path / "run", [], SRC[:3]) is None
    assert caplog.messages == ["nothing was compared, because transformers is not installed"]
    assert load_run(tmp_path / "run").search([[5, 6]])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_import_half_precision_becomes_fp32(dtype: torch.dtype, tmp_path: Path) -> None:
    model = write_marian_folder(tmp_path / "marian", SRC, TGT)
    model.to(dtype).save_pretrained(str(tmp_path / "marian"))
    comparison = import_model(tmp_path / "marian", tmp_path / "run", [], SRC[:3])
    assert comparison is not None
    assert comparison.is_close
    assert {weight.dtype for weight in load_run(tmp_path / "run").model.parameters()} == {
        torch.float32
    }


@pytest.mark.parametrize("layout", ["shared", "untied"])
def test_import_exported_again_has_same_logits(layout: str, tmp_path: Path) -> None:
    folder = tmp_path / "marian"
    original = write_marian_folder(folder, SRC, TGT, **LAYOUTS[layout])
    import_model(folder, tmp_path / "run", [], [])
    run = RunDir(tmp_path / "run")
    export_run(run, load_config(run.config), "huggingface", None, tmp_path / "exported")
    exported = load_original(tmp_path / "exported")
    src, tgt_in = torch.tensor([[7, 8, 9, 0]]), torch.tensor([[original.config.pad_token_id, 5, 9]])
    with torch.inference_mode():
        expected = original(src, decoder_input_ids=tgt_in).logits
        logits = exported(src, decoder_input_ids=tgt_in).logits
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)
    lines = [*SRC[:20], "ab ßß 中文"]
    assert (
        load_tokenizer(tmp_path / "exported")(lines).input_ids
        == load_tokenizer(folder)(lines).input_ids
    )
    for name in ("source.spm", "target.spm"):
        assert (tmp_path / "exported" / name).read_bytes() == (folder / name).read_bytes()


def test_import_is_a_parent_for_fine_tuning(tmp_path: Path) -> None:
    write_marian_folder(tmp_path / "marian", SRC, TGT)
    import_model(tmp_path / "marian", tmp_path / "parent", [], SRC[:3])
    for name, count in (("train", 200), ("valid", 10)):
        for code, lines in (("en", SRC), ("de", TGT)):
            text = "\n".join(lines[:count]) + "\n"
            (tmp_path / f"{name}.{code}").write_text(text, encoding="utf-8")
    (tmp_path / "config.yaml").write_text(
        "data: {src: en, tgt: de, train: train, valid: valid}\n"
        "train: {from: parent, max_updates: 2, batch_tokens: 800, precision: fp32}\n"
    )
    result = nmt("train", tmp_path / "config.yaml", "--run", tmp_path / "child")
    assert result.code == 0, result.err
    parent, child = load_run(tmp_path / "parent"), load_run(tmp_path / "child")
    assert child.tokenizers.tgt.encode(TGT[:5]) == parent.tokenizers.tgt.encode(TGT[:5])


def test_runs_imported_model_is_listed_and_cleared(tmp_path: Path) -> None:
    write_marian_folder(tmp_path / "marian", SRC, TGT)
    run = RunDir(tmp_path / "imported")
    import_model(tmp_path / "marian", run.path, [], SRC[:3])
    summary = summarize_run(run, "imported")
    assert (summary.state, summary.why, summary.problems) == ("imported", "", [])
    clear_run(run)
    assert not run.imported.exists()
    assert not run.checkpoints.exists()


@pytest.mark.skipif(not CORPORA.is_dir(), reason="needs the shared corpora")
def test_import_token_ids_of_real_lines_equal_transformers(tmp_path: Path) -> None:
    folder, corpus = tmp_path / "marian", CORPORA / "multi30k"
    src, tgt = (
        (corpus / f"train.{code}").read_text(encoding="utf-8").splitlines()[:5000]
        for code in ("en", "de")
    )
    write_marian_folder(folder, src, tgt)
    comparison = import_model(folder, tmp_path / "run", [], [])
    engine, tokenizer = load_run(tmp_path / "run"), load_tokenizer(folder)
    lines = (corpus / "test_2016_flickr.en").read_text(encoding="utf-8").splitlines()[:200]
    tokens = [[*row, 0] for row in engine.tokenizers.src.encode(lines)]
    assert tokens == tokenizer(lines).input_ids
    assert comparison is not None
