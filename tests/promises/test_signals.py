"""Guarantee 8: a signal saves the state within one step, also during validation."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nmt.data.batching.loader import MicroBatch
from nmt.decoding.search.beam_search import BeamSearch
from nmt.training.optimization.loss import Losses, ModelWithLoss
from tests.support.command_line import Result, nmt, settings
from tests.support.promises.recording_trainers import (
    MakeTrainer,
    encoded_text,
    make_trainer,
    validate,
)
from tests.support.promises.small_run import NMT, environment
from tests.support.tiny_runs import Tiny, make_tiny

__all__ = ["encoded_text", "make_trainer"]

CODES = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGUSR1: 85}
FLAGS = settings(train__validate_every=4, train__max_updates=10, train__ema=0.9, train__warmup=0)


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize(
    ("number", "step"), [(signal.SIGTERM, 5), (signal.SIGINT, 7), (signal.SIGUSR1, 7)]
)
def test_signal_ends_training_after_current_step(
    make_trainer: MakeTrainer, number: int, step: int
) -> None:
    """The resumed run equals the uninterrupted run, and makes up for a skipped validation."""
    flags = {"train__max_updates": 16}
    uninterrupted = make_trainer("whole", "luong", **flags)
    uninterrupted.train(validate)
    stopped = make_trainer("stopped", "luong", **flags)
    update = stopped.train_step

    def step_with_signal(batch: Any) -> Any:
        if stopped.state.step + 1 == step:
            send(number)
        return update(batch)

    stopped.train_step = step_with_signal  # type: ignore[method-assign]
    assert stopped.train(validate) is None
    assert stopped.state.step == step
    assert str(step) not in stopped.state.scores
    resumed = make_trainer("stopped", "luong", **flags)
    resumed.resume()
    resumed.train(validate)
    assert resumed.state.scores == uninterrupted.state.scores
    assert (stopped.batches + resumed.batches, resumed.states[-1]) == (
        uninterrupted.batches,
        uninterrupted.states[-1],
    )


class SignalDuringValidation:
    """Counts the steps of validations, and sends a signal in step `chosen`."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, position: str, chosen: int, number: int
    ) -> None:
        self.steps = 0
        real: Callable[..., Any]

        def loss(step: ModelWithLoss, batch: MicroBatch) -> Losses:
            if not step.training:
                self.count(chosen, number)
            return real(step, batch)

        def search(*arguments: Any) -> Any:
            self.count(chosen, number)
            return real(*arguments)

        if position == "loss":
            real = ModelWithLoss.forward
            monkeypatch.setattr(ModelWithLoss, "forward", loss)
        else:
            real = BeamSearch.step
            monkeypatch.setattr(BeamSearch, "step", search)

    def count(self, chosen: int, number: int) -> None:
        self.steps += 1
        if self.steps == chosen:
            send(number)


def train(tiny: Tiny, run: Path, *flags: str) -> Result:
    return tiny.train(*FLAGS, *flags, run=run)


def final_state(run: Path) -> list[object]:
    """Return the last checkpoint, the validations and their translations, without durations."""
    state = json.loads((run / "last" / "state.json").read_text())
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    clock_fields = {
        "seconds",
        "tokens_per_second",
        "gflops_per_second",
        "ceiling_share",
        "data_wait",
    }
    records_without_clock = [
        {k: v for k, v in record.items() if k not in clock_fields} for record in (state, *records)
    ]
    tensors = [file.read_bytes() for file in sorted((run / "last").glob("*.safetensors"))]
    texts = [(file.name, file.read_text()) for file in sorted((run / "valid").iterdir())]
    return [records_without_clock, tensors, texts, (run / "best").readlink()]


@pytest.mark.parametrize(
    ("position", "chosen", "number", "validated"),
    [("loss", 1, signal.SIGTERM, 0), ("search", 3, signal.SIGUSR1, 0), ("search", 40, 2, 1)],
    ids=["in the loss", "in the search", "in the second search"],
)
def test_signal_during_validation_defers_it_to_resume(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    position: str,
    chosen: int,
    number: int,
    validated: int,
) -> None:
    tiny = make_tiny(tmp_path)
    assert train(tiny, tmp_path / "whole").code == 0
    with monkeypatch.context() as patched:
        steps = SignalDuringValidation(patched, position, chosen, number)
        stopped = train(tiny, tiny.run)
        assert stopped.code == CODES[signal.Signals(number)]
        assert steps.steps == chosen, "the validation continued after the signal"
    step = 4 * (validated + 1)
    assert f"interrupted after update {step}; continue with --resume\n" in stopped.err
    state = json.loads((tiny.run / "last" / "state.json").read_text())
    assert (state["update"], len(state["scores"])) == (step, validated)
    assert train(tiny, tiny.run, "--resume").code == 0
    assert final_state(tiny.run) == final_state(tmp_path / "whole")


LISTENER = """\
import os, time
from tests.support.promises.mutants.catalogue import MUTANT_VARIABLE, MUTANTS
from nmt.training.signals import Signals
from nmt.core.distributed.process_group import ProcessGroup
if name := os.environ.get(MUTANT_VARIABLE):
    MUTANTS[name].install()
signals = Signals(ProcessGroup())
with signals.handle():
    print("ready", flush=True)
    while signals.received is None:
        time.sleep(0.01)
    print("heard", flush=True)
    time.sleep(1)
    print("echoes do not end it", flush=True)
    time.sleep(5)
"""


def test_second_signal_ends_process_at_once() -> None:
    """A signal that arrives twice at once counts as one: Ctrl-C reaches a whole process group."""
    command = [sys.executable, "-c", LISTENER]
    variables = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=variables) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            process.send_signal(signal.SIGTERM)
            assert process.stdout.readline() == "heard\n"
            process.send_signal(signal.SIGTERM)
            assert process.stdout.readline() == "echoes do not end it\n"
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == -signal.SIGINT
        finally:
            process.kill()


@pytest.mark.slow
@pytest.mark.parametrize("number", CODES, ids=lambda number: number.name)
def test_signal_to_train_process_saves_and_exits(tmp_path: Path, number: int) -> None:
    tiny = make_tiny(tmp_path)
    flags = [str(tiny.config), "--run", str(tiny.run), "--device", "cpu"]
    long = settings(train__max_updates=100_000, train__patience="null", train__validate_every=4)
    command = [*NMT, "train", *flags, *long]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment())
    end = time.monotonic() + 60
    while not (tiny.run / "last").exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.01)
    process.send_signal(number)
    stderr = process.communicate(timeout=30)[1]
    assert process.returncode == CODES[signal.Signals(number)]
    update = int(stderr.rsplit("interrupted after update ", 1)[1].split(";")[0])
    assert (tiny.run / "last").resolve().name == f"step_{update:08d}"
    assert nmt("train", *flags, "--resume", *settings(train__max_updates=update + 1)).code == 0
