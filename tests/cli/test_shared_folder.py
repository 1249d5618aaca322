"""Two processes cannot train in one folder, and `nmt runs` shows how a process ended."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

from tests.support.command_line import NMT, assert_success, environment, nmt, settings
from tests.support.tiny_runs import Tiny

LONG = settings(train__max_updates=100_000, train__patience="null", train__save_every=1)


def run_state(run: Path) -> dict[str, str]:
    """Return the state of a run and its reason, as printed by `nmt runs`."""
    [line] = assert_success(nmt("runs", run, "--json")).lines
    return {key: json.loads(line)[key] for key in ("state", "why")}


def test_train_locked_folder_is_refused_until_holder_is_killed(tiny: Tiny) -> None:
    arguments = ["train", tiny.config, "--run", tiny.run, "--device", "cpu", *LONG]
    command = [*NMT, *map(str, arguments)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environment()) as process:
        deadline = time.monotonic() + 60
        while not (tiny.run / "last").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        for flags in ([], ["--resume"], ["--overwrite"]):
            result = tiny.train(*flags)
            assert result.code == 2
            assert f"error: {tiny.run}: process {process.pid} on " in result.err
            assert "is training in this folder; wait for its end, or name another" in result.err
        assert run_state(tiny.run)["state"] == "running"
        process.kill()
        process.wait(30)
    summary = run_state(tiny.run)
    assert summary["state"] == "stopped"
    assert summary["why"].startswith(f"process {process.pid} on ")
    assert "was killed, --resume continues after update " in summary["why"]
    update = int((tiny.run / "last").resolve().name.removeprefix("step_"))
    assert_success(tiny.train("--resume", *settings(train__max_updates=update + 1)))
    assert run_state(tiny.run)["state"] == "finished"
    assert not (tiny.run / "train.lock").exists()


def test_runs_failed_training_is_listed_until_overwritten(tiny: Tiny) -> None:
    flags = settings(train__optimizer="sgd", train__lr=1e38, train__clip_norm=0, train__warmup=0)
    result = tiny.train(*flags, *settings(train__max_updates=50))
    assert result.code == 2
    summary = run_state(tiny.run)
    assert summary["state"] == "failed"
    assert f"error: {summary['why']}\n" in result.err
    assert_success(tiny.train("--overwrite"))
    assert run_state(tiny.run)["state"] == "finished"


def test_runs_finished_run_after_refusal_stays_finished(tiny: Tiny) -> None:
    assert_success(tiny.train())
    assert tiny.train("--resume", *settings(model__d_hidden=16)).code == 2
    assert run_state(tiny.run) == {"state": "finished", "why": "max_updates 2 reached"}


def test_dry_run_releases_the_folder(tiny: Tiny) -> None:
    assert_success(tiny.train("--dry-run"))
    assert not tiny.run.exists()
    assert_success(tiny.train())
    assert run_state(tiny.run)["state"] == "finished"
