"""The same updates on any number of workers: pairs, losses, gradients and weights."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

JOB = Path(__file__).with_name("distributed_job.py")
UPDATES = 20
"""Of which an epoch has seventeen."""


def run_job(folder: Path, workers: int, parallel: str, updates: int, *flags: str) -> dict[str, Any]:
    """Run the job of so many workers on the models in `folder`; return what it found."""
    out = folder / f"{workers}-{parallel}-{updates}.json"
    folder.mkdir(exist_ok=True)
    job = [str(JOB), str(folder), str(out), parallel, str(updates), *flags]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(workers)]
    launch = torchrun if workers > 1 else []
    subprocess.run(
        [sys.executable, *launch, *job],
        check=True,
        timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    found: dict[str, Any] = json.loads(out.read_text())
    return found


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return run_job(tmp_path_factory.mktemp("alone"), 1, "ddp", UPDATES)


def check_equal(found: dict[str, Any], alone: dict[str, Any], begin: int = 0) -> None:
    for model, expected in alone.items():
        assert found[model]["pairs"] == expected["pairs"][begin:], model
        for key in ("losses", "norms"):
            assert found[model][key] == pytest.approx(expected[key][begin:], rel=1e-9), model
        for key in ("weights", "averages"):
            assert found[model][key] == pytest.approx(expected[key], rel=1e-9), model
        assert found[model]["validated"] == found[model]["averages"] != found[model]["weights"]


def test_distributed_job_covers_small_and_uneven_batches(alone: dict[str, Any]) -> None:
    """Updates too small for four workers, epochs that end unevenly, losses that fall."""
    for found in alone.values():
        sizes = list(map(len, found["pairs"]))
        assert min(sizes) < 4 < max(sizes)
        assert sum(sizes) > 60, "more than one epoch"
        assert found["losses"][-1] < 0.9 * found["losses"][0]


@pytest.mark.parametrize(
    ("workers", "parallel"),
    [(2, "ddp"), pytest.param(4, "ddp", marks=pytest.mark.slow), (2, "fsdp")],
)
def test_train_step_on_any_number_of_ranks_is_equal(
    tmp_path: Path, alone: dict[str, Any], workers: int, parallel: str
) -> None:
    check_equal(run_job(tmp_path, workers, parallel, UPDATES), alone)


@pytest.mark.slow
def test_resume_with_other_number_of_ranks_is_equal(tmp_path: Path, alone: dict[str, Any]) -> None:
    run_job(tmp_path, 2, "fsdp", 6)
    check_equal(run_job(tmp_path, 1, "ddp", UPDATES, "--resume"), alone, begin=6)
