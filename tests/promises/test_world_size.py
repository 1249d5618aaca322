"""Guarantee 3: the number of ranks changes only the rounding, also within a run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.promises.small_run import environment

EPOCH_STEPS, END = 17, 40
StepRecords = list[dict[str, Any]]


def train_runs(folder: Path, model: str, *runs: str) -> list[StepRecords]:
    """Train runs in phases SIZE:UPDATES,...; return the records of the steps of each run."""
    job = [sys.executable, "-m", "tests.support.promises.world_size_job", str(folder), model, *runs]
    subprocess.run(job, check=True, timeout=300, env=environment())
    return [json.loads((folder / run / "steps.json").read_text()) for run in runs]


def check_same(steps: StepRecords, single_rank: StepRecords) -> None:
    assert len(steps) == len(single_rank) == END
    for number, (step, expected) in enumerate(zip(steps, single_rank, strict=True), 1):
        assert step["pairs"] == expected["pairs"], number
        assert step["loss"] == pytest.approx(expected["loss"], rel=0, abs=1e-9), number


@pytest.mark.parametrize(
    ("model", "phases"),
    [
        ("luong", f"4:23,2:31,1:{END}"),
        pytest.param("bahdanau", f"4:6,2:{END}", marks=pytest.mark.slow),
        pytest.param("transformer", f"4:6,1:{END}", marks=pytest.mark.slow),
        *(
            pytest.param("luong", f"4:{k},{size}:{END}", marks=pytest.mark.slow)
            for k in (1, EPOCH_STEPS - 1, EPOCH_STEPS, EPOCH_STEPS + 1, 2 * EPOCH_STEPS)
            for size in (1, 2)
        ),
    ],
)
def test_resume_other_world_size_keeps_loss(tmp_path: Path, model: str, phases: str) -> None:
    single_rank, changing = train_runs(tmp_path, model, f"1:{END}", phases)
    sizes = [len(step["pairs"]) for step in single_rank]
    epochs = [step["epoch"] for step in single_rank]
    assert epochs == [0] * EPOCH_STEPS + [1] * EPOCH_STEPS + [2] * (END - 2 * EPOCH_STEPS)
    assert min(sizes) < 4, "expected a batch with fewer pairs than ranks"
    assert any(size % 2 for size in sizes), "expected a batch that the ranks cannot share equally"
    check_same(changing, single_rank)
