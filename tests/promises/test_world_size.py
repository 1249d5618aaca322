"""Guarantee 3: the number of ranks changes only the rounding, also within a run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.promises.small_run import environment

AN_EPOCH, END = 17, 40
Found = list[dict[str, Any]]


def trained(folder: Path, model: str, *runs: str) -> list[Found]:
    """Train runs in phases SIZE:UPDATES,...; return what each update of each was."""
    job = [sys.executable, "-m", "tests.support.promises.world_size_job", str(folder), model, *runs]
    subprocess.run(job, check=True, timeout=300, env=environment())
    return [json.loads((folder / run / "found.json").read_text()) for run in runs]


def check_same(steps: Found, alone: Found) -> None:
    assert len(steps) == len(alone) == END
    for number, (step, expected) in enumerate(zip(steps, alone, strict=True), 1):
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
            for k in (1, AN_EPOCH - 1, AN_EPOCH, AN_EPOCH + 1, 2 * AN_EPOCH)
            for size in (1, 2)
        ),
    ],
)
def test_resume_other_world_size_keeps_loss(tmp_path: Path, model: str, phases: str) -> None:
    alone, changing = trained(tmp_path, model, f"1:{END}", phases)
    sizes = [len(step["pairs"]) for step in alone]
    epochs = [step["epoch"] for step in alone]
    assert epochs == [0] * AN_EPOCH + [1] * AN_EPOCH + [2] * (END - 2 * AN_EPOCH)
    assert min(sizes) < 4, "an update that leaves a worker without a pair"
    assert any(size % 2 for size in sizes), "one that leaves workers unequal"
    check_same(changing, alone)
