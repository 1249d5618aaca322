"""The corpus stage builds text sets that are missing or outdated, and logs it."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from nmt.core import files
from nmt.data.corpus.configured_text import load_test_sets
from nmt.data.tokenizer.tokenizer import TagIds
from nmt.errors import RunError
from tests.support.data.difficult_text import demo_lines
from tests.support.data.stage_project import (
    LINES,
    UNCHANGED,
    Project,
    change_first_line,
    make_line,
    write_lines,
)


def changed_folders(before: dict[str, tuple[int, int]], project: Project) -> set[str]:
    """Return the text sets that were written since `before`, such as train/0."""
    after = project.file_versions(project.run.corpus)
    changed = {path for path in {*before, *after} if before.get(path) != after.get(path)}
    paths = [Path(path).relative_to(project.run.corpus).parts for path in changed]
    return {"/".join(parts[:2]) for parts in paths}


def test_ensure_corpus_counts_multi_sentence_lines(project: Project) -> None:
    lines = [
        make_line(n, "Zwei Hunde. Sie schlafen" if n < LINES // 4 else "a") for n in range(LINES)
    ]
    write_lines(project.folder / "train.de", lines)
    assert project.prepare().train.multi_sentence_share() == 0.25
    _, train, _, log = project.prepare()
    assert log == UNCHANGED
    assert train.multi_sentence_share() == 0.25


def test_multi_sentence_share_of_old_corpus_is_none(project: Project) -> None:
    train = project.prepare().train
    [meta] = train.metas
    del meta["multi_sentence"]  # as written by older releases
    assert train.multi_sentence_share() is None


def test_ensure_corpus_rebuilds_changed_validation_text(project: Project) -> None:
    project.prepare()
    before = project.file_versions(project.run.corpus)
    change_first_line(project.folder / "valid.en")
    _, train, valid, log = project.prepare()
    assert log == [
        UNCHANGED[0],
        f"corpus: {project.folder / 'train.de'} unchanged, kept",
        f"corpus: {LINES} training pairs, 10 validation pairs",
    ]
    assert valid.lines("tgt")[0].endswith(" END")
    assert len(train) == LINES
    assert changed_folders(before, project) == {"valid/0"}
    assert project.prepare().log == UNCHANGED


@pytest.fixture
def three_sets(project: Project) -> Project:
    """Return a project with three training sets and a given tokenizer."""
    project.prepare()
    (project.folder / "own.model").write_bytes(project.run.tokenizer_joint.read_bytes())
    files.remove_folder(project.run.path)
    for name in ("a", "b", "c"):
        for language in ("de", "en"):
            write_lines(
                project.folder / f"{name}.{language}", [make_line(n, name) for n in range(5)]
            )
    project.settings["data"]["train"] = ["a", "b", "c"]
    project.settings["tokenizer"] = {"model": "own.model"}
    project.prepare()
    return project


@pytest.mark.parametrize("name", ["b.de", "b.en"])
def test_ensure_corpus_rebuilds_only_changed_set(three_sets: Project, name: str) -> None:
    before = three_sets.file_versions(three_sets.run.corpus)
    change_first_line(three_sets.folder / name)
    _, train, _, log = three_sets.prepare()
    assert changed_folders(before, three_sets) == {"train/1"}
    unchanged = [
        f"corpus: {three_sets.folder / file} unchanged, kept"
        for file in ("a.de", "c.de", "valid.de")
    ]
    assert log == [UNCHANGED[0], *unchanged, "corpus: 15 training pairs, 10 validation pairs"]
    side = "src" if name == "b.de" else "tgt"
    assert [i for i, text in enumerate(train.lines(side)) if text.endswith(" END")] == [5]
    assert three_sets.prepare().log == UNCHANGED


def test_ensure_corpus_adds_and_deletes_sets(three_sets: Project) -> None:
    before = three_sets.file_versions(three_sets.run.corpus)
    three_sets.settings["data"]["train"] = ["a", "b"]
    assert len(three_sets.prepare().train) == 10
    assert changed_folders(before, three_sets) == {"train/2"}
    assert sorted(path.name for path in (three_sets.run.corpus / "train").iterdir()) == ["0", "1"]
    before = three_sets.file_versions(three_sets.run.corpus)
    three_sets.settings["data"]["train"] = ["a", "b", "train"]
    assert three_sets.prepare().train.sizes == [5, 5, LINES]
    assert changed_folders(before, three_sets) == {"train/2"}


@pytest.mark.parametrize("train", [["a", "b"], ["a", "b", "c", "train"], ["b", "a", "c"]])
def test_ensure_corpus_refuses_other_sets_with_weights(
    three_sets: Project, train: list[str]
) -> None:
    three_sets.run.checkpoint(1).mkdir(parents=True)
    before = three_sets.file_versions(three_sets.run.path)
    three_sets.settings["data"]["train"] = train
    with pytest.raises(RunError, match="cannot change within a run"):
        three_sets.prepare()
    assert three_sets.file_versions(three_sets.run.path) == before


def test_ensure_corpus_holds_out_of_all_sets(three_sets: Project) -> None:
    three_sets.settings["data"]["valid"] = 6
    _, train, valid, _ = three_sets.prepare()
    all_lines = sorted(make_line(n, name) for name in "abc" for n in range(5))
    assert sorted(train.lines("src") + valid.lines("src")) == all_lines
    assert len(valid) == sum(valid.sizes) == 6
    assert three_sets.prepare().log == UNCHANGED
    change_first_line(three_sets.folder / "c.de")
    _, train, valid, log = three_sets.prepare()
    assert not any("corpus" in text and "kept" in text for text in log)
    assert len({*train.lines("src"), *valid.lines("src")}) == 15


def test_ensure_corpus_duplicates_depend_on_earlier_sets(three_sets: Project) -> None:
    three_sets.settings["data"]["clean"] = {"duplicates": "src"}
    for name in ("b", "c"):
        file = three_sets.folder / f"{name}.de"
        write_lines(
            file, [make_line(n, "a") for n in range(2)] + [make_line(n, name) for n in range(3)]
        )
    _, train, _, _ = three_sets.prepare()
    assert train.sizes == [5, 3, 3]
    assert train.dropped() == {"duplicate src": 4}
    change_first_line(three_sets.folder / "a.de")
    _, train, _, _ = three_sets.prepare()
    assert train.sizes == [5, 4, 3], "the first line of b is no longer in a; that of c is in b"
    assert three_sets.prepare().log == UNCHANGED
    (three_sets.run.corpus / "train" / "1" / "meta.json").unlink()
    assert three_sets.prepare().train.sizes == [5, 4, 3]


def test_ensure_corpus_rebuilds_set_of_changed_alignments(three_sets: Project) -> None:
    for name in ("a", "b", "c"):
        write_lines(three_sets.folder / f"{name}.align", ["0-0"] * 5)
    three_sets.settings["data"]["alignments"] = ["a.align", "b.align", "c.align"]
    three_sets.settings["train"] = {"guided_alignment": 1.0}
    _, train, _, _ = three_sets.prepare()
    before = three_sets.file_versions(three_sets.run.corpus)
    links = train.links(7).tolist()
    assert links
    write_lines(three_sets.folder / "b.align", ["0-0", "0-0", ""] + ["0-0"] * 2)
    _, train, _, log = three_sets.prepare()
    assert log[0] == UNCHANGED[0]
    assert changed_folders(before, three_sets) == {"train/1"}
    assert train.links(7).tolist() == []
    assert train.links(6).tolist() != []


def test_ensure_corpus_tag_ids_follow_all_tags(three_sets: Project) -> None:
    """A changed tag of one set changes the tag ids of other sets, which are then rebuilt."""
    sets = [{"prefix": name, "tags": {"to": "north"}} for name in ("a", "b")]
    three_sets.settings["data"] |= {
        "train": sets,
        "valid": {"prefix": "valid", "tags": {"to": "north"}},
    }
    tokenizers, train, valid, _ = three_sets.prepare()
    first, second = (TagIds((piece,)) for piece in tokenizers.src.reserved[:2])
    assert (train.tags, valid.tags) == ([first, first], [first])
    three_sets.settings["data"]["train"][0]["tags"]["to"] = "south"
    _, train, valid, _ = three_sets.prepare()
    assert (train.tags, valid.tags) == ([first, second], [second])
    assert train.row("src", 5)[0] == valid.row("src", 0)[0] == second.src[0]


def test_ensure_corpus_max_length_rebuilds_training_text(project: Project) -> None:
    write_lines(
        project.folder / "train.en", [make_line(n, "number") + " !" * n for n in range(LINES)]
    )
    _, train, _, _ = project.prepare()
    before = project.file_versions(project.run.path)
    limit = int(np.median(train.lengths("tgt")))
    project.settings["data"]["max_length"] = limit
    num_long = int(np.sum(np.maximum(train.lengths("src"), train.lengths("tgt")) > limit))
    assert 0 < num_long < LINES
    _, train, valid, log = project.prepare()
    assert (len(train), len(valid)) == (LINES - num_long, 10)
    assert log == [
        UNCHANGED[0],
        f"corpus: {project.folder / 'valid.de'} unchanged, kept",
        f"corpus: {LINES - num_long} training pairs, 10 validation pairs",
        f"corpus: {num_long} training pairs dropped, over {limit} tokens",
        f"corpus: dropped pairs are listed in {project.run.corpus / 'train' / '0' / 'dropped.tsv'}",
    ]
    after = project.file_versions(project.run.path)
    unchanged = {path for path in before if after.get(path) == before[path]}
    valid_files = {path for path in before if "/corpus/valid/" in path}
    assert unchanged == {
        str(project.run.tokenizer_joint),
        str(project.run.tokenizer_meta),
        *valid_files,
    }


def test_ensure_corpus_held_out_pairs_are_stable(project: Project) -> None:
    project.settings["data"]["valid"] = 20
    _, train, valid, log = project.prepare()
    assert log[0].endswith(f"from {2 * (LINES - 20)} lines (the text is too small for 8000)")
    assert (len(train), len(valid)) == (LINES - 20, 20)
    for side in ("src", "tgt"):
        assert not set(train.lines(side)) & set(valid.lines(side))
    held_out = valid.lines("src")
    project.settings["data"]["max_length"] = 190
    assert project.prepare().valid.lines("src") == held_out
    project.settings["train"] = {"seed": 2}
    assert project.prepare().valid.lines("src") != held_out


@pytest.mark.parametrize(
    "name",
    ["00000/src.tokens.npy", "00000/tgt.offsets.npy", "00000/src.txt", "meta.json"],
)
def test_ensure_corpus_rebuilds_missing_file(project: Project, name: str) -> None:
    project.prepare()
    (project.run.corpus / "train" / "0" / name).unlink()
    _, train, _, log = project.prepare()
    assert log[0] == UNCHANGED[0]
    assert train.lines("src") == [make_line(n, "zahl") for n in range(LINES)]


def test_ensure_corpus_concatenates_compressed_sets(project: Project) -> None:
    for language in ("de", "en"):
        packed = project.folder / f"more.{language}.gz"
        packed.write_bytes(gzip.compress(f"more in {language}\n".encode()))
    project.settings["data"]["train"] = ["more", "train"]
    _, train, _, _ = project.prepare()
    assert train.lines("src")[:2] == ["more in de", make_line(0, "zahl")]
    assert train.lines("tgt")[:2] == ["more in en", make_line(0, "number")]


def test_load_test_sets_returns_pairs_by_name(project: Project) -> None:
    project.settings["data"]["test"] = ["valid", "train"]
    sets = load_test_sets(project.config())
    assert list(sets) == ["valid", "train"]
    assert sets["valid"].pairs[0] == (make_line(1000, "zahl"), make_line(1000, "number"))
    assert len(sets["train"].pairs) == LINES
    assert (sets["valid"].tags, sets["valid"].language) == ({}, "en")


@pytest.mark.parametrize("valid", ["valid", 50])
def test_stages_misaligned_blocks_are_dropped_from_training(
    tmp_path: Path, valid: str | int
) -> None:
    """Held-out validation pairs are not filtered."""
    for side in ("en", "fr"):
        text = demo_lines(f"train.{side}")[:1000]
        if side == "fr":
            text[500:700] = [*text[501:700], text[500]]
        write_lines(tmp_path / f"train.{side}", text)
        write_lines(tmp_path / f"valid.{side}", demo_lines(f"valid.{side}"))
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
    assert project.prepare().log == UNCHANGED


def test_stages_keep_runs_without_misaligned_setting(project: Project) -> None:
    """Records of older releases lack the key, so it is recorded only if the filter is on."""
    project.settings["data"]["clean"] = {"copies": True}
    project.prepare()
    for record in (project.run.tokenizer_meta, *project.run.corpus.rglob("meta.json")):
        assert "misaligned" not in record.read_text()
    project.settings["data"]["clean"] = {"copies": True, "misaligned": True}
    assert "corpus: unchanged, kept" not in project.prepare().log
    assert "misaligned" in project.run.tokenizer_meta.read_text()
