"""Updates that went wrong, reported where progress is logged: skipped updates and loss spikes.

A gradient that holds NaN or inf never reaches the weights (Precision.step): its update is skipped.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from statistics import median
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from nmt.data.batching.batches import Batch
from nmt.data.batching.epochs import TokenizedPairs
from nmt.data.corpus.corpus import Corpus
from nmt.errors import RunError
from nmt.training.data_parallel import full_tensor
from nmt.training.monitoring.metrics import CompletedStep

if TYPE_CHECKING:
    from nmt.training.trainer import Trainer

MAX_SKIPPED_STEPS = 20
"""Updates skipped in a row, at which training ends: fp16 may need 16 to halve its loss scale of
65,536 down to 1."""
WINDOW = 40
"""Optimizer steps in the window of the loss monitor."""
MIN_HISTORY = 100
"""Optimizer steps after the warm-up before a loss can be a spike."""
MIN_JUMP = 2.0
"""Nats per token that a spike exceeds the median of the window by, at least."""
MIN_DEVIATIONS = 6.0
"""Standard deviations that a spike exceeds the median of the window by, at least."""
MAD_TO_DEVIATION = 1.4826
"""Standard deviation of a normal distribution divided by its median absolute deviation."""
LISTED = 500
"""Lines of a batch in the log file and in an error."""
LISTED_ON_CONSOLE = 3
"""Lines of a batch in a warning on the console."""


class SpikeMonitor:
    """Finds spikes in the training loss; all ranks pass the same losses and get the same spikes.

    A spike exceeds the median of the last WINDOW losses by MIN_JUMP and by MIN_DEVIATIONS. The
    deviation is estimated from the median absolute deviation, so spikes in the window do not hide
    later ones. Losses of the warm-up do not count.
    """

    def __init__(self, warmup: int = 0) -> None:
        self.warmup = warmup
        self.skipped_in_a_row = 0
        """Skipped updates since the last one that was not skipped."""
        self._count = 0
        self._window: deque[float] = deque(maxlen=WINDOW)

    def spikes(self, updates: Iterable[CompletedStep]) -> list[CompletedStep]:
        """Add updates in their order; return the spikes among them."""
        spikes = []
        for update in updates:
            self.skipped_in_a_row = self.skipped_in_a_row + 1 if update.skipped else 0
            if update.number > self.warmup and math.isfinite(update.loss):
                if self._count >= MIN_HISTORY and self._is_spike(update.loss):
                    spikes.append(update)
                self._window.append(update.loss)
                self._count += 1
        return spikes

    def _is_spike(self, loss: float) -> bool:
        center = median(self._window)
        deviation = MAD_TO_DEVIATION * median(abs(other - center) for other in self._window)
        return loss - center > max(MIN_JUMP, MIN_DEVIATIONS * deviation)


def report(trainer: Trainer, updates: Sequence[CompletedStep]) -> bool:
    """Warn about skipped updates and spikes; return whether there was a spike.

    Raises RunError if training has diverged. All ranks call this together.
    """
    spikes = trainer.monitor.spikes(updates)
    if skipped := [each for each in updates if each.skipped]:
        numbers = ", ".join(str(each.number) for each in skipped[:LISTED])
        trainer.log.say(
            f"warning: skipped {len(skipped)} updates, whose gradient held NaN or inf: {numbers}"
        )
        _refuse_to_go_on(trainer, skipped[-1])
    for update in spikes:
        what = f"warning: update {update.number}: loss spike, {update.loss:.3f} nats per token"
        trainer.log.say(
            f"{what}, {MIN_JUMP:g} or more above the median of the last {WINDOW} updates; lines: "
            + describe_lines(trainer.corpus, update.pairs, update.batch, LISTED_ON_CONSOLE)
            + f" ({trainer.run.log} lists all)",
            f"{what}; lines: {describe_lines(trainer.corpus, update.pairs, update.batch)}",
        )
    return bool(spikes)


def _refuse_to_go_on(trainer: Trainer, last: CompletedStep) -> None:
    """Raise RunError where weights are broken, or where too many updates were skipped in a row."""
    weights = first_non_finite(trainer.model.named_parameters())
    if weights is not None:
        raise RunError(
            f"training diverged: after update {trainer.state.update} weights hold NaN or inf, "
            f"first {weights}. The last checkpoint is whole; lower train.lr, or set "
            "train.clip_norm: 1, and start anew with --overwrite or go on with --resume"
        )
    if trainer.monitor.skipped_in_a_row >= MAX_SKIPPED_STEPS:
        raise RunError(
            f"training diverged: {trainer.monitor.skipped_in_a_row} updates in a row had a "
            f"gradient with NaN or inf and were skipped. In update {last.number} "
            f"{_bad_part(trainer, last)} was the first that held one; its lines: "
            f"{describe_lines(trainer.corpus, last.pairs, last.batch)}. "
            "The last checkpoint is whole; "
            "look at these lines, lower train.lr or set train.precision: fp32, and go on with "
            "--resume"
        )


def _bad_part(trainer: Trainer, last: CompletedStep) -> str:
    """Compute the last update again, whose weights are still there; name what is not finite."""
    trainer.step.train()
    losses = trainer.gradients(trainer.prepared(last.pairs, last.batch), last.number)
    if not bool(trainer.workers.all_reduce_sum(torch.stack(losses)).isfinite().all()):
        return "the loss"
    weights = trainer.model.named_parameters()
    return f"the gradient of {first_non_finite((name, weight.grad) for name, weight in weights)}"


def first_non_finite(tensors: Iterable[tuple[str, Tensor | None]]) -> str | None:
    """Return the name of the first tensor that holds NaN or inf; all workers come here together."""
    for name, tensor in tensors:
        if tensor is not None and not bool(full_tensor(tensor).isfinite().all()):
            return name
    return None


def describe_lines(
    corpus: Corpus, pairs: TokenizedPairs, batch: Batch, count: int | None = None
) -> str:
    """Return the first `count` (default LISTED) lines of a batch as FILE:1,5,9 and 16 more."""
    count = LISTED if count is None else count
    rows = sorted(set(pairs.corpus_rows(batch.rows).tolist()))
    return in_words(corpus.locations(rows[:count])) + (
        f" and {len(rows) - count} more" if len(rows) > count else ""
    )


def in_words(places: Sequence[tuple[str, int]]) -> str:
    """Write (file, line) pairs, file by file."""
    by_file: dict[str, list[str]] = {}
    for file, line in places:
        by_file.setdefault(file, []).append(str(line))
    return "; ".join(f"{file}:{','.join(lines)}" for file, lines in by_file.items())
