"""Comparisons of two runs show the differences, and only these."""

from __future__ import annotations

from pathlib import Path

from nmt.config.loader import load_config
from nmt.core.run_dir import RunDir
from nmt.runs.diff import (
    MAX_ROWS,
    compare_results,
    compare_validations,
    diff_input_files,
    diff_settings,
)
from nmt.runs.input_files import read_input_files
from nmt.runs.learning_curves import read_curves
from nmt.runs.summary import summarize_run
from tests.support.run_folders import CONFIG, valid_record, write_metrics, write_run, write_texts


def test_diff_settings_names_changes_and_defaults(tmp_path: Path) -> None:
    run_a = write_run(tmp_path / "a")
    run_b = write_run(
        tmp_path / "b", config=CONFIG.replace("d_hidden: 8", "d_hidden: 16, score: dot")
    )
    configs = [load_config(run.config) for run in (run_a, run_b)]
    rows = [row for row in diff_settings(*configs) if not row[0].startswith("data.")]
    assert rows == [
        ("model.score", '"general" (default)', '"dot"'),
        ("model.d_hidden", "8", "16"),
    ]
    assert diff_settings(configs[0], configs[0]) == []


def test_diff_settings_ignores_explicit_defaults(tmp_path: Path) -> None:
    plain = load_config(write_run(tmp_path / "a").config)
    explicit = load_config(write_run(tmp_path / "b").config, ["model.score=general"])
    assert not [row for row in diff_settings(plain, explicit) if row[0].startswith("model.")]


def test_diff_settings_missing_in_one_architecture_are_dashes(tmp_path: Path) -> None:
    rnn = load_config(write_run(tmp_path / "a").config)
    config = CONFIG.replace("model: {d_embed: 8, d_hidden: 8}", "model: {arch: transformer}")
    transformer = load_config(write_run(tmp_path / "b", config=config).config)
    rows = {name: values for name, *values in diff_settings(rnn, transformer)}
    assert rows["model.arch"] == ['"rnn" (default)', '"transformer"']
    assert rows["model.d_hidden"] == ["8", "-"]
    assert rows["model.d_ff"] == ["-", "1024 (default)"]


def test_diff_input_files_compares_content(tmp_path: Path) -> None:
    run_a, run_b = write_run(tmp_path / "a"), write_run(tmp_path / "b")
    assert diff_input_files(read_input_files(run_a), read_input_files(run_b)) == []
    write_texts(run_b, train="zyxwvuts")
    hashes = ("abcdefghabcd", "zyxwvutszyxw")
    assert diff_input_files(read_input_files(run_a), read_input_files(run_b)) == [
        ("tokenizer", "train.en", *hashes),
        ("train", "train.en", *hashes),
    ]


def test_diff_input_files_missing_corpus_shows_dashes(tmp_path: Path) -> None:
    run_a, run_b = write_run(tmp_path / "a"), RunDir(tmp_path / "b")
    assert read_input_files(run_b) == {"tokenizer": [], "train": [], "valid": []}
    rows = diff_input_files(read_input_files(run_a), read_input_files(run_b))
    assert ("valid", "valid.en", "v" * 8, "-") in rows
    assert {row[3] for row in rows} == {"-"}


def test_compare_validations_uses_common_updates(tmp_path: Path) -> None:
    run_a, run_b = RunDir(tmp_path / "a"), RunDir(tmp_path / "b")
    for run, updates in ((run_a, [10, 1000, 30]), (run_b, [1000, 30, 50])):
        run.path.mkdir()
        write_metrics(run, [valid_record(u, loss=u / 7 if run is run_a else None) for u in updates])
    assert compare_validations(read_curves(run_a).valid, read_curves(run_b).valid) == [
        ("30", "4.286", "-", "3.00", "3.00"),
        ("1,000", "142.857", "-", "100.00", "100.00"),
    ]
    assert compare_validations(read_curves(run_a).valid, read_curves(RunDir(tmp_path)).valid) == []


def test_compare_validations_limits_rows_and_keeps_last(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    write_metrics(run, [valid_record(update) for update in range(1, 100)])
    rows = compare_validations(read_curves(run).valid, read_curves(run).valid)
    assert MAX_ROWS / 2 < len(rows) <= MAX_ROWS
    assert rows[-1][0] == "99"


def test_compare_results_lists_both_runs(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a")
    rows = {
        name: values
        for name, *values in compare_results(summarize_run(run, "a"), summarize_run(run, "b"))
    }
    assert rows["best"] == ["bleu 31.25 at 200"] * 2
    assert rows["state"] == ["stopped, 200 updates, 20s"] * 2
    assert rows["test BLEU"] == ["-"] * 2
