"""Training on several ranks equals training on one: pairs, losses, gradients and weights."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

MAX_STEPS = 20
"""An epoch has seventeen steps."""


def run_job(
    folder: Path, num_ranks: int, parallel: str, max_steps: int, *flags: str
) -> dict[str, Any]:
    """Run the job with this number of ranks on the models in `folder`; return its results."""
    out = folder / f"{num_ranks}-{parallel}-{max_steps}.json"
    folder.mkdir(exist_ok=True)
    arguments = [str(folder), str(out), parallel, str(max_steps), *flags]
    job = ["-m", "tests.support.training.distributed_job", *arguments]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(num_ranks)]
    launch = torchrun if num_ranks > 1 else []
    subprocess.run(
        [sys.executable, *launch, *job],
        check=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    results: dict[str, Any] = json.loads(out.read_text())
    return results


@pytest.fixture(scope="module")
def single_rank(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return run_job(tmp_path_factory.mktemp("alone"), 1, "ddp", MAX_STEPS)


def check_equal(results: dict[str, Any], single_rank: dict[str, Any], begin: int = 0) -> None:
    for model, expected in single_rank.items():
        assert results[model]["pairs"] == expected["pairs"][begin:], model
        for key in ("losses", "norms"):
            assert results[model][key] == pytest.approx(expected[key][begin:], rel=1e-9), model
        for key in ("weights", "averages"):
            assert results[model][key] == pytest.approx(expected[key], rel=1e-9), model
        assert (
            results[model]["validated"] == results[model]["averages"] != results[model]["weights"]
        )


def test_distributed_job_covers_small_and_uneven_batches(single_rank: dict[str, Any]) -> None:
    """Some batches have fewer pairs than ranks; there are several epochs; losses fall."""
    for results in single_rank.values():
        sizes = list(map(len, results["pairs"]))
        assert min(sizes) < 4 < max(sizes)
        assert sum(sizes) > 60, "more than one epoch"
        assert results["losses"][-1] < 0.9 * results["losses"][0]


@pytest.mark.parametrize(
    ("num_ranks", "parallel"),
    [(2, "ddp"), pytest.param(4, "ddp", marks=pytest.mark.slow), (2, "fsdp")],
)
def test_train_step_on_several_ranks_equals_one_rank(
    tmp_path: Path, single_rank: dict[str, Any], num_ranks: int, parallel: str
) -> None:
    check_equal(run_job(tmp_path, num_ranks, parallel, MAX_STEPS), single_rank)


@pytest.mark.slow
def test_compiled_train_step_on_two_ranks_equals_one_rank(
    tmp_path: Path, single_rank: dict[str, Any]
) -> None:
    check_equal(run_job(tmp_path, 2, "ddp", MAX_STEPS, "--compile"), single_rank)


@pytest.mark.slow
def test_resume_on_fewer_ranks_equals_uninterrupted_run(
    tmp_path: Path, single_rank: dict[str, Any]
) -> None:
    run_job(tmp_path, 2, "fsdp", 6)
    check_equal(run_job(tmp_path, 1, "ddp", MAX_STEPS, "--resume"), single_rank, begin=6)
