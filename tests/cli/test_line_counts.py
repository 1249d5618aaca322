"""Test that all commands that read text count the same lines in unusual files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.support.command_line import Result, assert_success, nmt
from tests.support.data.difficult_text import CLEAN_LINES, DEMO, FaultyText, make_faulty_text

QUICK = ["--set", "decode.beam_size=1", "--set", "decode.max_length_ratio=1e-9"]
"""Settings for a fast translation of long lines."""


@dataclass(frozen=True)
class TrainedRun:
    """Unusual text, and a run that was trained on it."""

    faulty_text: FaultyText
    config: Path
    run: Path
    preparation: Result
    """Result of `nmt prepare` for the text with invalid UTF-8."""
    translations: list[str]
    """Output of `nmt translate` for the text with invalid UTF-8."""


@pytest.fixture(scope="module")
def trained_run(tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    folder = tmp_path_factory.mktemp("faulty")
    faulty_text = make_faulty_text(folder, long_line=2**16)
    settings = {
        "data": {
            "src": "en",
            "tgt": "fr",
            "train": [{"src": str(faulty_text.src), "tgt": str(faulty_text.tgt)}],
            "valid": [{"prefix": str(DEMO / "valid")}],
            "clean": {"copies": True},
        },
        "model": {"d_embed": 8, "d_hidden": 8},
        "train": {"max_updates": 1, "threads": 1, "precision": "fp32"},
    }
    config, run = folder / "a.yaml", folder / "run"
    config.write_text(yaml.safe_dump(settings))
    preparation = nmt("prepare", config, "--run", run)
    broken = faulty_text.src.read_bytes()
    faulty_text.src.write_bytes(broken.replace(b"caf\xe9", b"cafe"))
    assert_success(nmt("train", config, "--run", run, "--device", "cpu", *QUICK))
    translations = assert_success(nmt("translate", "-m", run, *QUICK, stdin=broken)).lines
    return TrainedRun(faulty_text, config, run, preparation, translations)


def test_check_counts_all_lines(trained_run: TrainedRun) -> None:
    result = assert_success(
        nmt("check", trained_run.faulty_text.src, trained_run.faulty_text.tgt, "--json")
    )
    assert json.loads(result.out)["sets"][0]["lines"] == [CLEAN_LINES] * 2


def test_clean_keeps_or_drops_all_lines(trained_run: TrainedRun, tmp_path: Path) -> None:
    assert_success(nmt("clean", trained_run.config, "-o", tmp_path / "out"))
    counts = {side: (tmp_path / f"out.{side}").read_bytes().count(b"\n") for side in ("en", "fr")}
    dropped = (tmp_path / "out.dropped.tsv").read_bytes().count(b"\n") - 1
    assert counts["en"] == counts["fr"] == CLEAN_LINES - dropped
    assert dropped == len(trained_run.faulty_text.faults["blank", "tgt"])


def test_train_keeps_or_drops_all_lines(trained_run: TrainedRun) -> None:
    meta = json.loads((trained_run.run / "corpus" / "train" / "0" / "meta.json").read_text())
    assert meta["pairs"] + sum(meta["dropped"].values()) == CLEAN_LINES
    rows = (trained_run.run / "corpus" / "train" / "0" / "dropped.tsv").read_bytes().count(
        b"\n"
    ) - 1
    assert rows == sum(meta["dropped"].values())
    for line in trained_run.faulty_text.faults["long", "src"]:
        assert (
            f"{trained_run.faulty_text.src}:{line}\t".encode()
            in (trained_run.run / "corpus" / "train" / "0" / "dropped.tsv").read_bytes()
        )


def test_prepare_invalid_utf8_is_refused_with_its_line(trained_run: TrainedRun) -> None:
    [line] = trained_run.faulty_text.faults["encoding", "src"]
    assert trained_run.preparation.code == 2
    assert f"{trained_run.faulty_text.src}:{line}: expected UTF-8" in trained_run.preparation.err


def test_translate_translates_all_lines(trained_run: TrainedRun) -> None:
    assert len(trained_run.translations) == CLEAN_LINES


def test_score_scores_all_lines(trained_run: TrainedRun) -> None:
    texts = ["--src", trained_run.faulty_text.src, "--tgt", trained_run.faulty_text.tgt]
    rows = assert_success(nmt("score", "-m", trained_run.run, *texts)).lines
    assert len(rows) == CLEAN_LINES
    for row in rows:
        total, mean, perplexity = map(float, row.split("\t"))
        assert total <= mean <= 0 < perplexity


def test_evaluate_scores_all_lines(trained_run: TrainedRun, tmp_path: Path) -> None:
    texts = ["--src", trained_run.faulty_text.src, "--ref", trained_run.faulty_text.tgt]
    assert_success(nmt("evaluate", trained_run.run, *texts, "-o", tmp_path / "report.json", *QUICK))
    [report] = json.loads((tmp_path / "report.json").read_text())["test_sets"].values()
    assert report["lines"] == CLEAN_LINES
