"""Tokenizer and corpus are made when due, kept when nothing changed, and say which."""

from __future__ import annotations

import gzip
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from nmt.config import Config
from nmt.configfile import load_config
from nmt.data.corpus import Corpus
from nmt.data.stages import ensure_corpus, ensure_tokenizers, load_test_sets
from nmt.data.tokenizer import Tokenizers
from nmt.errors import ConfigError, DataError, RunError
from nmt.rundir import RunDir

LINES = 120
KEPT = ["tokenizer: unchanged, kept", "corpus: unchanged, kept"]


def line(n: int, word: str) -> str:
    return f"{word} {n} {word} {n * n} end"


def write(file: Path, lines: list[str]) -> None:
    file.write_bytes("".join(f"{text}\n" for text in lines).encode())


@dataclass
class Project:
    """Two text files a side, a config, and a run folder."""

    folder: Path
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def run(self) -> RunDir:
        return RunDir(self.folder / "run")

    def config(self) -> Config:
        file = self.folder / "a.yaml"
        file.write_text(yaml.safe_dump(self.settings))
        return load_config(file)

    def prepare(self) -> tuple[Tokenizers, Corpus, Corpus, list[str]]:
        said: list[str] = []
        config = self.config()
        tokenizers = ensure_tokenizers(config, self.run, said.append)
        return tokenizers, *ensure_corpus(config, self.run, tokenizers, said.append), said

    def written(self, folder: Path) -> dict[str, tuple[int, int]]:
        """Return when each file below `folder` was written, and as which file."""
        status = {str(path): path.stat() for path in folder.rglob("*") if path.is_file()}
        return {path: (s.st_mtime_ns, s.st_ino) for path, s in status.items()}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    for language, word in (("de", "zahl"), ("en", "number")):
        write(tmp_path / f"train.{language}", [line(n, word) for n in range(LINES)])
        write(tmp_path / f"valid.{language}", [line(n, word) for n in range(1000, 1010)])
    data = {"src": "de", "tgt": "en", "train": ["train"], "valid": "valid"}
    return Project(tmp_path, {"data": data})


def test_the_first_call_makes_both_and_says_so(project: Project) -> None:
    tokenizers, train, valid, said = project.prepare()
    assert tokenizers.joint
    assert train.lines("src") == [line(n, "zahl") for n in range(LINES)]
    assert valid.lines("tgt") == [line(n, "number") for n in range(1000, 1010)]
    size = tokenizers.src.vocab_size
    assert said == [
        f"tokenizer: unigram, both sides, {size} pieces from {2 * LINES} lines "
        "(the text is too small for 8000)",
        f"corpus: {LINES} training pairs, 10 validation pairs",
    ]


@pytest.mark.parametrize("valid", ["valid", 10])
@pytest.mark.parametrize("touched", [False, True])
def test_the_second_call_writes_nothing(project: Project, valid: str | int, touched: bool) -> None:
    project.settings["data"]["valid"] = valid
    _, train, _, _ = project.prepare()
    before = project.written(project.run.path)
    if touched:
        os.utime(project.folder / "train.de", (1, 1))
    _, again, _, said = project.prepare()
    assert said == KEPT
    assert project.written(project.run.path) == before
    assert again.lines("src") == train.lines("src")


@pytest.mark.parametrize("name", ["train.de", "valid.en"])
def test_changed_text_makes_both_anew(project: Project, name: str) -> None:
    project.prepare()
    file = project.folder / name
    changed = file.read_bytes().replace(b" end", b" END", 1)
    file.write_bytes(changed)  # as many bytes as before
    os.utime(file, (1, 1))
    _, new_train, new_valid, said = project.prepare()
    assert not set(said) & set(KEPT)
    changed_line = new_train.lines("src")[0] if name == "train.de" else new_valid.lines("tgt")[0]
    assert changed_line.endswith(" END")
    assert project.prepare()[3] == KEPT


def test_another_length_limit_makes_only_the_corpus_anew(project: Project) -> None:
    write(project.folder / "train.en", [line(n, "number") + " !" * n for n in range(LINES)])
    _, train, _, _ = project.prepare()
    before = project.written(project.run.path)
    limit = int(np.median(train.lengths("tgt")))
    project.settings["data"]["max_length"] = limit
    long = int(np.sum(np.maximum(train.lengths("src"), train.lengths("tgt")) > limit))
    assert 0 < long < LINES
    _, train, valid, said = project.prepare()
    assert (len(train), len(valid)) == (LINES - long, 10)
    assert said == [
        KEPT[0],
        f"corpus: {LINES - long} training pairs, 10 validation pairs",
        f"corpus: {long} training pairs dropped, over {limit} tokens",
        f"corpus: what was dropped: {project.run.corpus / 'train' / 'dropped.tsv'}",
    ]
    after = project.written(project.run.path)
    kept = {path for path in before if after.get(path) == before[path]}
    assert kept == {str(project.run.tokenizer_joint), str(project.run.tokenizer_meta)}


def test_decode_and_training_settings_make_nothing_anew(project: Project) -> None:
    project.prepare()
    project.settings |= {"decode": {"beam_size": 2}, "train": {"lr": 0.5}, "model": {"d_embed": 4}}
    assert project.prepare()[3] == KEPT


@pytest.mark.parametrize(
    "tokenizer", [{"type": "bpe"}, {"vocab_size": 380}, {"joint": False}, {"sample_lines": 50}]
)
def test_another_tokenizer_makes_both_anew(project: Project, tokenizer: dict[str, Any]) -> None:
    old = project.prepare()[0]
    project.settings["tokenizer"] = tokenizer
    new, train, _, said = project.prepare()
    assert not set(said) & set(KEPT)
    assert new.src.model != old.src.model
    assert train.row("src", 5).tolist() == new.src.encode([line(5, "zahl")])[0]


@pytest.mark.parametrize("joint", [True, False])
def test_each_side_has_its_own_model_where_not_joint(project: Project, joint: bool) -> None:
    project.settings["tokenizer"] = {"joint": not joint}
    project.prepare()
    project.settings["tokenizer"] = {"joint": joint}
    tokenizers, train, _, _ = project.prepare()
    assert tokenizers.joint is joint
    assert (tokenizers.src.model == tokenizers.tgt.model) is joint
    models = {path.name for path in project.run.path.glob("*.model")}
    assert models == (
        {"tokenizer.model"} if joint else {"tokenizer.src.model", "tokenizer.tgt.model"}
    )
    assert tokenizers.tgt.decode(train.row("tgt", 3).tolist()) == line(3, "number")


def test_a_size_that_was_asked_for_is_met_or_refused(project: Project) -> None:
    project.settings["tokenizer"] = {"vocab_size": 380}
    assert project.prepare()[0].src.vocab_size == 380
    project.settings["tokenizer"] = {"vocab_size": 8000}
    with pytest.raises(DataError, match=r"tokenizer\.vocab_size: must be at most \d+ for both"):
        project.prepare()


def test_a_number_splits_validation_text_off_for_good(project: Project) -> None:
    project.settings["data"]["valid"] = 20
    _, train, valid, said = project.prepare()
    assert said[0].endswith(f"from {2 * (LINES - 20)} lines (the text is too small for 8000)")
    assert (len(train), len(valid)) == (LINES - 20, 20)
    for side in ("src", "tgt"):
        assert not set(train.lines(side)) & set(valid.lines(side))
    held_out = valid.lines("src")
    project.settings["data"]["max_length"] = 190
    assert project.prepare()[2].lines("src") == held_out
    project.settings["train"] = {"seed": 2}
    assert project.prepare()[2].lines("src") != held_out


def test_a_split_larger_than_the_text_is_an_error(project: Project) -> None:
    project.settings["data"]["valid"] = LINES
    with pytest.raises(DataError, match=r"data\.valid: must leave training text"):
        project.prepare()


def test_a_model_of_ones_own_is_copied(project: Project) -> None:
    model = project.prepare()[0].src.model
    own = project.folder / "own.model"
    own.write_bytes(model)
    project.settings["tokenizer"] = {"model": "own.model", "type": "char"}
    project.run.path.rename(project.folder / "old")
    tokenizers, _, _, said = project.prepare()
    assert project.run.tokenizer_joint.read_bytes() == model == tokenizers.src.model
    assert not any(text.startswith("tokenizer: char") for text in said)
    own.unlink()
    own.write_bytes((project.folder / "old" / "tokenizer.model").read_bytes())
    assert project.prepare()[3] == KEPT


def test_two_models_of_ones_own_are_copied(project: Project) -> None:
    project.settings["tokenizer"] = {"joint": False}
    old = project.prepare()[0]
    for name, side in (("a", old.src), ("b", old.tgt)):
        (project.folder / name).write_bytes(side.model)
    project.settings["tokenizer"] = {"joint": False, "model": {"src": "b", "tgt": "a"}}
    new = project.prepare()[0]
    assert (new.src.model, new.tgt.model) == (old.tgt.model, old.src.model)
    (project.folder / "b").write_bytes(old.src.model)
    assert project.prepare()[0].src.model == old.src.model


def test_a_file_that_is_no_model_is_named(project: Project) -> None:
    (project.folder / "own.model").write_text("nothing of the kind")
    project.settings["tokenizer"] = {"model": "own.model"}
    with pytest.raises(DataError, match=r"own\.model: must be a SentencePiece model"):
        project.prepare()


def test_a_lost_tokenizer_is_made_again(project: Project) -> None:
    model = project.prepare()[0].src.model
    project.run.tokenizer_joint.unlink()
    assert project.prepare()[0].src.model == model


@pytest.mark.parametrize("name", ["src.tokens.npy", "tgt.offsets.npy", "src.txt", "meta.json"])
def test_a_lost_part_of_the_corpus_is_made_again(project: Project, name: str) -> None:
    project.prepare()
    (project.run.corpus / "train" / name).unlink()
    _, train, _, said = project.prepare()
    assert said[0] == KEPT[0]
    assert train.lines("src") == [line(n, "zahl") for n in range(LINES)]


def test_several_compressed_sets_follow_each_other(project: Project) -> None:
    for language in ("de", "en"):
        packed = project.folder / f"more.{language}.gz"
        packed.write_bytes(gzip.compress(f"more in {language}\n".encode()))
    project.settings["data"]["train"] = ["more", "train"]
    _, train, _, _ = project.prepare()
    assert train.lines("src")[:2] == ["more in de", line(0, "zahl")]
    assert train.lines("tgt")[:2] == ["more in en", line(0, "number")]


def test_test_sets_are_read_as_pairs_by_name(project: Project) -> None:
    project.settings["data"]["test"] = ["valid", "train"]
    sets = load_test_sets(project.config())
    assert list(sets) == ["valid", "train"]
    assert sets["valid"][0] == (line(1000, "zahl"), line(1000, "number"))


def test_no_stage_is_made_anew_under_weights_that_learned_the_old_one(project: Project) -> None:
    project.prepare()
    project.run.checkpoint(1).mkdir(parents=True)
    files = [f for f in project.run.path.rglob("*") if f.is_file()]
    before = {file: file.read_bytes() for file in files}
    with (project.folder / "valid.en").open("a") as english:
        english.write("one more\n")
    with (project.folder / "valid.de").open("a") as german:
        german.write("noch eine\n")
    with pytest.raises(RunError, match="cannot change within a run"):
        project.prepare()
    assert {file: file.read_bytes() for file in files} == before


def test_a_lost_stage_of_a_run_under_way_is_made_again(project: Project) -> None:
    model = project.prepare()[0].src.model
    project.run.checkpoint(1).mkdir(parents=True)
    project.run.tokenizer_joint.unlink()
    (project.run.corpus / "train" / "meta.json").unlink()
    assert project.prepare()[0].src.model == model


@pytest.mark.parametrize("calls", [1, 2])
@pytest.mark.parametrize(
    ("name", "lines", "message"),
    [
        ("train", [], r"data\.train: must hold at least one pair"),
        ("train", ["", " "], r"the training text is empty|holds none \(2 blank\)"),
        ("valid", [], r"data\.valid: must hold at least one pair, holds none \(empty\)"),
    ],
)
def test_empty_text_is_an_error_each_time(
    project: Project, name: str, lines: list[str], message: str, calls: int
) -> None:
    for language in ("de", "en"):
        write(project.folder / f"{name}.{language}", lines)
    for _ in range(calls):
        with pytest.raises(DataError, match=message):
            project.prepare()


@pytest.mark.parametrize("calls", [1, 2])
def test_dropping_every_pair_is_an_error_each_time(project: Project, calls: int) -> None:
    project.settings["data"]["max_length"] = 1
    for _ in range(calls):
        with pytest.raises(DataError, match=rf"data\.train: .*\({LINES} over 1 tokens\)"):
            project.prepare()


def test_unequal_sides_are_an_error_before_anything_is_written(project: Project) -> None:
    write(project.folder / "train.en", ["only one"])
    with pytest.raises(DataError, match=f"train.de has {LINES}, .*train.en has 1"):
        project.prepare()
    assert not project.run.tokenizer_joint.exists()


def test_missing_text_is_found_before_any_stage(project: Project) -> None:
    (project.folder / "train.de").unlink()
    project.config()  # writes the file
    with pytest.raises(ConfigError, match=r"a\.yaml:\d+: data\.train\.0: no such file"):
        load_config(project.folder / "a.yaml", check_files=True)
