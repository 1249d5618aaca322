"""`nmt sweep` on tiny runs."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from nmt.commands.training.child_process import ChildProcesses
from tests.support.command_line import NMT, Result, assert_success, environment, nmt
from tests.support.tiny_runs import Tiny

HALVING = ("--updates", 3, "--halve", 3)
"""The validation from update 3 on is that of update 4."""
RATES = ("--grid", "train.lr=1e-7,1e-3,1e-2")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """Train in this process instead of child processes; return the calls."""
    calls: list[Sequence[str]] = []

    def run(children: ChildProcesses, arguments: Sequence[str]) -> int | None:
        calls.append(arguments)
        return nmt(*arguments).code

    monkeypatch.setattr(ChildProcesses, "run", run)
    return calls


@pytest.fixture
def sweep_config(tiny: Tiny) -> Tiny:
    """A config with 8 updates and a validation after every second one, selected by loss."""
    tiny.replace(
        "max_updates: 2", "max_updates: 8\n  stop_metric: loss\n  schedule: plateau\n  patience: 3"
    )
    tiny.replace("validate_every: 100", "validate_every: 2")
    return tiny


def sweep(tiny: Tiny, *flags: object) -> Result:
    folder = tiny.folder / "trials"
    return nmt("sweep", tiny.config, "-o", folder, "--device", "cpu", *flags)


def read_weights(run: Path) -> dict[str, bytes]:
    return {file.parent.name: file.read_bytes() for file in run.glob("checkpoints/*/model.*")}


def test_best_trial_equals_a_run_without_pauses(
    sweep_config: Tiny, calls: list[Sequence[str]]
) -> None:
    result = assert_success(sweep(sweep_config, *RATES, *HALVING))
    header, best, *others = result.lines
    assert header.split() == ["train.lr", "updates", "best", "at", "time", "state"]
    assert (best.split()[:2], best.split()[-1]) == (["0.01", "8"], "finished")
    assert [line.split()[1] for line in others] == ["4", "4"]
    assert len(calls) == 4, "three trials, then the best one"
    trials = sweep_config.folder / "trials"
    assert (trials / "scores.svg").read_text().startswith("<?xml")
    assert_success(sweep_config.train("--set", "train.lr=1e-2"))
    plain = read_weights(sweep_config.run)
    assert read_weights(trials / "train.lr=0.01") == plain
    assert plain

    calls.clear()
    again = assert_success(sweep(sweep_config, *RATES, *HALVING))
    assert not calls
    assert again.out == result.out

    as_json = assert_success(sweep(sweep_config, *RATES, *HALVING, "--json")).lines
    scores = [json.loads(line) for line in as_json]
    assert [score["settings"]["train.lr"] for score in scores] == [0.01, 0.001, 1e-7]
    assert scores[0]["score"] < scores[1]["score"] < scores[2]["score"]


def test_failing_trial_is_reported_and_others_continue(
    sweep_config: Tiny, calls: list[Sequence[str]]
) -> None:
    result = assert_success(sweep(sweep_config, "--grid", "tokenizer.vocab_size=9999,330"))
    _, best, failed, reason = result.lines
    assert (best.split()[0], best.split()[-1]) == ("330", "finished")
    assert (failed.split()[0], failed.split()[-1]) == ("9999", "failed")
    assert reason.strip() == "nmt train ended with exit code 2"
    assert len(calls) == 2


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (["--grid", "train.lrr=1"], "train.lrr"),
        (["--grid", "train.lr=1,-1"], "train.lr"),
        ([], "expected --grid or --range"),
        ([*RATES, "--halve", "2"], "--halve: expected --updates N"),
        ([*RATES, "--random", "4"], "--random: expected at most 3"),
    ],
)
def test_bad_option_is_one_line(
    flags: list[str], problem: str, tiny: Tiny, calls: list[Sequence[str]]
) -> None:
    result = sweep(tiny, *flags)
    assert result.code == 2
    assert not result.out
    assert problem in result.err
    assert "Traceback" not in result.err
    assert not calls
    assert not (tiny.folder / "trials").exists()


def test_trials_of_another_search_are_refused(
    sweep_config: Tiny, calls: list[Sequence[str]]
) -> None:
    grid = "--grid", "train.lr=1e-3"
    assert_success(sweep(sweep_config, *grid))
    result = sweep(sweep_config, *grid, "--set", "model.dropout=0.4")
    assert result.code == 2
    assert "expected a trial with the same settings" in result.err
    assert "model.dropout" in result.err
    assert len(calls) == 1


def test_interrupted_sweep_continues(sweep_config: Tiny, calls: list[Sequence[str]]) -> None:
    """SIGINT ends the child after its update and then the sweep; the same command goes on."""
    sweep_config.replace("max_updates: 8", "max_updates: 120")
    sweep_config.replace("validate_every: 2", "validate_every: 20")
    sweep_config.replace("patience: 3", "patience: null")
    folder = sweep_config.folder / "trials"
    flags = ["-o", str(folder), "--grid", "train.lr=1e-3,1e-2"]
    command = [*NMT, "sweep", str(sweep_config.config), *flags]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(), text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("validation"):
                process.send_signal(signal.SIGINT)
                break
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "stopped" in out
    assert "waiting" in out
    assert list((folder / "train.lr=0.001" / "checkpoints").iterdir())
    assert not (folder / "train.lr=0.01").exists()
    lines = assert_success(sweep(sweep_config, *flags[2:])).lines[1:]
    assert [line.split()[1] for line in lines] == ["120", "120"]
    assert len(calls) == 2
