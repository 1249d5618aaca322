"""What differs between two runs, and only that."""

from __future__ import annotations

from pathlib import Path

from runfolders import CONFIG, valid_record, write_metrics, write_run, write_texts

from nmt.config.loader import load_config
from nmt.core.run_dir import RunDir
from nmt.runs.diff import MOST_ROWS, changed_settings, changed_texts, ends, validations
from nmt.runs.learning_curves import curves
from nmt.runs.summary import summarise
from nmt.runs.training_texts import texts


def test_settings_that_differ_are_named_and_defaults_are_marked(tmp_path: Path) -> None:
    one = write_run(tmp_path / "a")
    other = write_run(
        tmp_path / "b", config=CONFIG.replace("d_hidden: 8", "d_hidden: 16, score: dot")
    )
    configs = [load_config(run.config) for run in (one, other)]
    rows = [row for row in changed_settings(*configs) if not row[0].startswith("data.")]
    assert rows == [
        ("model.score", '"general" (default)', '"dot"'),
        ("model.d_hidden", "8", "16"),
    ]
    assert changed_settings(configs[0], configs[0]) == []


def test_a_default_that_another_run_gives_is_no_difference(tmp_path: Path) -> None:
    plain = load_config(write_run(tmp_path / "a").config)
    given = load_config(write_run(tmp_path / "b").config, ["model.score=general"])
    assert not [row for row in changed_settings(plain, given) if row[0].startswith("model.")]


def test_settings_that_only_one_architecture_has_are_absent_in_the_other(tmp_path: Path) -> None:
    rnn = load_config(write_run(tmp_path / "a").config)
    config = CONFIG.replace("model: {d_embed: 8, d_hidden: 8}", "model: {arch: transformer}")
    transformer = load_config(write_run(tmp_path / "b", config=config).config)
    rows = {name: values for name, *values in changed_settings(rnn, transformer)}
    assert rows["model.arch"] == ['"rnn" (default)', '"transformer"']
    assert rows["model.d_hidden"] == ["8", "-"]
    assert rows["model.d_ff"] == ["-", "1024 (default)"]


def test_text_is_compared_by_what_stands_in_it(tmp_path: Path) -> None:
    one, other = write_run(tmp_path / "a"), write_run(tmp_path / "b")
    assert changed_texts(texts(one), texts(other)) == []
    write_texts(other, train="zyxwvuts")
    hashes = ("abcdefghabcd", "zyxwvutszyxw")
    assert changed_texts(texts(one), texts(other)) == [
        ("tokenizer", "train.en", *hashes),
        ("train", "train.en", *hashes),
    ]


def test_a_run_without_its_corpus_has_no_text_there(tmp_path: Path) -> None:
    one, other = write_run(tmp_path / "a"), RunDir(tmp_path / "b")
    assert texts(other) == {"tokenizer": [], "train": [], "valid": []}
    rows = changed_texts(texts(one), texts(other))
    assert ("valid", "valid.en", "v" * 8, "-") in rows
    assert {row[3] for row in rows} == {"-"}


def test_validations_are_compared_where_both_have_one(tmp_path: Path) -> None:
    one, other = RunDir(tmp_path / "a"), RunDir(tmp_path / "b")
    for run, updates in ((one, [10, 1000, 30]), (other, [1000, 30, 50])):
        run.path.mkdir()
        write_metrics(run, [valid_record(u, loss=u / 7 if run is one else None) for u in updates])
    assert validations(curves(one).valid, curves(other).valid) == [
        ("30", "4.286", "-", "3.00", "3.00"),
        ("1,000", "142.857", "-", "100.00", "100.00"),
    ]
    assert validations(curves(one).valid, curves(RunDir(tmp_path)).valid) == []


def test_of_many_validations_some_are_shown_and_the_last_is(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    write_metrics(run, [valid_record(update) for update in range(1, 100)])
    rows = validations(curves(run).valid, curves(run).valid)
    assert MOST_ROWS / 2 < len(rows) <= MOST_ROWS
    assert rows[-1][0] == "99"


def test_the_ends_of_both_stand_side_by_side(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a")
    rows = {what: its for what, *its in ends(summarise(run, "a"), summarise(run, "b"))}
    assert rows["best"] == ["bleu 31.25 at 200"] * 2
    assert rows["state"] == ["stopped, 200 updates, 20s"] * 2
    assert rows["test BLEU"] == ["-"] * 2
