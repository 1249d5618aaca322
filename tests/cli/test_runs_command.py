"""`nmt runs`, `nmt runs diff` and the model card, from the runs of `nmt train`."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from nmt.config.loader import load_config
from nmt.core.run_dir import RunDir
from nmt.data.tokenizer.storage import load_tokenizers
from nmt.models.build import build_model
from tests.support.command_line import NMT, assert_success, environment, nmt, settings
from tests.support.tiny_runs import Digits, Tiny


@pytest.fixture
def runs(digits: Digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change to a folder with a trained and a damaged run in runs/; return runs/."""
    shutil.copytree(digits.run, tmp_path / "runs" / "digits", symlinks=True)
    (tmp_path / "runs" / "bad").mkdir()
    (tmp_path / "runs" / "bad" / "config.yaml").write_text("data: [")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs"


def test_runs_list_shows_trained_run(runs: Path) -> None:
    [bad, good] = sorted(
        map(json.loads, assert_success(nmt("runs", "--json")).lines), key=lambda r: r["run"]
    )
    assert (bad["run"], bad["state"]) == ("bad", "damaged")
    assert (good["run"], good["state"], good["why"]) == (
        "digits",
        "finished",
        "max_updates 280 reached",
    )
    run = RunDir(runs / "digits")
    size = load_tokenizers(run).tgt.vocab_size
    model = build_model(load_config(run.config).model, size, size, 0)
    assert good["parameters"] == sum(p.numel() for p in model.parameters())
    assert (good["pairs"], good["src"], good["tgt"]) == (4000, "in", "out")
    assert good["report"]["tests"]["test"]["bleu"] == pytest.approx(100)
    assert (good["update"], good["share_done"]) == (280, 1)
    state = json.loads((run.last / "state.json").read_text())
    assert good["best"] == state["best_score"]
    assert good["tokens_per_second"] > 0


@pytest.mark.parametrize("arguments", [["runs"], ["runs", "list"], ["runs", "runs"]])
def test_runs_without_subcommand_lists_runs(runs: Path, arguments: list[str]) -> None:
    result = assert_success(nmt(*arguments))
    assert any(line.startswith("digits  finished ") for line in result.lines)
    assert any(line.startswith("bad     damaged ") for line in result.lines)


def test_runs_list_empty_folder_succeeds(tmp_path: Path) -> None:
    for flags in ([], ["--json"]):
        result = nmt("runs", tmp_path, *flags)
        assert (result.code, result.out) == (0, "")
        assert result.err == f"{tmp_path}: holds no run; `nmt train CONFIG` makes runs/NAME\n"


def test_runs_list_missing_folder_is_an_error(tmp_path: Path) -> None:
    result = nmt("runs", tmp_path / "nowhere")
    assert (result.code, result.out) == (2, "")
    assert "nowhere: no such folder" in result.err


def test_runs_list_closed_pipe_succeeds(runs: Path) -> None:
    line = f"{' '.join(NMT)} runs --json | true; exit ${{PIPESTATUS[0]}}"
    process = subprocess.run(["bash", "-c", line], env=environment(), capture_output=True)
    assert (process.returncode, process.stderr) == (0, b"")


def test_runs_diff_compares_two_runs(tiny: Tiny) -> None:
    second_run = tiny.folder / "other"
    assert_success(tiny.train())
    assert_success(tiny.train(*settings(model__d_hidden=16, train__max_updates=3), run=second_run))
    result = assert_success(nmt("runs", "diff", tiny.run, second_run))
    assert result.lines[:2] == [f"A  {tiny.run}", f"B  {second_run}"]
    rows = [line.split() for line in result.lines]
    assert ["model.d_hidden", "8", "16"] in rows
    assert ["train.max_updates", "2", "3"] in rows
    assert not any(row and row[0] in ("model.d_embed", "train.lr") for row in rows)
    assert "all text is the same, by its hashes" in result.lines
    assert "no update was validated in both" in result.lines
    assert any(line.startswith("best ") and " at 2 " in line for line in result.lines)
    equal = assert_success(nmt("runs", "diff", second_run, second_run))
    assert "all settings are the same" in equal.lines
    assert any(line.startswith("3 ") for line in equal.lines), "the validation at the end"


def test_runs_diff_shows_changed_text(tiny: Tiny) -> None:
    assert_success(tiny.train())
    with (tiny.folder / "train.in").open("a") as src, (tiny.folder / "train.out").open("a") as tgt:
        src.write("1 2 3\n")
        tgt.write("3 2 1\n")
    second_run = tiny.folder / "other"
    assert_success(tiny.train(run=second_run))
    shutil.rmtree(second_run / "corpus" / "valid")
    result = assert_success(nmt("runs", "diff", tiny.run, second_run))
    rows = [line.split()[:2] for line in result.lines if line]
    assert ["train", "train.in"] in rows
    assert ["train", "train.out"] in rows
    assert ["valid", "valid.in"] in rows
    assert "B has no record of the text of valid" in result.lines


def test_runs_diff_refuses_other_folders(tiny: Tiny) -> None:
    assert_success(tiny.train())
    result = nmt("runs", "diff", tiny.run, tiny.folder / "rnu")
    assert (result.code, result.out) == (2, "")
    assert "rnu: no such run folder (did you mean 'run'?)" in result.err


# -- the model card ----------------------------------------------------------------------------


def test_train_writes_card_with_test_scores(digits: Digits) -> None:
    text = (digits.run / "README.md").read_text()
    assert f"model card: {digits.run / 'README.md'}\n" in digits.training.err
    assert "| test | 100.00 | 100.00 | 0.00 | 200 |" in text
    assert "max_updates 280 reached" in text
    assert "fp32 on cpu" in text


def test_train_updates_card_until_edited(tiny: Tiny) -> None:
    card = tiny.run / "README.md"
    assert_success(tiny.train())
    assert "max_updates 2 reached" in card.read_text()
    assert_success(tiny.train("--resume", *settings(train__max_updates=3)))
    assert "max_updates 3 reached" in card.read_text()
    edited = card.read_text() + "Not for medicine.\n"
    card.write_text(edited)
    for flags in (["--resume", *settings(train__max_updates=4)], ["--overwrite"]):
        result = assert_success(tiny.train(*flags))
        assert f"{card} was changed after nmt wrote it, and is kept\n" in result.err
        assert card.read_text() == edited


def test_train_overwrite_deletes_card(tiny: Tiny) -> None:
    assert_success(tiny.train())
    flags = settings(train__optimizer="sgd", train__lr=1e38, train__clip_norm=0, train__warmup=0)
    assert tiny.train("--overwrite", *flags, *settings(train__max_updates=50)).code == 2
    assert not (tiny.run / "README.md").exists(), "the card describes the deleted model"
