"""Fine-tune an imported MarianMT model: domain loss, exact resumption, and export."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from nmt.config.loader import load_config
from nmt.core.run_dir import RunDir
from nmt.decoding.engines.torch_engine import TorchEngine
from nmt.decoding.loading import load_engine
from nmt.importing.importer import import_model
from tests.support.command_line import assert_success, nmt, settings, write_lines
from tests.support.models.marian_folders import make_text, write_marian_folder

pytest.importorskip("transformers", reason="needs nmt[export]")

SRC, TGT = make_text(0), make_text(3)
UPDATES = 8
CONFIG = f"""\
data: {{src: en, tgt: de, train: [domain], valid: valid}}
train:
  {{from: parent, batch_tokens: 800, max_updates: {UPDATES}, save_every: 4, lr: 5e-3, warmup: 0,
   schedule: constant, ema: 0.5, validate_every: 100, threads: 1, precision: fp32}}
"""


def load_run(run: Path) -> TorchEngine:
    greedy = ["decode.beam_size=1", "decode.max_length=60", "decode.max_length_ratio=1000"]
    return load_engine(RunDir(run), load_config(run / "config.yaml", greedy), "cpu")


def mean_loss(run: Path) -> float:
    """Return the mean negative log-probability per token of the validation pairs."""
    engine = load_run(run)
    tokenizers = engine.tokenizers
    targets = tokenizers.tgt.encode(TGT[200:220])
    pairs = list(zip(tokenizers.src.encode(SRC[200:220]), targets, strict=True))
    total = sum(hypothesis.log_prob for hypothesis in engine.score(pairs))
    return -total / sum(len(target) + 1 for target in targets)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Import a model with random weights as `parent`, and fine-tune it as `child`."""
    folder = tmp_path_factory.mktemp("imported")
    write_marian_folder(folder / "marian", SRC, TGT)
    import_model(folder / "marian", folder / "parent", [], SRC[:3])
    for code, lines in (("en", SRC), ("de", TGT)):
        write_lines(folder / f"domain.{code}", lines[:200])
        write_lines(folder / f"valid.{code}", lines[200:220])
    (folder / "child.yaml").write_text(CONFIG)
    assert_success(nmt("train", folder / "child.yaml", "--run", folder / "child"))
    return folder


def test_imported_model_fine_tuned_lowers_domain_loss(folder: Path) -> None:
    assert mean_loss(folder / "child") < 0.9 * mean_loss(folder / "parent")


def test_imported_model_fine_tuned_resumes_exactly(folder: Path, tmp_path: Path) -> None:
    """Four updates and four more, without the parent, equal eight updates."""
    for name in ("parent", "domain.en", "domain.de", "valid.en", "valid.de", "child.yaml"):
        copy = shutil.copytree if (folder / name).is_dir() else shutil.copy
        copy(folder / name, tmp_path / name)
    run = tmp_path / "child"
    config = tmp_path / "child.yaml"
    assert_success(nmt("train", config, "--run", run, *settings(train__max_updates=4)))
    shutil.rmtree(tmp_path / "parent")
    assert_success(nmt("train", run, "--resume", *settings(train__max_updates=UPDATES)))
    for name in ("model.safetensors", "training.safetensors"):
        expected = load_file(RunDir(folder / "child").checkpoint(UPDATES) / name)
        weights = load_file(RunDir(run).checkpoint(UPDATES) / name)
        assert weights.keys() == expected.keys()
        assert all(torch.equal(weights[key], expected[key]) for key in expected)


def test_imported_model_fine_tuned_exports_same_ids(folder: Path, tmp_path: Path) -> None:
    ctranslate2 = pytest.importorskip("ctranslate2", reason="needs nmt[export]")
    exported = tmp_path / "exported"
    assert_success(nmt("export", folder / "child", "--to", "ctranslate2", "-o", exported))
    engine = load_run(folder / "child")
    src, tgt = engine.tokenizers.src, engine.tokenizers.tgt
    sources = src.encode(SRC[:50])
    results = ctranslate2.Translator(str(exported)).translate_batch(
        [[*src.pieces(source), "</s>"] for source in sources],
        beam_size=1,
        min_decoding_length=0,
        max_decoding_length=60,
    )
    greedy = [best.tokens for [best] in engine.search(sources)]
    assert [result.hypotheses[0] for result in results] == [tgt.pieces(ids) for ids in greedy]
    assert len({tuple(ids) for ids in greedy}) > 10


def test_init_from_imported_model_states_default_peak(folder: Path, tmp_path: Path) -> None:
    text = ["--src", folder / "domain.en", "--tgt", folder / "domain.de"]
    result = nmt("init", "--from", folder / "parent", *text, "-o", tmp_path / "new.yaml")
    assert "a tenth of the default of the architecture" in assert_success(result).err
    content = (tmp_path / "new.yaml").read_text(encoding="utf-8")
    assert '    # - {prefix: "general/train", weight: 1.0}\n' in content
    config = load_config(tmp_path / "new.yaml")
    assert config.decode == load_config(folder / "parent" / "config.yaml").decode
    assert config.decode.length_norm == "average"
    parent = config.train.parent
    assert parent is not None
    assert parent.samefile(folder / "parent")


def test_imported_parent_is_shown_in_card_and_diff(folder: Path) -> None:
    card = (folder / "child" / "README.md").read_text(encoding="utf-8")
    assert re.search(r"\| fine-tuned from \| parent, update 0 \(weights [0-9a-f]{12}\)", card)
    diff = assert_success(nmt("runs", "diff", folder / "parent", folder / "child")).out
    assert "imported, 0 updates" in diff
    assert "parent, update 0" in diff


def test_extend_imported_vocabulary_is_refused(folder: Path) -> None:
    extend = settings(tokenizer__extend="{pieces: 5}")
    result = nmt("train", folder / "child.yaml", "--run", folder / "extended", *extend)
    assert result.code == 2
    assert result.err.splitlines()[-1].startswith("error: tokenizer.extend: expected null with an")
    assert not (folder / "extended" / "config.yaml").exists()


def test_resume_imported_model_is_refused(folder: Path) -> None:
    result = nmt("train", folder / "parent", "--resume")
    assert result.code == 2
    assert result.err.startswith("error: ")
