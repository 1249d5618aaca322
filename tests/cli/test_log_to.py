"""`train.log_to` sends the records of metrics.jsonl to TensorBoard and W&B."""

from __future__ import annotations

import importlib.util
import json
import shutil
import signal
import struct
from pathlib import Path
from typing import Any

import pytest

from nmt.config.loader import load_config
from nmt.training.checkpoints.train_state import TrainState
from nmt.training.validation import Validator
from tests.support.command_line import assert_success, settings
from tests.support.tiny_runs import Tiny

needs_tensorboard = pytest.mark.skipif(
    importlib.util.find_spec("tensorboard") is None, reason="needs nmt[logging]"
)
needs_wandb = pytest.mark.skipif(
    importlib.util.find_spec("wandb") is None, reason="needs nmt[logging]"
)
SHORT = settings(train__max_updates=6, train__validate_every=2, train__schedule="inverse_sqrt")
BOARD = settings(train__log_to="[tensorboard]")
WANDB = settings(train__log_to="[wandb]")
Numbers = dict[str, list[tuple[int, float]]]
"""Optimizer steps and values by name."""


def read_records(run: Path) -> Numbers:
    """Return the numbers of metrics.jsonl in the form that a tracker records."""
    numbers: Numbers = {}
    for line in (run / "metrics.jsonl").read_text().split("\n")[:-1]:
        record = json.loads(line)
        kind, update = record.pop("kind"), record.pop("update")
        for name, value in record.items():
            point = (update, pytest.approx(value, rel=1e-6))
            numbers.setdefault(f"{kind}/{name}", []).append(point)
    return numbers


def read_tensorboard(run: Path) -> Numbers:
    """Return the numbers that TensorBoard reads from the event files of a run."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(run / "tensorboard"))
    accumulator.Reload()
    return {
        name: [(event.step, event.value) for event in accumulator.Scalars(name)]
        for name in accumulator.Tags()["scalars"]
    }


def read_wandb(run: Path) -> list[tuple[Any, Numbers]]:
    """Return the W&B record of the run and its numbers, for each process that trained the run.

    W&B writes LevelDB logs (blocks of 32 KiB, fragments with a header of 7 bytes) of protobufs.
    Each file must end with the record that W&B writes at the end of a run.
    """
    from wandb.proto.wandb_internal_pb2 import Record

    parts = []
    for file in sorted((run / "wandb").glob("offline-run-*/run-*.wandb")):
        content, offset, fragments, records = file.read_bytes(), 7, b"", []
        while offset < len(content):
            if (block_rest := 2**15 - offset % 2**15) < 7:
                offset += block_rest
                continue
            length, kind = struct.unpack("<HB", content[offset + 4 : offset + 7])
            fragments += content[offset + 7 : (offset := offset + 7 + length)]
            if kind in (1, 4):  # a complete record, or its last fragment
                records.append(Record.FromString(fragments))
                fragments = b""
        assert records[-1].HasField("exit")
        numbers: Numbers = {}
        for record in records:
            for item in record.history.item:
                name = item.key or item.nested_key[0]
                if not name.startswith("_"):
                    point = (record.history.step.num, json.loads(item.value_json))
                    numbers.setdefault(name, []).append(point)
        parts.append((next(r.run for r in records if r.HasField("run")), numbers))
    return parts


@pytest.fixture
def interrupt_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send SIGINT in the middle of the second validation."""
    validate = Validator.__call__

    def validate_with_interrupt(self: Validator, state: TrainState) -> dict[str, float]:
        if state.step == 4:
            signal.raise_signal(signal.SIGINT)
        return validate(self, state)

    monkeypatch.setattr(Validator, "__call__", validate_with_interrupt)


@needs_tensorboard
def test_tensorboard_after_training_has_all_records(tiny: Tiny) -> None:
    assert_success(tiny.train(*SHORT, *BOARD))
    numbers = read_tensorboard(tiny.run)
    assert numbers == read_records(tiny.run)
    assert [update for update, _ in numbers["valid/bleu"]] == [2, 4, 6]
    assert {"train/loss", "train/lr", "train/grad_norm", "valid/perplexity"} <= set(numbers)


@needs_tensorboard
@pytest.mark.usefixtures("interrupt_validation")
def test_tensorboard_after_interrupt_continues(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    assert tiny.train(*SHORT, *BOARD).code == 130
    numbers = read_tensorboard(tiny.run)
    assert numbers == read_records(tiny.run)
    assert [update for update, _ in numbers["valid/bleu"]] == [2], (
        "the second validation was interrupted"
    )
    monkeypatch.undo()
    assert_success(tiny.train(*SHORT, *BOARD, "--resume"))
    numbers = read_tensorboard(tiny.run)
    assert numbers == read_records(tiny.run)
    assert [update for update, _ in numbers["valid/bleu"]] == [2, 4, 6]


@needs_tensorboard
def test_tensorboard_after_kill_drops_later_steps(tiny: Tiny) -> None:
    flags = [*SHORT, *BOARD, *settings(train__keep_last=9)]
    assert_success(tiny.train(*flags))
    shutil.rmtree(tiny.run / "checkpoints" / "step_00000006")
    assert "resumed after update 4\n" in assert_success(tiny.train(*flags, "--resume")).err
    numbers = read_tensorboard(tiny.run)
    assert numbers == read_records(tiny.run)
    assert [update for update, _ in numbers["valid/bleu"]] == [2, 4, 6]


@needs_tensorboard
def test_tensorboard_after_overwrite_starts_again(tiny: Tiny) -> None:
    assert_success(tiny.train(*SHORT, *BOARD))
    assert_success(tiny.train(*BOARD, *settings(train__max_updates=1), "--overwrite"))
    assert [update for update, _ in read_tensorboard(tiny.run)["valid/bleu"]] == [1]
    assert_success(tiny.train("--overwrite"))
    assert not (tiny.run / "tensorboard").exists()


@needs_tensorboard
def test_dry_run_writes_no_tracker_files(tiny: Tiny) -> None:
    assert_success(tiny.train("--dry-run", *BOARD))
    assert not (tiny.run / "tensorboard").exists()


@needs_wandb
@pytest.mark.usefixtures("interrupt_validation")
def test_wandb_after_interrupt_has_records_in_one_run(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert tiny.train(*SHORT, *WANDB).code == 130
    [(run_record, numbers)] = read_wandb(tiny.run)
    assert numbers == read_records(tiny.run)
    assert run_record.display_name == tiny.run.name
    config = {item.key: json.loads(item.value_json) for item in run_record.config.update}
    assert config["train"] == load_config(tiny.run / "config.yaml").train.model_dump(mode="json")
    monkeypatch.undo()
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert_success(tiny.train(*SHORT, *WANDB, "--resume"))
    [(_, first), (second_record, second)] = read_wandb(tiny.run)
    assert second_record.run_id == run_record.run_id
    assert {name: [*first[name], *second[name]] for name in first} == read_records(tiny.run)


@needs_wandb
def test_wandb_error_is_one_line(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    import wandb

    def raise_usage_error(**settings: object) -> None:
        raise wandb.errors.UsageError("No API key configured.")

    monkeypatch.setattr(wandb, "init", raise_usage_error)
    result = tiny.train(*WANDB)
    assert result.code == 2
    assert result.err.endswith("\nerror: train.log_to: wandb: No API key configured.\n")


def test_missing_tracker_package_is_named_first(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nmt.training.monitoring.experiment_trackers.find_spec", lambda name: None)
    result = tiny.train(*settings(train__log_to="[wandb, tensorboard]"))
    assert result.code == 2
    assert result.err.split("\n")[:-1] == [
        f"error: train.log_to: {name} is not installed: pip install 'nmt[logging]'"
        for name in ("wandb", "tensorboard")
    ]
    assert not tiny.run.exists()
