"""`tokenizer.extend`: fine-tune a run with additional pieces for new characters."""

from __future__ import annotations

import importlib.util
import random
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from nmt.config.loader import load_config
from nmt.core.run_dir import RunDir
from nmt.data.tokenizer.storage import load_tokenizers
from tests.support.command_line import Result, assert_success, nmt, settings, write_pairs
from tests.support.tiny_runs import Tiny, digit_strings, make_exportable, make_tiny

CHILD = """\
data:
  {src: in, tgt: out, train: [domain, train], valid: valid, max_length: 60}
tokenizer: {extend: {pieces: 20, characters: "ω"}}
train:
  {from: parent, batch_tokens: 200, max_updates: 2, lr: 1e-3, warmup: 0,
   schedule: constant, threads: 1, precision: fp32, validate_every: 100}
decode: {beam_size: 2}
"""
SEPARATE = settings(tokenizer__joint="false", tokenizer__type="bpe", model__tie="target")
OLD_TEXT = "".join(f"{line}\n" for line in digit_strings(50, seed=5))


def weights(run: Path, step: int = 2) -> dict[str, torch.Tensor]:
    """Return the weights of a checkpoint."""
    return load_file(RunDir(run).checkpoint(step) / "model.safetensors")


def make_work(folder: Path, tiny: Tiny, *parent_settings: object) -> Tiny:
    """Train a parent on digits; return the config of a child on digits and Greek words."""
    tiny.replace("type: char", "type: unigram")
    assert_success(tiny.train(*parent_settings, run=folder / "parent"))
    rng = random.Random(7)
    words = ["".join(rng.choices("αβγδε", k=rng.randint(2, 5))) for _ in range(20)]
    lines = [" ".join(rng.choices(words, k=3)) for _ in range(60)]
    write_pairs(folder / "domain", [(line, line.replace("ε", "ζ")) for line in lines])
    (folder / "child.yaml").write_text(CHILD)
    return Tiny(folder, folder / "child.yaml", folder / "child")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """Train a parent with a joint vocabulary."""
    folder = tmp_path_factory.mktemp("trained")
    return make_work(folder, make_tiny(folder))


@pytest.fixture
def child(trained: Tiny, tmp_path: Path) -> Tiny:
    """Return the config of a child, with its own copy of the parent."""
    shutil.copytree(trained.folder, tmp_path / "work", symlinks=True)
    folder = tmp_path / "work"
    return Tiny(folder, folder / "child.yaml", folder / "child")


def assert_refused(result: Result, *words: str) -> None:
    """Check that a command ended with one line of error that contains `words`."""
    assert result.code == 2
    assert result.err.startswith("error: ")
    assert all(word in result.err for word in words), result.err


def assert_old_outputs_unchanged(tiny: Tiny) -> None:
    """Check that the untrained child encodes, translates and scores digits like its parent."""
    parent = tiny.folder / "parent"
    outputs = []
    for run in (parent, tiny.run):
        tokenizers = load_tokenizers(RunDir(run))
        lines = OLD_TEXT.splitlines()
        translated = assert_success(nmt("translate", "-m", run, "--scores", stdin=OLD_TEXT)).lines
        results = [line.split("\t") for line in translated]
        outputs.append(
            (
                (tokenizers.src.encode(lines), tokenizers.tgt.encode(lines)),
                [text for _, text in results],
                [float(score) for score, _ in results],
            )
        )
    (parent_ids, parent_texts, parent_scores), (ids, texts, scores) = outputs
    assert ids == parent_ids
    assert texts == parent_texts
    assert scores == pytest.approx(parent_scores, abs=1e-4)


def test_extend_old_outputs_are_unchanged_before_training(child: Tiny) -> None:
    result = assert_success(child.train(*settings(train__lr=1e-30)))
    assert "tokenizer: extended for both sides by 7 characters (ω" in result.err
    assert "14 longer pieces (" in result.err
    assert_old_outputs_unchanged(child)
    parent_weights, child_weights = weights(child.folder / "parent"), weights(child.run)
    for name, weight in parent_weights.items():
        assert torch.equal(child_weights[name][: len(weight)], weight)


def test_extend_separate_vocabularies_grow_by_their_side(tmp_path: Path) -> None:
    child = make_work(tmp_path, make_tiny(tmp_path), *SEPARATE)
    result = assert_success(child.train(*settings(train__lr=1e-30)))
    assert "the src side" in result.err
    assert_old_outputs_unchanged(child)
    tokenizers = load_tokenizers(RunDir(child.run))
    assert not tokenizers.src.is_byte(tokenizers.src.encode(["ε"])[0][-1])
    assert tokenizers.tgt.is_byte(tokenizers.tgt.encode(["ε"])[0][-1])
    sizes = load_config(child.run).tokenizer.vocab_size
    assert sizes.src == tokenizers.src.vocab_size  # type: ignore[union-attr]
    assert sizes.tgt == tokenizers.tgt.vocab_size  # type: ignore[union-attr]


def test_extend_is_recorded_in_resolved_config(child: Tiny) -> None:
    assert_success(child.train())
    tokenizer = load_config(child.run).tokenizer
    assert tokenizer.extend is not None
    assert tokenizer.extend.pieces == 20
    parent_size = load_tokenizers(RunDir(child.folder / "parent")).src.vocab_size
    assert tokenizer.vocab_size == parent_size + 21


def test_extend_learns_new_rows(child: Tiny) -> None:
    assert_success(child.train())
    size = load_tokenizers(RunDir(child.folder / "parent")).src.vocab_size
    before = child.folder / "before"
    assert_success(child.train(*settings(train__lr=1e-30), run=before))
    trained, initial = weights(child.run), weights(before)
    assert (trained["output.bias"][size:] != initial["output.bias"][size:]).all()


def test_extend_without_parent_resumes_exactly(child: Tiny) -> None:
    """Two updates and two more, with the parent deleted in between, equal four updates."""
    four = settings(train__max_updates=4)
    assert_success(child.train(*four, run=child.folder / "whole"))
    assert_success(child.train())
    assert_success(child.train("--resume", *settings(train__max_updates=3)))
    shutil.rmtree(child.folder / "parent")
    assert_success(nmt("train", child.run, "--resume", "--device", "cpu", *four))
    expected, got = weights(child.folder / "whole", 4), weights(child.run, 4)
    assert all(torch.equal(expected[name], got[name]) for name in expected)


def test_extend_other_pieces_on_resume_are_refused(child: Tiny) -> None:
    assert_success(child.train())
    result = child.train("--resume", *settings(tokenizer__extend="{pieces: 5}"))
    assert_refused(result, "tokenizer.extend")


def test_extend_after_prepare_trains_the_same(child: Tiny) -> None:
    assert_success(nmt("prepare", child.config, "--run", child.run))
    assert_success(child.train())
    assert_success(child.train(run=child.folder / "direct"))
    expected, got = weights(child.folder / "direct"), weights(child.run)
    assert all(torch.equal(expected[name], got[name]) for name in expected)


def test_extend_grandchild_keeps_pieces_and_may_add_more(child: Tiny) -> None:
    assert_success(child.train())
    same = settings(tokenizer__extend="null")
    assert_success(child.train("--from", child.run, *same, run=child.folder / "same"))
    more = settings(tokenizer__extend="{characters: [a, b]}")
    assert_success(child.train("--from", child.run, *more, run=child.folder / "more"))
    sizes = [
        load_tokenizers(RunDir(child.folder / name)).tgt.vocab_size
        for name in ("child", "same", "more")
    ]
    assert sizes == [sizes[0], sizes[0], sizes[0] + 2]


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        (
            "tokenizer.extend={pieces: 0, characters: ''}",
            ["tokenizer.extend", "expected pieces or characters"],
        ),
        ("train.freeze=[embeddings]", ["tokenizer.extend", "embeddings in train.freeze"]),
        ("tokenizer.extend={characters: [ab]}", ["tokenizer.extend.characters"]),
        ("tokenizer.vocab_size=385", ["tokenizer.vocab_size", "tokenizer.extend"]),
        ("train.from=null", ["tokenizer.extend", "expected null without train.from"]),
    ],
)
def test_extend_wrong_setting_is_refused(child: Tiny, setting: str, words: list[str]) -> None:
    assert_refused(child.train("--set", setting), *words)
    assert not child.run.exists()


@pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("ctranslate2", "transformers"))),
    reason="needs nmt[export]",
)
def test_extend_exported_model_translates_like_the_run(tmp_path: Path) -> None:
    post_norm = settings(model__norm_place="post", model__tie="all")
    child = make_work(tmp_path, make_exportable(tmp_path), *post_norm)
    assert_success(child.train(*settings(train__lr=1e-2)))
    text = "αβγ 1 2\nζω\n1 2 3\n"
    flags = settings(decode__length_penalty=0, decode__max_length_ratio=1)
    expected = assert_success(nmt("translate", "-m", child.run, *flags, stdin=text)).lines
    for engine in ("ctranslate2", "huggingface"):
        assert (
            "equal on 4 of 4 lines" in assert_success(nmt("export", child.run, "--to", engine)).out
        )
    exported = ["-m", child.run, "--engine", "ctranslate2"]
    assert assert_success(nmt("translate", *exported, *flags, stdin=text)).lines == expected
