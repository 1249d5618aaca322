"""Report skipped optimizer steps and loss spikes, and end training that has diverged.

If a gradient contains NaN or infinity, its step is skipped, so these values never reach the weights
(Precision.step).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

from nmt.core.distributed.process_group import ProcessGroup
from nmt.data.corpus.corpus import Corpus
from nmt.errors import RunError
from nmt.models.build import AnyModel
from nmt.training.monitoring.metrics import CompletedStep
from nmt.training.monitoring.run_log import RunLog
from nmt.training.optimization.data_parallel import full_tensor
from nmt.training.optimization.loss import Losses
from nmt.training.optimization.micro_batches import describe_lines

MAX_SKIPPED_STEPS = 20
"""Number of steps skipped in a row at which training ends.

fp16 may need 16 steps to halve its loss scale of 65,536 down to 1."""
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
MAX_LISTED_STEPS = 500
"""Maximum number of skipped steps in a warning."""
MAX_LINES_ON_CONSOLE = 3
"""Maximum number of lines of a batch in a warning on the console."""

RecomputeGradients = Callable[[CompletedStep], Losses]
"""Computes the losses and gradients of a step once more, without an optimizer step."""


class SpikeDetector:
    """Finds spikes in the training loss; all ranks pass the same losses and get the same spikes.

    A spike exceeds the median of the last WINDOW losses by MIN_JUMP and by MIN_DEVIATIONS. The
    deviation is estimated from the median absolute deviation, so spikes in the window do not hide
    later ones. Losses of the first `warmup_steps` optimizer steps do not count.
    """

    def __init__(self, warmup_steps: int = 0) -> None:
        self.warmup_steps = warmup_steps
        self._count = 0
        self._window: deque[float] = deque(maxlen=WINDOW)

    def find_spikes(self, steps: Iterable[CompletedStep]) -> list[CompletedStep]:
        """Add steps in their order; return the spikes among them."""
        spikes = []
        for step in steps:
            if step.step > self.warmup_steps and math.isfinite(step.loss):
                if self._count >= MIN_HISTORY and self._is_spike(step.loss):
                    spikes.append(step)
                self._window.append(step.loss)
                self._count += 1
        return spikes

    def _is_spike(self, loss: float) -> bool:
        center = median(self._window)
        deviation = MAD_TO_DEVIATION * median(abs(value - center) for value in self._window)
        return loss - center > max(MIN_JUMP, MIN_DEVIATIONS * deviation)


class LossMonitor:
    """Checks all optimizer steps when a log record is written.

    All ranks must call `check` together.
    """

    def __init__(
        self,
        warmup_steps: int,
        model: AnyModel,
        corpus: Corpus,
        ranks: ProcessGroup,
        log: RunLog,
        log_path: Path,
        recompute_gradients: RecomputeGradients,
    ) -> None:
        """Build a monitor; `corpus` and `log_path` locate the lines of a batch in warnings."""
        self.spike_detector = SpikeDetector(warmup_steps)
        self.model = model
        self.corpus = corpus
        self.ranks = ranks
        self.log = log
        self.log_path = log_path
        self.recompute_gradients = recompute_gradients
        self.skipped_in_a_row = 0
        """Number of skipped steps since the last step that was not skipped."""

    def check(self, steps: Sequence[CompletedStep]) -> bool:
        """Warn about skipped steps and spikes; return whether there was a spike.

        Raises RunError if weights are not finite or too many steps in a row were skipped.
        """
        for step in steps:
            self.skipped_in_a_row = self.skipped_in_a_row + 1 if step.is_skipped else 0
        skipped = [step for step in steps if step.is_skipped]
        if skipped:
            numbers = ", ".join(str(step.step) for step in skipped[:MAX_LISTED_STEPS])
            self.log.warning(
                f"skipped {len(skipped)} updates with NaN or inf in the gradient: {numbers}"
            )
            self._check_weights(steps[-1].step)
            self._check_skipped(skipped[-1])
        spikes = self.spike_detector.find_spikes(steps)
        for spike in spikes:
            self._warn_about_spike(spike)
        return bool(spikes)

    def _check_weights(self, step: int) -> None:
        """Raise RunError if a weight contains NaN or infinity."""
        name = first_non_finite(self.model.named_parameters())
        if name is not None:
            raise RunError(
                f"training diverged: after update {step} weights hold NaN or inf, first {name}. "
                "The last checkpoint is intact (lower train.lr, or set train.clip_norm: 1, and "
                "start again with --overwrite or continue with --resume)"
            )

    def _check_skipped(self, last: CompletedStep) -> None:
        """Raise RunError if too many steps in a row were skipped; `last` is the last of these."""
        if self.skipped_in_a_row < MAX_SKIPPED_STEPS:
            return
        raise RunError(
            f"training diverged: {self.skipped_in_a_row} consecutive updates had a gradient "
            f"with NaN or inf and were skipped. In update {last.step} "
            f"{self._first_non_finite_part(last)} was the first part with NaN or inf; "
            "lines of the batch: "
            f"{describe_lines(self.corpus, last.pairs, last.batch)}. The last checkpoint is intact "
            "(check these lines, lower train.lr or set train.precision: fp32, and continue with "
            "--resume)"
        )

    def _first_non_finite_part(self, step: CompletedStep) -> str:
        """Compute the gradients of a step once more; name the first part that is not finite.

        The step was skipped, so the weights are those that it used.
        """
        losses = self.recompute_gradients(step)
        if not bool(self.ranks.all_reduce_sum(torch.stack(losses)).isfinite().all()):
            return "the loss"
        gradients = ((name, weight.grad) for name, weight in self.model.named_parameters())
        return f"the gradient of {first_non_finite(gradients)}"

    def _warn_about_spike(self, spike: CompletedStep) -> None:
        """Name the lines of the batch: a few on the console, all in the log file."""
        summary = f"update {spike.step}: loss spike, {spike.loss:.3f} nats per token"
        few_lines = describe_lines(self.corpus, spike.pairs, spike.batch, MAX_LINES_ON_CONSOLE)
        all_lines = describe_lines(self.corpus, spike.pairs, spike.batch)
        self.log.warning(
            f"{summary}, {MIN_JUMP:g} or more above the median of the last {WINDOW} updates; "
            f"lines: {few_lines} ({self.log_path} lists all)",
            f"{summary}; lines: {all_lines}",
        )


def first_non_finite(tensors: Iterable[tuple[str, Tensor | None]]) -> str | None:
    """Return the name of the first tensor with NaN or infinity; all ranks must call this."""
    for name, tensor in tensors:
        if tensor is not None and not bool(full_tensor(tensor).isfinite().all()):
            return name
    return None
