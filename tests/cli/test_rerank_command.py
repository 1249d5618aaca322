"""Test `nmt rerank`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.command_line import assert_success, nmt, write_lines
from tests.support.tiny_runs import Digits


def test_rerank_tuned_weights_find_the_references(digits: Digits, tmp_path: Path) -> None:
    src = write_lines(tmp_path / "src", digits.src[:30])
    ref = write_lines(tmp_path / "ref", digits.ref[:30])
    lists, weights = tmp_path / "nbest", tmp_path / "weights.json"
    assert_success(nmt("translate", "-m", digits.run, src, "--nbest", 4, "-o", lists))
    worst_first = []
    rows = lists.read_text().splitlines()
    for line in range(30):
        hypotheses = [row.rsplit(" ||| ", 1)[0] for row in rows[4 * line : 4 * line + 4]]
        worst_first += [f"{row} ||| {-n:.4f}" for n, row in enumerate(reversed(hypotheses))]
    write_lines(lists, worst_first)
    zero = {"weights": {"model 1": 0.0, "reverse 1": 0, "length": 0.0}}
    weights.write_text(json.dumps(zero))
    scorers = ["--src", src, "-m", digits.run, "--reverse", digits.run]
    unchanged = assert_success(nmt("rerank", lists, *scorers, "--weights", weights, "--nbest", 4))
    assert unchanged.lines == worst_first
    tuned = assert_success(nmt("rerank", lists, *scorers, "--tune", weights, "--ref", ref))
    assert tuned.out == ""
    assert "BLEU" in tuned.err
    best = assert_success(nmt("rerank", lists, *scorers, "--weights", weights)).lines
    num_correct = sum(line == expected for line, expected in zip(best, digits.ref, strict=False))
    assert num_correct >= 28


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "--weights, --tune: expected exactly one, got none"),
        (["--tune", "w"], "--tune, --ref: expected both or none, got one"),
        (["--weights", "w", "--ref", "r"], "--tune, --ref: expected both or none, got one"),
    ],
)
def test_rerank_conflicting_options_are_refused(
    flags: list[str], message: str, tmp_path: Path
) -> None:
    lists = write_lines(tmp_path / "nbest", ["0 ||| a ||| 1"])
    result = nmt("rerank", lists, "--src", lists, *flags)
    assert result.code == 2
    assert f"error: {message}" in result.err


def test_rerank_files_of_different_length_are_refused(tmp_path: Path) -> None:
    lists = write_lines(tmp_path / "nbest", ["0 ||| a ||| 1"])
    two_lines, weights = write_lines(tmp_path / "two", ["a", "b"]), tmp_path / "w"
    weights.write_text('{"weights": {"length": 0}}')
    result = nmt("rerank", lists, "--src", two_lines, "--weights", weights)
    assert result.code == 2
    assert f"{lists}: expected lists of 2 lines, as in {two_lines}, got lists of 1" in result.err
