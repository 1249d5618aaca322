"""What a run will cost, from running its parts once: time, peak memory and disk."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nmt.core import files
from nmt.core.logging import duration, size
from nmt.core.ownership import delete_folder
from nmt.data.batching.batches import Batch, largest_batches
from nmt.data.batching.epochs import TokenizedPairs
from nmt.device.memory import peak_memory
from nmt.training.checkpoints.checkpoint import load_checkpoint, save_checkpoint

if TYPE_CHECKING:
    from nmt.training.trainer import Trainer

SAMPLED_BATCHES = 8
"""Batches timed, evenly spread over an epoch sorted by size."""


@dataclass(frozen=True)
class CostEstimate:
    """The cost of one run."""

    update_seconds: float
    """Of a mean update."""
    updates_an_epoch: int
    validation_seconds: float
    """Of one validation with its checkpoint."""
    updates: int | None
    """Updates until a limit in updates or epochs, if there is one."""
    validations: int | None
    peak_bytes: int
    checkpoint_bytes: int
    disk_bytes: int

    @property
    def epoch_seconds(self) -> float:
        """Seconds of one pass over the training text, without validation."""
        return self.update_seconds * self.updates_an_epoch

    @property
    def total_seconds(self) -> float | None:
        """Seconds of the whole run, if a limit in updates or epochs is set."""
        if self.updates is None or self.validations is None:
            return None
        return self.updates * self.update_seconds + self.validations * self.validation_seconds

    def rows(self) -> list[tuple[str, str]]:
        """Return the estimate for a table."""
        total = self.total_seconds
        whole = "no limit in updates or epochs is set" if total is None else duration(total)
        return [
            ("an update", f"{self.update_seconds:.2f} s"),
            ("an epoch", f"{duration(self.epoch_seconds)}, {self.updates_an_epoch} updates"),
            ("a validation", f"{self.validation_seconds:.1f} s"),
            ("the run at most", f"{whole} (max_hours and patience can end it sooner)"),
            ("peak memory", size(self.peak_bytes)),
            (
                "disk at most",
                f"{size(self.disk_bytes)}, {size(self.checkpoint_bytes)} a checkpoint",
            ),
        ]


def estimate_cost(
    trainer: Trainer, validation: Callable[[], float], corpus_bytes: int
) -> CostEstimate:
    """Run the worst-case updates, a sample of others, one validation, one save and one load.

    `validation` validates once and returns the seconds it would take with a trained model. The
    model is changed; nothing stays on disk.
    """
    window = trainer.first_window
    batches = window.batches
    for batch in largest_batches(batches):
        _seconds(trainer, window.pairs, batch)
    ordered = sorted(batches, key=lambda batch: batch.tgt_tokens)
    spread = max(1, len(ordered) // SAMPLED_BATCHES)
    sample = ordered[spread // 2 :: spread]
    seconds_a_token = sum(_seconds(trainer, window.pairs, batch) for batch in sample) / sum(
        batch.tgt_tokens for batch in sample
    )
    update_seconds = seconds_a_token * sum(b.tgt_tokens for b in batches) / len(batches)
    validation_seconds = validation()
    begin = time.perf_counter()
    trained = trainer.model, trainer.optimizer, trainer.average
    folder = save_checkpoint(trainer.run, trainer.state, *trained, record=trainer.record)
    load_checkpoint(folder, *trained)
    validation_seconds += time.perf_counter() - begin
    checkpoint_bytes = sum(file.stat().st_size for file in folder.iterdir())
    delete_folder(folder)
    files.remove_empty_folder(trainer.run.checkpoints)
    settings = trainer.settings
    updates = trainer.total_updates
    every = (
        trainer.updates_an_epoch if settings.validate_every == "epoch" else settings.validate_every
    )
    kept = settings.keep_last + settings.keep_best + 1  # one more while it is being written
    return CostEstimate(
        update_seconds=update_seconds,
        updates_an_epoch=trainer.updates_an_epoch,
        validation_seconds=validation_seconds,
        updates=updates,
        validations=None if updates is None else -(-updates // every),
        peak_bytes=peak_memory(trainer.precision.device),
        checkpoint_bytes=checkpoint_bytes,
        disk_bytes=corpus_bytes + kept * checkpoint_bytes,
    )


def _seconds(trainer: Trainer, pairs: TokenizedPairs, batch: Batch) -> float:
    update = trainer.prepared(pairs, batch)
    begin = time.perf_counter()
    losses, _ = trainer.update(update)
    losses.translation.item()  # waits for the device
    return time.perf_counter() - begin


def folder_bytes(folder: Path) -> int:
    """Return the bytes of all files below `folder`."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
