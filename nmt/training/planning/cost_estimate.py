"""Estimate the time, memory and disk space of a run by executing each of its parts once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from nmt.core import files
from nmt.core.console import format_duration, format_size
from nmt.core.ownership import delete_own_folder
from nmt.data.batching.batches import Batch, largest_batches
from nmt.device.memory import peak_memory
from nmt.training.checkpoints.checkpointer import Checkpointer
from nmt.training.checkpoints.train_state import TrainState
from nmt.training.planning.stopping import StoppingCriteria

NUM_TIMED_BATCHES = 8
"""Number of batches that are timed, evenly spread over the batches sorted by size."""


@dataclass(frozen=True)
class CostEstimate:
    """Time, memory and disk space of one run."""

    step_seconds: float
    """Mean duration of an optimizer step."""
    steps_per_epoch: int
    validation_seconds: float
    """Duration of a validation and its checkpoint."""
    max_steps: int | None
    """Optimizer steps until a limit in steps or epochs; None without such a limit."""
    max_validations: int | None
    peak_bytes: int
    """Peak memory of the process or the GPU."""
    checkpoint_bytes: int
    disk_bytes: int
    """Maximum size of the run folder."""

    @property
    def epoch_seconds(self) -> float:
        """Duration of an epoch without validation."""
        return self.step_seconds * self.steps_per_epoch

    @property
    def total_seconds(self) -> float | None:
        """Duration of the run; None without a limit in steps or epochs."""
        if self.max_steps is None or self.max_validations is None:
            return None
        training_seconds = self.max_steps * self.step_seconds
        return training_seconds + self.max_validations * self.validation_seconds

    def rows(self) -> list[tuple[str, str]]:
        """Return the rows of a table with a name and a value."""
        if self.total_seconds is None:
            total = "no limit in updates or epochs is set"
        else:
            total = format_duration(self.total_seconds)
        return [
            ("an update", f"{self.step_seconds:.2f} s"),
            ("an epoch", f"{format_duration(self.epoch_seconds)}, {self.steps_per_epoch} updates"),
            ("a validation", f"{self.validation_seconds:.1f} s"),
            ("the run at most", f"{total} (max_hours and patience can end it sooner)"),
            ("peak memory", format_size(self.peak_bytes)),
            (
                "disk at most",
                f"{format_size(self.disk_bytes)}, "
                f"{format_size(self.checkpoint_bytes)} a checkpoint",
            ),
        ]


def estimate_cost(
    batches: Sequence[Batch],
    time_step: Callable[[Batch], float],
    time_validation: Callable[[], float],
    checkpointer: Checkpointer,
    stopping: StoppingCriteria,
    corpus_bytes: int,
    device: torch.device,
) -> CostEstimate:
    """Run the largest and a sample of other batches, a validation, and a save and load.

    `batches` represent an epoch, such as those of its first window. `time_step` makes an optimizer
    step and returns its seconds. `time_validation` validates and returns the seconds that it would
    take with a trained model. This changes the model and leaves no file.
    """
    batches = list(batches)
    # for the peak memory; their times would bias the mean
    for batch in largest_batches(batches):
        time_step(batch)
    mean_tokens = sum(batch.tgt_tokens for batch in batches) / len(batches)
    step_seconds = _seconds_per_token(batches, time_step) * mean_tokens
    validation_seconds = time_validation()
    checkpoint_seconds, checkpoint_bytes = _measure_checkpoint(checkpointer)
    max_validations = None
    if stopping.max_steps is not None:
        interval = stopping.settings.validate_every
        steps = stopping.steps_per_epoch if interval == "epoch" else interval
        max_validations = -(-stopping.max_steps // steps)
    # One checkpoint more than are kept exists while it is being written.
    num_checkpoints = stopping.settings.keep_last + stopping.settings.keep_best + 1
    return CostEstimate(
        step_seconds=step_seconds,
        steps_per_epoch=stopping.steps_per_epoch,
        validation_seconds=validation_seconds + checkpoint_seconds,
        max_steps=stopping.max_steps,
        max_validations=max_validations,
        peak_bytes=peak_memory(device),
        checkpoint_bytes=checkpoint_bytes,
        disk_bytes=corpus_bytes + num_checkpoints * checkpoint_bytes,
    )


def _seconds_per_token(batches: Sequence[Batch], time_step: Callable[[Batch], float]) -> float:
    """Return the seconds per padded target token of a sample of batches of all sizes."""
    by_size = sorted(batches, key=lambda batch: batch.tgt_tokens)
    interval = max(1, len(by_size) // NUM_TIMED_BATCHES)
    sample = by_size[interval // 2 :: interval]
    seconds = sum(time_step(batch) for batch in sample)
    return seconds / sum(batch.tgt_tokens for batch in sample)


def _measure_checkpoint(checkpointer: Checkpointer) -> tuple[float, int]:
    """Write, load and delete a checkpoint; return the seconds and its bytes."""
    start = time.perf_counter()
    folder = checkpointer.write(TrainState())
    checkpointer.load(folder)
    seconds = time.perf_counter() - start
    num_bytes = sum(file.stat().st_size for file in folder.iterdir())
    delete_own_folder(folder)
    files.remove_empty_folder(checkpointer.run.checkpoints)
    return seconds, num_bytes


def folder_bytes(folder: Path) -> int:
    """Return the total size of all files below a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
