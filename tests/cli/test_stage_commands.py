"""`nmt tokenizer` and `nmt prepare` run the stages, and `nmt train` does not repeat them."""

from __future__ import annotations

import pytest

from nmt.data.corpus.corpus import Corpus
from tests.support.command_line import Result, assert_success, nmt, settings
from tests.support.tiny_runs import Tiny


def stage(name: str, tiny: Tiny, *flags: str) -> Result:
    return assert_success(nmt(name, tiny.config, "--run", tiny.run, *flags))


def test_tokenizer_command_writes_tokenizer_only(tiny: Tiny) -> None:
    result = stage("tokenizer", tiny)
    assert {path.name for path in tiny.run.iterdir()} == {"tokenizer.model", "tokenizer.json"}
    assert result.out == ""
    assert "tokenizer: char, both sides" in result.err


def test_tokenizer_command_separate_sides_write_two_files(tiny: Tiny) -> None:
    stage("tokenizer", tiny, *settings(tokenizer__joint="false"))
    names = {"tokenizer.src.model", "tokenizer.tgt.model", "tokenizer.json"}
    assert {path.name for path in tiny.run.iterdir()} == names


def test_prepare_command_writes_corpus(tiny: Tiny) -> None:
    result = stage("prepare", tiny)
    assert "corpus: 96 training pairs, 4 validation pairs" in result.err
    corpus = Corpus.load(tiny.run / "corpus" / "train")
    assert len(corpus) == 96
    assert corpus.lines("src") == (tiny.folder / "train.in").read_text().split("\n")[:-1]


def test_train_after_prepare_keeps_stages(tiny: Tiny) -> None:
    stage("tokenizer", tiny)
    assert "tokenizer: unchanged, kept" in stage("prepare", tiny).err
    result = assert_success(tiny.train())
    assert "tokenizer: unchanged, kept\ncorpus: unchanged, kept\n" in result.err


def test_prepare_twice_changes_no_file(tiny: Tiny) -> None:
    stage("prepare", tiny)
    before = {p: p.stat().st_mtime_ns for p in tiny.run.rglob("*")}
    assert "corpus: unchanged, kept" in stage("prepare", tiny).err
    assert before == {p: p.stat().st_mtime_ns for p in tiny.run.rglob("*")}


@pytest.mark.parametrize(
    ("flags", "tokenizer_kept", "corpus_kept"),
    [
        ([], True, True),
        (settings(train__lr=0.1, model__d_hidden=16), True, True),
        (settings(data__max_length=9), True, False),
        (settings(tokenizer__type="unigram"), False, False),
        (settings(data__valid=5), False, False),
    ],
)
def test_prepare_repeats_stages_of_changed_setting(
    tiny: Tiny, flags: list[str], tokenizer_kept: bool, corpus_kept: bool
) -> None:
    stage("prepare", tiny)
    log = stage("prepare", tiny, *flags).err
    assert ("tokenizer: unchanged, kept" in log) == tokenizer_kept
    assert ("corpus: unchanged, kept" in log) == corpus_kept


def test_prepare_repeats_stages_of_changed_text(tiny: Tiny) -> None:
    stage("prepare", tiny)
    file = tiny.folder / "train.in"
    file.write_text(file.read_text().replace("0", "7"))
    assert "unchanged" not in stage("prepare", tiny).err


def test_prepare_ignores_touched_text(tiny: Tiny) -> None:
    stage("prepare", tiny)
    for file in tiny.folder.glob("train.*"):
        file.touch()
    assert stage("prepare", tiny).err.count("unchanged, kept") == 2


def test_prepare_counts_dropped_pairs_by_reason(tiny: Tiny) -> None:
    for side in ("in", "out"):
        with open(tiny.folder / f"train.{side}", "a") as stream:
            stream.write("\n" + "1" * 99 + "\n")
    log = stage("prepare", tiny).err
    assert "corpus: 1 training pairs dropped, blank" in log
    assert "corpus: 1 training pairs dropped, over 60 tokens" in log
