"""Mutants that the tests of guarantees about updates must detect; see catalogue.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from nmt.data.batching.loader import RankBatch
from nmt.device.precision import Precision
from nmt.training import trainer as loop
from nmt.training.checkpoints import checkpointer
from nmt.training.monitoring import loss_monitor
from nmt.training.optimization.loss import Losses
from nmt.training.optimization.micro_batches import MicroBatcher, MicroBatchOutOfMemory
from nmt.training.signals import EXIT_CODES, Signals
from nmt.training.trainer import Trainer


def drop_moments() -> None:
    """A resumed run has an optimizer without moments."""
    original = checkpointer.load_checkpoint

    def load(folder: Any, model: Any, optimizer: torch.optim.Optimizer, average: Any) -> Any:
        state = original(folder, model, optimizer, average)
        optimizer.state.clear()
        return state

    checkpointer.load_checkpoint = load  # type: ignore[assignment]


def keep_one_generator() -> None:
    """The seed of dropout does not depend on (seed, update, micro-batch)."""
    loop.seed_everything = lambda *numbers: None


def restart_moving_average() -> None:
    """The moving average of a resumed run begins at the weights."""
    original = checkpointer.load_checkpoint

    def load(folder: Any, model: Any, optimizer: Any, average: Any) -> Any:
        state = original(folder, model, optimizer, average)
        if average is not None:
            average.restart()
        return state

    checkpointer.load_checkpoint = load


def skip_batch() -> None:
    """A resumed run skips a batch."""
    original = Trainer.resume

    def resume(self: Trainer) -> None:
        original(self)
        self.state.batch += 1

    Trainer.resume = resume  # type: ignore[method-assign]


def ignore_signal_in_validation() -> None:
    """A signal has no effect until the end of a validation."""
    Signals.check = lambda self: None  # type: ignore[method-assign]


def skip_due_validation() -> None:
    """A resumed run continues with the next step and skips a due validation."""
    original = Trainer.resume

    def resume(self: Trainer) -> None:
        original(self)
        if self.state.step < (self.settings.max_updates or 0):
            self.state.scores.setdefault(str(self.state.step), 0.0)

    Trainer.resume = resume  # type: ignore[method-assign]


def ignore_second_signal() -> None:
    """Only the first signal has an effect."""

    def receive(self: Signals, number: int, frame: Any) -> None:
        self.received = self.received or number

    Signals._receive = receive  # type: ignore[method-assign]


def give_usr1_the_code_of_int() -> None:
    """SIGUSR1 has the exit code of SIGINT."""
    EXIT_CODES[10] = 130


def keep_signal_on_one_rank() -> None:
    """A rank that receives a signal does not tell the other ranks."""
    Signals.run_on_all_ranks = lambda self, work: work()  # type: ignore[method-assign]


def step_on_nan() -> None:
    """The optimizer step does not check the gradient norm."""

    def step(self: Precision, optimizer: torch.optim.Optimizer, clip_norm: float) -> torch.Tensor:
        weights = [p for group in optimizer.param_groups for p in group["params"]]
        norm = nn.utils.clip_grad_norm_(weights, clip_norm or float("inf"))
        optimizer.step()
        return norm

    Precision.step = step  # type: ignore[method-assign]


def check_gradients_only() -> None:
    """A loss of inf is accepted if its gradient is finite."""

    def forward_backward(self: Trainer, batch: RankBatch, step: int) -> Losses:
        self.optimizer.zero_grad(set_to_none=True)
        sums = []
        for index, micro_batch in enumerate(batch.micro_batches):
            with self.parallel.gradient_sync(index + 1 == len(batch.micro_batches)):
                losses = self.parallel(micro_batch)
                total = self.module.total(losses)
                self.precision.backward(total * (self.ranks.size / batch.tgt_tokens))
            sums.append(torch.stack(losses).detach())
        return Losses(*torch.stack(sums).sum(0))

    Trainer.forward_backward = forward_backward  # type: ignore[method-assign]


def skip_without_limit() -> None:
    """Consecutive skipped updates are not counted."""
    loss_monitor.MAX_SKIPPED_STEPS = 10**9


def drop_half_of_batch() -> None:
    """After an out-of-memory error, only half of the pairs are repeated."""
    original = MicroBatcher.halve

    def halve(self: MicroBatcher, batch: RankBatch, failed: int) -> RankBatch:
        smaller = original(self, batch, failed)
        return replace(smaller, micro_batches=smaller.micro_batches[::2])

    MicroBatcher.halve = halve  # type: ignore[method-assign]


def keep_partial_gradient() -> None:
    """Gradients from before the out-of-memory error are added a second time."""
    original = Trainer.forward_backward

    def forward_backward(self: Trainer, batch: RankBatch, step: int) -> Losses:
        try:
            return original(self, batch, step)
        except MicroBatchOutOfMemory as error:
            gradients = [weight.grad for weight in self.model.parameters()]
            losses = original(self, self.micro_batcher.halve(batch, error.index), step)
            for weight, gradient in zip(self.model.parameters(), gradients, strict=True):
                if gradient is not None and weight.grad is not None:
                    weight.grad += gradient
            return losses

    Trainer.forward_backward = forward_backward  # type: ignore[method-assign]


RESUME = "test_exact_resume.py::test_resume_after_any_step_equals_uninterrupted_state"
SIGNAL = "test_signals.py::test_signal_ends_training_after_current_step"
LEFT = "test_signals.py::test_signal_during_validation_defers_it_to_resume"
BAD = "test_bad_numbers.py::test_skipped_step_leaves_state_unchanged"
ENDS = "test_bad_numbers.py::test_train_many_skipped_steps_names_tensor_and_lines"
HALVES = "test_out_of_memory.py::test_out_of_memory_halved_micro_batches_equal_gradient"

MUTANTS: dict[str, tuple[int, str, Callable[[], None]]] = {
    "moments not restored": (1, RESUME, drop_moments),
    "dropout seed constant": (1, RESUME, keep_one_generator),
    "moving average restarted": (1, RESUME, restart_moving_average),
    "batch skipped": (1, RESUME, skip_batch),
    "signal ignored in validation": (8, LEFT, ignore_signal_in_validation),
    "due validation skipped": (8, SIGNAL, skip_due_validation),
    "second signal ignored": (
        8,
        "test_signals.py::test_second_signal_ends_process_at_once",
        ignore_second_signal,
    ),
    "exit code of SIGINT for SIGUSR1": (8, LEFT, give_usr1_the_code_of_int),
    "signal kept on one rank": (
        8,
        "test_bad_numbers.py::test_nan_or_signal_on_one_rank_reaches_all",
        keep_signal_on_one_rank,
    ),
    "gradient norm not checked": (9, BAD, step_on_nan),
    "loss not checked": (9, BAD, check_gradients_only),
    "skipped updates not limited": (9, ENDS, skip_without_limit),
    "half of the batch dropped": (10, HALVES, drop_half_of_batch),
    "partial gradient kept": (10, HALVES, keep_partial_gradient),
}
"""By name: the guarantee, the test that detects the mutant, and the function that applies it."""
