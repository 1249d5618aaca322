"""`nmt evaluate --diagnose` on tiny runs."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from sacrebleu.metrics.bleu import BLEU

from nmt.errors import EXIT_USER_ERROR
from tests.support.command_line import assert_success, nmt, write_pairs
from tests.support.tiny_runs import Digits, Tiny, digit_strings


def test_one_run_shows_losses_and_search_settings(digits: Digits, tmp_path: Path) -> None:
    figures_file = tmp_path / "figures.json"
    result = assert_success(nmt("evaluate", "--diagnose", digits.run, "-o", figures_file))
    figures = json.loads(figures_file.read_text())
    [losses] = figures["losses"].values()
    assert f"{losses['train']:.3f}" in result.lines[1]
    assert f"{math.exp(losses['valid']):.2f}" in result.lines[1]
    first = figures["search"][0]
    assert (first["beam_size"], first["length_penalty"]) == (5, 1)
    hypotheses, references = validation_text(digits, tmp_path)
    assert first["bleu"] == pytest.approx(BLEU().corpus_score(hypotheses, [references]).score)


def validation_text(digits: Digits, folder: Path) -> tuple[list[str], list[str]]:
    """Translate the validation text by `nmt translate`; return the lines and references."""
    data = digits.config.parent
    hypotheses = assert_success(nmt("translate", "-m", digits.run, data / "valid.in")).lines
    return hypotheses, (data / "valid.out").read_text().splitlines()


def test_losses_are_those_of_score(digits: Digits, tmp_path: Path) -> None:
    figures_file = tmp_path / "figures.json"
    assert_success(nmt("evaluate", "--diagnose", digits.run, "-o", figures_file))
    [losses] = json.loads(figures_file.read_text())["losses"].values()
    data = digits.config.parent
    files = "--src", data / "valid.in", "--tgt", data / "valid.out"
    flags = "--json", "-m", digits.run, *files
    scores = [json.loads(line) for line in assert_success(nmt("score", *flags)).lines]
    loss = -sum(s["log_prob"] for s in scores) / sum(s["tokens"] for s in scores)
    assert losses["valid"] == pytest.approx(loss, rel=1e-4)


def train_on(tiny: Tiny, pairs: int) -> Path:
    text = [(line, line[::-1]) for line in digit_strings(pairs, seed=5)]
    write_pairs(tiny.folder / "train", text)
    run = tiny.folder / f"run-{pairs}"
    assert_success(tiny.train(run=run))
    return run


def test_runs_by_amount_of_text_form_a_curve(tiny: Tiny) -> None:
    runs = [train_on(tiny, pairs) for pairs in (40, 60, 90)]
    figures_file = tiny.folder / "figures.json"
    result = assert_success(nmt("evaluate", "--diagnose", *runs, "-o", figures_file))
    figures = json.loads(figures_file.read_text())
    assert [point["pairs"] for point in figures["runs"].values()] == [40, 60, 90]
    assert [forecast["pairs"] for forecast in figures["curve"]["forecasts"]] == [180, 360]
    assert "each doubling of the training text:" in result.lines[-1]

    few = nmt("evaluate", "--diagnose", *runs[:2])
    assert few.code == EXIT_USER_ERROR
    assert "at least 3 runs with different numbers of training pairs, got 2 with 40, 60" in few.err

    write_pairs(tiny.folder / "valid", [("1 2 3", "3 2 1")] * 4)
    other = nmt("evaluate", "--diagnose", *runs[:2], train_on(tiny, 80))
    assert other.code == EXIT_USER_ERROR
    assert "expected the validation text of" in other.err


@pytest.mark.parametrize(
    "flags",
    [["--html", "page.html"], ["--best", "2"], ["--metrics", "ter"], ["--engine", "ctranslate2"]],
)
def test_flags_without_effect_are_errors(flags: list[str], digits: Digits) -> None:
    result = nmt("evaluate", "--diagnose", digits.run, *flags)
    assert result.code == EXIT_USER_ERROR
    assert f"{flags[0]}: has no effect with --diagnose" in result.err
