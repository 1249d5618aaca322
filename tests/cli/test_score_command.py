"""Test `nmt score`."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.command_line import assert_success, nmt, write_lines
from tests.support.tiny_runs import Digits


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
