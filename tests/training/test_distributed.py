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


def run_job(folder: Path, *runs: str) -> list[dict[str, Any]]:
    """Train runs with phases RANKS:PARALLEL:STEPS,...; return the results of each."""
    job = ["-m", "tests.support.training.distributed_job", str(folder), *runs]
    subprocess.run(
        [sys.executable, *job],
        check=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    names = [run for run in runs if not run.startswith("--")]
    return [json.loads((folder / run / "results.json").read_text()) for run in names]


RUNS = (f"1:ddp:{MAX_STEPS}", f"2:ddp:{MAX_STEPS}", f"2:fsdp:{MAX_STEPS}")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Return the results of a run on one rank and of two runs on two ranks."""
    return dict(zip(RUNS, run_job(tmp_path_factory.mktemp("runs"), *RUNS), strict=True))


@pytest.fixture(scope="module")
def single_rank(results: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return results[RUNS[0]]


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


@pytest.mark.parametrize("run", RUNS[1:])
def test_train_step_on_two_ranks_equals_one_rank(
    results: dict[str, dict[str, Any]], single_rank: dict[str, Any], run: str
) -> None:
    check_equal(results[run], single_rank)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("run", "flags", "begin"),
    [
        (f"4:ddp:{MAX_STEPS}", (), 0),
        (f"2:ddp:{MAX_STEPS}", ("--compile",), 0),
        (f"2:fsdp:6,1:ddp:{MAX_STEPS}", (), 6),
    ],
    ids=["four ranks", "compiled", "resumed on fewer ranks"],
)
def test_train_step_on_other_ranks_equals_one_rank(
    tmp_path: Path, single_rank: dict[str, Any], run: str, flags: tuple[str, ...], begin: int
) -> None:
    [results] = run_job(tmp_path, run, *flags)
    check_equal(results, single_rank, begin)
