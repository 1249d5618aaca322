"""The tokenizer stage builds tokenizers if they are missing or outdated, and logs it."""

from __future__ import annotations

import os
import re
from typing import Any

import pytest

from nmt.config.loader import load_config
from nmt.errors import ConfigError, DataError, RunError
from tests.support.data.stage_project import (
    LINES,
    UNCHANGED,
    Project,
    change_first_line,
    make_line,
    write_lines,
)


def test_stages_first_call_builds_both(project: Project) -> None:
    tokenizers, train, valid, log = project.prepare()
    assert tokenizers.is_joint
    assert train.lines("src") == [make_line(n, "zahl") for n in range(LINES)]
    assert valid.lines("tgt") == [make_line(n, "number") for n in range(1000, 1010)]
    size = tokenizers.src.vocab_size
    assert log == [
        f"tokenizer: unigram, both sides, {size} pieces from {2 * LINES} lines "
        "(the text is too small for 8000)",
        f"corpus: {LINES} training pairs, 10 validation pairs",
    ]


@pytest.mark.parametrize("valid", ["valid", 10])
@pytest.mark.parametrize("touched", [False, True])
def test_stages_second_call_writes_nothing(
    project: Project, valid: str | int, touched: bool
) -> None:
    project.settings["data"]["valid"] = valid
    _, train, _, _ = project.prepare()
    before = project.file_versions(project.run.path)
    if touched:
        os.utime(project.folder / "train.de", (1, 1))
    _, second_train, _, log = project.prepare()
    assert log == UNCHANGED
    assert project.file_versions(project.run.path) == before
    assert second_train.lines("src") == train.lines("src")


def test_stages_changed_training_text_rebuilds_both(project: Project) -> None:
    project.prepare()
    change_first_line(project.folder / "train.de")
    tokenizers, train, valid, log = project.prepare()
    assert not set(log) & set(UNCHANGED)
    assert train.lines("src")[0].endswith(" END")
    for side, tokenizer in (("src", tokenizers.src), ("tgt", tokenizers.tgt)):
        assert valid.row(side, 3).tolist() == tokenizer.encode(valid.lines(side)[3:4])[0]
    assert project.prepare().log == UNCHANGED


def test_stages_ignore_decode_and_training_settings(project: Project) -> None:
    project.prepare()
    project.settings |= {"decode": {"beam_size": 2}, "train": {"lr": 0.5}, "model": {"d_embed": 4}}
    assert project.prepare().log == UNCHANGED


@pytest.mark.parametrize(
    "tokenizer", [{"type": "bpe"}, {"vocab_size": 380}, {"joint": False}, {"sample_lines": 50}]
)
def test_stages_other_tokenizer_rebuilds_both(project: Project, tokenizer: dict[str, Any]) -> None:
    old = project.prepare().tokenizers
    project.settings["tokenizer"] = tokenizer
    new, train, _, log = project.prepare()
    assert not set(log) & set(UNCHANGED)
    assert new.src.model != old.src.model
    assert train.row("src", 5).tolist() == new.src.encode([make_line(5, "zahl")])[0]


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
    assert tokenizers.tgt.decode(train.row("tgt", 3).tolist()) == make_line(3, "number")


def test_ensure_tokenizers_vocab_size_is_exact(project: Project) -> None:
    project.settings["tokenizer"] = {"vocab_size": 380}
    assert project.prepare().tokenizers.src.vocab_size == 380
    project.settings["tokenizer"] = {"vocab_size": 8000}
    with pytest.raises(DataError, match=r"tokenizer\.vocab_size: expected at most \d+ for both"):
        project.prepare()


def reported_limits(project: Project) -> dict[str, int]:
    """Return the vocabulary sizes that an error names, by side."""
    with pytest.raises(DataError) as caught:
        project.prepare()
    message = str(caught.value)
    assert message.startswith("tokenizer.vocab_size: expected at ")
    limits = re.findall(r"expected at (?:most|least) (\d+) for the (src|tgt) side, got", message)
    return {side: int(size) for size, side in limits}


@pytest.mark.parametrize("size", [1, 50_000])
def test_ensure_tokenizers_vocab_size_reports_possible_sizes(project: Project, size: int) -> None:
    project.settings["tokenizer"] = {"joint": False, "vocab_size": size}
    limits = reported_limits(project)
    assert set(limits) == {"src", "tgt"}
    project.settings["tokenizer"]["vocab_size"] = limits
    tokenizers = project.prepare().tokenizers
    assert {"src": tokenizers.src.vocab_size, "tgt": tokenizers.tgt.vocab_size} == limits


def test_ensure_tokenizers_vocab_size_reports_failing_side(project: Project) -> None:
    project.settings["tokenizer"] = {"joint": False, "vocab_size": {"src": 50_000, "tgt": 350}}
    assert set(reported_limits(project)) == {"src"}
    project.settings["tokenizer"]["vocab_size"] = {"src": 350, "tgt": 345}
    tokenizers = project.prepare().tokenizers
    assert (tokenizers.src.vocab_size, tokenizers.tgt.vocab_size) == (350, 345)
    assert project.prepare().log == UNCHANGED


def test_stages_too_many_held_out_pairs_are_an_error(project: Project) -> None:
    project.settings["data"]["valid"] = LINES
    with pytest.raises(DataError, match=r"data\.valid: expected at most \d+ pairs, got "):
        project.prepare()


def test_ensure_tokenizers_copies_given_model(project: Project) -> None:
    model = project.prepare().tokenizers.src.model
    model_file = project.folder / "own.model"
    model_file.write_bytes(model)
    project.settings["tokenizer"] = {"model": "own.model", "type": "char"}
    project.run.path.rename(project.folder / "old")
    tokenizers, _, _, log = project.prepare()
    assert project.run.tokenizer_joint.read_bytes() == model == tokenizers.src.model
    assert not any(text.startswith("tokenizer: char") for text in log)
    model_file.unlink()
    model_file.write_bytes((project.folder / "old" / "tokenizer.model").read_bytes())
    assert project.prepare().log == UNCHANGED


def test_ensure_tokenizers_copies_two_given_models(project: Project) -> None:
    project.settings["tokenizer"] = {"joint": False}
    old = project.prepare().tokenizers
    for name, side in (("a", old.src), ("b", old.tgt)):
        (project.folder / name).write_bytes(side.model)
    project.settings["tokenizer"] = {"joint": False, "model": {"src": "b", "tgt": "a"}}
    new = project.prepare().tokenizers
    assert (new.src.model, new.tgt.model) == (old.tgt.model, old.src.model)
    (project.folder / "b").write_bytes(old.src.model)
    assert project.prepare().tokenizers.src.model == old.src.model


def test_ensure_tokenizers_invalid_model_is_named(project: Project) -> None:
    (project.folder / "own.model").write_text("nothing of the kind")
    project.settings["tokenizer"] = {"model": "own.model"}
    with pytest.raises(DataError, match=r"own\.model: expected a SentencePiece model"):
        project.prepare()


def test_ensure_tokenizers_rebuilds_missing_model(project: Project) -> None:
    model = project.prepare().tokenizers.src.model
    project.run.tokenizer_joint.unlink()
    assert project.prepare().tokenizers.src.model == model


def test_stages_with_weights_refuse_changed_text(project: Project) -> None:
    project.prepare()
    project.run.checkpoint(1).mkdir(parents=True)
    existing = [f for f in project.run.path.rglob("*") if f.is_file()]
    before = {file: file.read_bytes() for file in existing}
    with (project.folder / "valid.en").open("a") as english:
        english.write("one more\n")
    with (project.folder / "valid.de").open("a") as german:
        german.write("noch eine\n")
    with pytest.raises(RunError, match="cannot change within a run"):
        project.prepare()
    assert {file: file.read_bytes() for file in existing} == before


def test_stages_with_weights_rebuild_missing_files(project: Project) -> None:
    model = project.prepare().tokenizers.src.model
    project.run.checkpoint(1).mkdir(parents=True)
    project.run.tokenizer_joint.unlink()
    (project.run.corpus / "train" / "0" / "meta.json").unlink()
    tokenizers, train, _, _ = project.prepare()
    assert tokenizers.src.model == model
    assert train.lines("src") == [make_line(n, "zahl") for n in range(LINES)]


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
        write_lines(project.folder / f"{name}.{language}", lines)
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
    write_lines(project.folder / "train.en", ["only one"])
    with pytest.raises(DataError, match=f"{LINES} in .*train.de and 1 in .*train.en"):
        project.prepare()
    assert not project.run.tokenizer_joint.exists()


def test_load_config_reports_missing_text(project: Project) -> None:
    (project.folder / "train.de").unlink()
    project.config()  # writes the file
    with pytest.raises(ConfigError, match=r"a\.yaml:\d+: data\.train\.0: no such file"):
        load_config(project.folder / "a.yaml", check_files=True)
