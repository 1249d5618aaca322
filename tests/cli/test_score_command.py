"""Test `nmt score`."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from tests.support.command_line import assert_success, nmt, write_lines
from tests.support.tiny_runs import Digits, make_reverse_run


def test_score_json_equals_columns(digits: Digits, tmp_path: Path) -> None:
    src, tgt = (
        write_lines(tmp_path / "a", ["1 2 3", ""]),
        write_lines(tmp_path / "b", ["3 2 1", ""]),
    )
    flags = ["-m", digits.run, "--src", src, "--tgt", tgt]
    rows = [line.split("\t") for line in assert_success(nmt("score", *flags)).lines]
    objects = [json.loads(line) for line in assert_success(nmt("score", *flags, "--json")).lines]
    assert objects[0]["tokens"] == 7, "including the space before the line, and eos"
    for row, values in zip(rows, objects, strict=True):
        names = ("log_prob", "log_prob_token", "perplexity")
        assert [float(cell) for cell in row] == [values[name] for name in names]


def test_score_reverse_adds_dual_cross_entropy(digits: Digits, tmp_path: Path) -> None:
    reverse = make_reverse_run(digits.run, tmp_path / "reverse")
    src = write_lines(tmp_path / "a", ["1 2 3", "4 5 6 7", ""])
    tgt = write_lines(tmp_path / "b", ["3 2 1", "9 9", "1"])

    def score(run: Path, source: Path, target: Path, *flags: object) -> list[list[float]]:
        files = ["--src", source, "--tgt", target]
        lines = assert_success(nmt("score", "-m", run, *files, *flags)).lines
        return [[float(cell) for cell in line.split("\t")] for line in lines]

    rows = score(digits.run, src, tgt, "--reverse", reverse)
    forward, backward = score(digits.run, src, tgt), score(reverse, tgt, src)
    assert [row[:3] for row in rows] == forward
    for row, (_, h_a, _), (_, h_b, _) in zip(rows, forward, backward, strict=True):
        assert row[3] == pytest.approx(math.exp(-(abs(h_a - h_b) - (h_a + h_b) / 2)), abs=1e-4)
    assert rows[0][3] > 0.8 > rows[1][3]
    flags = ["-m", digits.run, "--src", src, "--tgt", tgt]
    objects = assert_success(nmt("score", *flags, "--reverse", reverse, "--json")).lines
    assert [json.loads(line)["dual"] for line in objects] == [row[3] for row in rows]
    refusal = nmt("score", *flags, "--reverse", digits.run)
    assert refusal.code == 2
    assert "--reverse: expected a model from out to in, got one from in to out" in refusal.err
