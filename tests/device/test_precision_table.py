"""The script that writes benchmarks/precision.md."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

from tests.support.paths import ROOT

SCRIPT = ROOT / "benchmarks" / "precision_table.py"


@pytest.fixture(scope="module")
def script() -> Any:
    spec = importlib.util.spec_from_file_location("precision_table", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("model", ["lstm, attention luong", "transformer, ssru"])
def test_precision_table_outcomes_run_or_are_one_line_errors(script: Any, model: str) -> None:
    cells = script.outcomes(model)
    assert len(cells) == len(script.TRAIN) + len(script.DECODE)
    for task, precision, outcome in cells:
        assert "\n" not in outcome
        error = f"{task}.precision: expected "
        assert outcome == "runs" or outcome.startswith(error), (task, precision, outcome)
    outcomes = {cell[:2]: cell[2] for cell in cells}
    assert outcomes["train", "fp32"] == outcomes["decode", "fp32"] == "runs"
    assert outcomes["train", "fp16"] != "runs", "on a CPU"
