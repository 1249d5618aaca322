"""Tokenizer and corpus are made when due, kept when nothing changed, and say which."""

from __future__ import annotations

import gzip
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from nastytext import demo_lines

from nmt.config.loader import load_config
from nmt.config.schema import Config
from nmt.core import files
from nmt.core.run_dir import RunDir
from nmt.data.corpus.configured_text import load_test_sets
from nmt.data.corpus.corpus import Corpus
from nmt.data.corpus.corpus_stage import ensure_corpus
from nmt.data.corpus.tokenizer_stage import ensure_tokenizers
from nmt.data.tokenizer.tokenizer import Tokenizers
from nmt.errors import ConfigError, DataError, RunError

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


def test_stages_first_call_builds_both(project: Project) -> None:
    tokenizers, train, valid, said = project.prepare()
    assert tokenizers.is_joint
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
def test_stages_second_call_writes_nothing(project: Project, valid: str | int, touched: bool) -> None:
    project.settings["data"]["valid"] = valid
    _, train, _, _ = project.prepare()
    before = project.written(project.run.path)
    if touched:
        os.utime(project.folder / "train.de", (1, 1))
    _, again, _, said = project.prepare()
    assert said == KEPT
    assert project.written(project.run.path) == before
    assert again.lines("src") == train.lines("src")


def change(file: Path) -> None:
    """Change the first line of a text; it has as many bytes as before."""
    file.write_bytes(file.read_bytes().replace(b" end", b" END", 1))
    os.utime(file, (1, 1))


def changed_folders(before: dict[str, tuple[int, int]], project: Project) -> set[str]:
    """Return which text sets of the corpus were written since, such as train/0."""
    after = project.written(project.run.corpus)
    changed = {path for path in {*before, *after} if before.get(path) != after.get(path)}
    places = [Path(path).relative_to(project.run.corpus).parts for path in changed]
    return {"/".join(place[:2]) for place in places}


def test_ensure_corpus_counts_multi_sentence_lines(project: Project) -> None:
    lines = [line(n, "Zwei Hunde. Sie schlafen" if n < LINES // 4 else "a") for n in range(LINES)]
    write(project.folder / "train.de", lines)
    assert project.prepare()[1].multi_sentence_share() == 0.25
    _, train, _, said = project.prepare()
    assert said == KEPT
    assert train.multi_sentence_share() == 0.25


def test_multi_sentence_share_of_old_corpus_is_none(project: Project) -> None:
    train = project.prepare()[1]
    [meta] = train.metas
    del meta["multi_sentence"]  # as written by older releases
    assert train.multi_sentence_share() is None


def test_stages_changed_training_text_rebuilds_both(project: Project) -> None:
    project.prepare()
    change(project.folder / "train.de")
    tokenizers, train, valid, said = project.prepare()
    assert not set(said) & set(KEPT)
    assert train.lines("src")[0].endswith(" END")
    for side, tokenizer in (("src", tokenizers.src), ("tgt", tokenizers.tgt)):
        assert valid.row(side, 3).tolist() == tokenizer.encode(valid.lines(side)[3:4])[0]
    assert project.prepare()[3] == KEPT


def test_ensure_corpus_rebuilds_changed_validation_text(project: Project) -> None:
    project.prepare()
    before = project.written(project.run.corpus)
    change(project.folder / "valid.en")
    _, train, valid, said = project.prepare()
    assert said == [
        KEPT[0],
        f"corpus: {project.folder / 'train.de'} unchanged, kept",
        f"corpus: {LINES} training pairs, 10 validation pairs",
    ]
    assert valid.lines("tgt")[0].endswith(" END")
    assert len(train) == LINES
    assert changed_folders(before, project) == {"valid/0"}
    assert project.prepare()[3] == KEPT


@pytest.fixture
def three(project: Project) -> Project:
    """Three training sets, cut by a tokenizer that does not change with them."""
    project.prepare()
    (project.folder / "own.model").write_bytes(project.run.tokenizer_joint.read_bytes())
    files.remove_folder(project.run.path)
    for name in ("a", "b", "c"):
        for language in ("de", "en"):
            write(project.folder / f"{name}.{language}", [line(n, name) for n in range(5)])
    project.settings["data"]["train"] = ["a", "b", "c"]
    project.settings["tokenizer"] = {"model": "own.model"}
    project.prepare()
    return project


@pytest.mark.parametrize("name", ["b.de", "b.en"])
def test_ensure_corpus_rebuilds_only_changed_set(three: Project, name: str) -> None:
    before = three.written(three.run.corpus)
    change(three.folder / name)
    _, train, _, said = three.prepare()
    assert changed_folders(before, three) == {"train/1"}
    kept = [
        f"corpus: {three.folder / file} unchanged, kept" for file in ("a.de", "c.de", "valid.de")
    ]
    assert said == [KEPT[0], *kept, "corpus: 15 training pairs, 10 validation pairs"]
    side = "src" if name == "b.de" else "tgt"
    assert [i for i, text in enumerate(train.lines(side)) if text.endswith(" END")] == [5]
    assert three.prepare()[3] == KEPT


def test_ensure_corpus_adds_and_deletes_sets(three: Project) -> None:
    before = three.written(three.run.corpus)
    three.settings["data"]["train"] = ["a", "b"]
    assert len(three.prepare()[1]) == 10
    assert changed_folders(before, three) == {"train/2"}
    assert sorted(path.name for path in (three.run.corpus / "train").iterdir()) == ["0", "1"]
    before = three.written(three.run.corpus)
    three.settings["data"]["train"] = ["a", "b", "train"]
    assert three.prepare()[1].sizes == [5, 5, LINES]
    assert changed_folders(before, three) == {"train/2"}


@pytest.mark.parametrize("train", [["a", "b"], ["a", "b", "c", "train"], ["b", "a", "c"]])
def test_ensure_corpus_refuses_other_sets_with_weights(
    three: Project, train: list[str]
) -> None:
    three.run.checkpoint(1).mkdir(parents=True)
    before = three.written(three.run.path)
    three.settings["data"]["train"] = train
    with pytest.raises(RunError, match="cannot change within a run"):
        three.prepare()
    assert three.written(three.run.path) == before


def test_ensure_corpus_holds_out_of_all_sets(three: Project) -> None:
    three.settings["data"]["valid"] = 6
    _, train, valid, _ = three.prepare()
    whole = sorted(line(n, name) for name in "abc" for n in range(5))
    assert sorted(train.lines("src") + valid.lines("src")) == whole
    assert len(valid) == sum(valid.sizes) == 6
    assert three.prepare()[3] == KEPT
    change(three.folder / "c.de")
    _, train, valid, said = three.prepare()
    assert not any("corpus" in text and "kept" in text for text in said)
    assert len({*train.lines("src"), *valid.lines("src")}) == 15


def test_ensure_corpus_duplicates_depend_on_earlier_sets(three: Project) -> None:
    three.settings["data"]["clean"] = {"duplicates": "src"}
    for name in ("b", "c"):
        file = three.folder / f"{name}.de"
        write(file, [line(n, "a") for n in range(2)] + [line(n, name) for n in range(3)])
    _, train, _, _ = three.prepare()
    assert train.sizes == [5, 3, 3]
    assert train.dropped() == {"duplicate src": 4}
    change(three.folder / "a.de")
    _, train, _, _ = three.prepare()
    assert train.sizes == [5, 4, 3], "the first line of b stands in a no more, that of c in b"
    assert three.prepare()[3] == KEPT
    (three.run.corpus / "train" / "1" / "meta.json").unlink()
    assert three.prepare()[1].sizes == [5, 4, 3]


def test_ensure_corpus_rebuilds_set_of_changed_alignments(three: Project) -> None:
    for name in ("a", "b", "c"):
        write(three.folder / f"{name}.align", ["0-0"] * 5)
    three.settings["data"]["alignments"] = ["a.align", "b.align", "c.align"]
    three.settings["train"] = {"guided_alignment": 1.0}
    _, train, _, _ = three.prepare()
    before = three.written(three.run.corpus)
    links = train.links(7).tolist()
    assert links
    write(three.folder / "b.align", ["0-0", "0-0", ""] + ["0-0"] * 2)
    _, train, _, said = three.prepare()
    assert said[0] == KEPT[0]
    assert changed_folders(before, three) == {"train/1"}
    assert train.links(7).tolist() == []
    assert train.links(6).tolist() != []


def test_ensure_corpus_tag_ids_follow_all_tags(three: Project) -> None:
    """A changed tag of one set can move the tags of the others, and their text goes along."""
    sets = [{"prefix": name, "tags": {"to": "north"}} for name in ("a", "b")]
    three.settings["data"] |= {"train": sets, "valid": {"prefix": "valid", "tags": {"to": "north"}}}
    tokenizers, train, valid, _ = three.prepare()
    first, second = ((piece,) for piece in tokenizers.src.reserved[:2])
    assert (train.tags, valid.tags) == ([first, first], [first])
    three.settings["data"]["train"][0]["tags"]["to"] = "south"
    _, train, valid, _ = three.prepare()
    assert (train.tags, valid.tags) == ([first, second], [second])
    assert train.row("src", 5)[0] == valid.row("src", 0)[0] == second[0]


def test_ensure_corpus_max_length_rebuilds_training_text(project: Project) -> None:
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
        f"corpus: {project.folder / 'valid.de'} unchanged, kept",
        f"corpus: {LINES - long} training pairs, 10 validation pairs",
        f"corpus: {long} training pairs dropped, over {limit} tokens",
        f"corpus: dropped pairs are listed in {project.run.corpus / 'train' / '0' / 'dropped.tsv'}",
    ]
    after = project.written(project.run.path)
    kept = {path for path in before if after.get(path) == before[path]}
    valid_files = {path for path in before if "/corpus/valid/" in path}
    assert kept == {str(project.run.tokenizer_joint), str(project.run.tokenizer_meta), *valid_files}


def test_stages_ignore_decode_and_training_settings(project: Project) -> None:
    project.prepare()
    project.settings |= {"decode": {"beam_size": 2}, "train": {"lr": 0.5}, "model": {"d_embed": 4}}
    assert project.prepare()[3] == KEPT


@pytest.mark.parametrize(
    "tokenizer", [{"type": "bpe"}, {"vocab_size": 380}, {"joint": False}, {"sample_lines": 50}]
)
def test_stages_other_tokenizer_rebuilds_both(project: Project, tokenizer: dict[str, Any]) -> None:
    old = project.prepare()[0]
    project.settings["tokenizer"] = tokenizer
    new, train, _, said = project.prepare()
    assert not set(said) & set(KEPT)
    assert new.src.model != old.src.model
    assert train.row("src", 5).tolist() == new.src.encode([line(5, "zahl")])[0]


@pytest.mark.parametrize("joint", [True, False])
def test_ensure_tokenizers_joint_decides_number_of_models(project: Project, joint: bool) -> None:
    project.settings["tokenizer"] = {"joint": not joint}
    project.prepare()
    project.settings["tokenizer"] = {"joint": joint}
    tokenizers, train, _, _ = project.prepare()
    assert tokenizers.is_joint is joint
    assert (tokenizers.src.model == tokenizers.tgt.model) is joint
    models = {path.name for path in project.run.path.glob("*.model")}
    assert models == (
        {"tokenizer.model"} if joint else {"tokenizer.src.model", "tokenizer.tgt.model"}
    )
    assert tokenizers.tgt.decode(train.row("tgt", 3).tolist()) == line(3, "number")


def test_ensure_tokenizers_vocab_size_is_exact(project: Project) -> None:
    project.settings["tokenizer"] = {"vocab_size": 380}
    assert project.prepare()[0].src.vocab_size == 380
    project.settings["tokenizer"] = {"vocab_size": 8000}
    with pytest.raises(DataError, match=r"tokenizer\.vocab_size: expected at most \d+ for both"):
        project.prepare()


def limits_of(project: Project) -> dict[str, int]:
    """Return the vocabulary sizes that an error names, by side."""
    with pytest.raises(DataError) as caught:
        project.prepare()
    message = str(caught.value)
    assert message.startswith("tokenizer.vocab_size: expected at ")
    found = re.findall(r"expected at (?:most|least) (\d+) for the (src|tgt) side, got", message)
    return {side: int(size) for size, side in found}


@pytest.mark.parametrize("size", [1, 50_000])
def test_vocab_size_error_reports_limits_of_both_sides(project: Project, size: int) -> None:
    project.settings["tokenizer"] = {"joint": False, "vocab_size": size}
    limits = limits_of(project)
    assert set(limits) == {"src", "tgt"}
    project.settings["tokenizer"]["vocab_size"] = limits
    tokenizers = project.prepare()[0]
    assert {"src": tokenizers.src.vocab_size, "tgt": tokenizers.tgt.vocab_size} == limits


def test_vocab_size_per_side_reports_failing_side(project: Project) -> None:
    project.settings["tokenizer"] = {"joint": False, "vocab_size": {"src": 50_000, "tgt": 350}}
    assert set(limits_of(project)) == {"src"}
    project.settings["tokenizer"]["vocab_size"] = {"src": 350, "tgt": 345}
    tokenizers = project.prepare()[0]
    assert (tokenizers.src.vocab_size, tokenizers.tgt.vocab_size) == (350, 345)
    assert project.prepare()[3] == KEPT


def test_ensure_corpus_held_out_pairs_are_stable(project: Project) -> None:
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


def test_stages_too_many_held_out_pairs_are_an_error(project: Project) -> None:
    project.settings["data"]["valid"] = LINES
    with pytest.raises(DataError, match=r"data\.valid: expected at most \d+ pairs, got "):
        project.prepare()


def test_ensure_tokenizers_copies_given_model(project: Project) -> None:
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


def test_ensure_tokenizers_copies_two_given_models(project: Project) -> None:
    project.settings["tokenizer"] = {"joint": False}
    old = project.prepare()[0]
    for name, side in (("a", old.src), ("b", old.tgt)):
        (project.folder / name).write_bytes(side.model)
    project.settings["tokenizer"] = {"joint": False, "model": {"src": "b", "tgt": "a"}}
    new = project.prepare()[0]
    assert (new.src.model, new.tgt.model) == (old.tgt.model, old.src.model)
    (project.folder / "b").write_bytes(old.src.model)
    assert project.prepare()[0].src.model == old.src.model


def test_ensure_tokenizers_invalid_model_is_named(project: Project) -> None:
    (project.folder / "own.model").write_text("nothing of the kind")
    project.settings["tokenizer"] = {"model": "own.model"}
    with pytest.raises(DataError, match=r"own\.model: expected a SentencePiece model"):
        project.prepare()


def test_ensure_tokenizers_rebuilds_missing_model(project: Project) -> None:
    model = project.prepare()[0].src.model
    project.run.tokenizer_joint.unlink()
    assert project.prepare()[0].src.model == model


@pytest.mark.parametrize(
    "name",
    ["00000/src.tokens.npy", "00000/tgt.offsets.npy", "00000/src.txt", "meta.json"],
)
def test_ensure_corpus_rebuilds_missing_file(project: Project, name: str) -> None:
    project.prepare()
    (project.run.corpus / "train" / "0" / name).unlink()
    _, train, _, said = project.prepare()
    assert said[0] == KEPT[0]
    assert train.lines("src") == [line(n, "zahl") for n in range(LINES)]


def test_ensure_corpus_concatenates_compressed_sets(project: Project) -> None:
    for language in ("de", "en"):
        packed = project.folder / f"more.{language}.gz"
        packed.write_bytes(gzip.compress(f"more in {language}\n".encode()))
    project.settings["data"]["train"] = ["more", "train"]
    _, train, _, _ = project.prepare()
    assert train.lines("src")[:2] == ["more in de", line(0, "zahl")]
    assert train.lines("tgt")[:2] == ["more in en", line(0, "number")]


def test_load_test_sets_returns_pairs_by_name(project: Project) -> None:
    project.settings["data"]["test"] = ["valid", "train"]
    sets = load_test_sets(project.config())
    assert list(sets) == ["valid", "train"]
    assert sets["valid"].pairs[0] == (line(1000, "zahl"), line(1000, "number"))
    assert len(sets["train"].pairs) == LINES
    assert (sets["valid"].tags, sets["valid"].language) == ({}, "en")


def test_stages_with_weights_refuse_changed_text(project: Project) -> None:
    project.prepare()
    project.run.checkpoint(1).mkdir(parents=True)
    there = [f for f in project.run.path.rglob("*") if f.is_file()]
    before = {file: file.read_bytes() for file in there}
    with (project.folder / "valid.en").open("a") as english:
        english.write("one more\n")
    with (project.folder / "valid.de").open("a") as german:
        german.write("noch eine\n")
    with pytest.raises(RunError, match="cannot change within a run"):
        project.prepare()
    assert {file: file.read_bytes() for file in there} == before


def test_stages_with_weights_rebuild_missing_files(project: Project) -> None:
    model = project.prepare()[0].src.model
    project.run.checkpoint(1).mkdir(parents=True)
    project.run.tokenizer_joint.unlink()
    (project.run.corpus / "train" / "0" / "meta.json").unlink()
    tokenizers, train, _, _ = project.prepare()
    assert tokenizers.src.model == model
    assert train.lines("src") == [line(n, "zahl") for n in range(LINES)]


@pytest.mark.parametrize("calls", [1, 2])
@pytest.mark.parametrize(
    ("name", "lines", "message"),
    [
        ("train", [], r"data\.train: expected at least one pair"),
        ("train", ["", " "], r"expected training text for a tokenizer|got none \(2 blank\)"),
        ("valid", [], r"data\.valid: expected at least one pair, got none \(empty\)"),
    ],
)
def test_stages_empty_text_is_an_error_each_time(
    project: Project, name: str, lines: list[str], message: str, calls: int
) -> None:
    for language in ("de", "en"):
        write(project.folder / f"{name}.{language}", lines)
    for _ in range(calls):
        with pytest.raises(DataError, match=message):
            project.prepare()


@pytest.mark.parametrize("calls", [1, 2])
def test_stages_dropping_all_pairs_is_an_error_each_time(project: Project, calls: int) -> None:
    project.settings["data"]["max_length"] = 1
    for _ in range(calls):
        with pytest.raises(DataError, match=rf"data\.train: .*\({LINES} over 1 tokens\)"):
            project.prepare()


def test_stages_unequal_sides_write_nothing(project: Project) -> None:
    write(project.folder / "train.en", ["only one"])
    with pytest.raises(DataError, match=f"{LINES} in .*train.de and 1 in .*train.en"):
        project.prepare()
    assert not project.run.tokenizer_joint.exists()


def test_load_config_reports_missing_text(project: Project) -> None:
    (project.folder / "train.de").unlink()
    project.config()  # writes the file
    with pytest.raises(ConfigError, match=r"a\.yaml:\d+: data\.train\.0: no such file"):
        load_config(project.folder / "a.yaml", check_files=True)


@pytest.mark.parametrize("valid", ["valid", 50])
def test_stages_drop_misaligned_blocks(tmp_path: Path, valid: str | int) -> None:
    """Validation text that is split off the training text is not filtered."""
    for side in ("en", "fr"):
        text = demo_lines(f"train.{side}")[:1000]
        if side == "fr":
            text[500:700] = [*text[501:700], text[500]]
        write(tmp_path / f"train.{side}", text)
        write(tmp_path / f"valid.{side}", demo_lines(f"valid.{side}"))
    data = {"src": "en", "tgt": "fr", "train": ["train"], "valid": valid}
    project = Project(tmp_path, {"data": {**data, "clean": {"misaligned": True}}})
    _, train, held_out, _ = project.prepare()
    [(reason, count)] = train.dropped().items()
    assert reason == "misaligned, translation 1 line up"
    if valid == "valid":
        assert abs(count - 199) <= 3
        assert len(train) == 1000 - count
    else:
        assert len(held_out) == 50
        assert len(train) == 950 - count
        assert 150 <= count < 199
    assert project.prepare()[3] == KEPT


def test_stages_keep_runs_without_misaligned_setting(project: Project) -> None:
    """Their records lack the key, so settings without this filter do not record it."""
    project.settings["data"]["clean"] = {"copies": True}
    project.prepare()
    for record in (project.run.tokenizer_meta, *project.run.corpus.rglob("meta.json")):
        assert "misaligned" not in record.read_text()
    project.settings["data"]["clean"] = {"copies": True, "misaligned": True}
    assert "corpus: unchanged, kept" not in project.prepare()[3]
    assert "misaligned" in project.run.tokenizer_meta.read_text()
