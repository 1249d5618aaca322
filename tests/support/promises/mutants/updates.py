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
from nmt.training.loss import Losses
from nmt.training.micro_batches import MicroBatcher, MicroBatchOutOfMemory
from nmt.training.monitoring import loss_monitor
from nmt.training.signals import EXIT_CODES, Signals
from nmt.training.trainer import Trainer


def moments_stay_behind() -> None:
    """A resumed run begins with an optimizer that has seen nothing."""
    real = checkpointer.load_checkpoint

    def load(folder: Any, model: Any, optimizer: torch.optim.Optimizer, average: Any) -> Any:
        state = real(folder, model, optimizer, average)
        optimizer.state.clear()
        return state

    checkpointer.load_checkpoint = load  # type: ignore[assignment]


def one_generator_runs_on() -> None:
    """Dropout is not drawn from (seed, update, micro-batch)."""
    loop.seed_everything = lambda *numbers: None


def moving_average_restarts() -> None:
    """A resumed run's moving average begins at the weights."""
    real = checkpointer.load_checkpoint

    def load(folder: Any, model: Any, optimizer: Any, average: Any) -> Any:
        state = real(folder, model, optimizer, average)
        if average is not None:
            average.restart()
        return state

    checkpointer.load_checkpoint = load


def a_batch_is_left_out() -> None:
    """A resumed run begins one batch too late."""
    real = Trainer.resume

    def resume(self: Trainer) -> None:
        real(self)
        self.state.batch += 1

    Trainer.resume = resume  # type: ignore[method-assign]


def validations_hear_nothing() -> None:
    """A signal waits for the end of a validation."""
    Signals.check = lambda self: None  # type: ignore[method-assign]


def due_validation_is_forgotten() -> None:
    """A resumed run continues with the next step and skips a due validation."""
    real = Trainer.resume

    def resume(self: Trainer) -> None:
        real(self)
        if self.state.step < (self.settings.max_updates or 0):
            self.state.scores.setdefault(str(self.state.step), 0.0)

    Trainer.resume = resume  # type: ignore[method-assign]


def the_second_signal_is_ignored() -> None:
    """Only the first counts."""

    def note(self: Signals, number: int, frame: Any) -> None:
        self.received = self.received or number

    Signals._receive = note  # type: ignore[method-assign]


def requeueing_looks_like_an_interrupt() -> None:
    """SIGUSR1 has the exit code of SIGINT."""
    EXIT_CODES[10] = 130


def each_worker_for_itself() -> None:
    """A worker that is signalled does not let the others know."""
    Signals.run_on_all_ranks = lambda self, work: work()  # type: ignore[method-assign]


def the_step_is_always_taken() -> None:
    """Nobody looks at the norm."""

    def step(self: Precision, optimizer: torch.optim.Optimizer, clip_norm: float) -> torch.Tensor:
        weights = [p for group in optimizer.param_groups for p in group["params"]]
        norm = nn.utils.clip_grad_norm_(weights, clip_norm or float("inf"))
        optimizer.step()
        return norm

    Precision.step = step  # type: ignore[method-assign]


def only_gradients_are_looked_at() -> None:
    """A loss of inf is fine as long as its gradient is."""

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


def skipping_goes_on_for_ever() -> None:
    """Nobody counts updates skipped in a row."""
    loss_monitor.MAX_SKIPPED_STEPS = 10**9


def half_of_the_update_is_lost() -> None:
    """Where memory runs out only half of the pairs are tried again."""
    real = MicroBatcher.halve

    def halve(self: MicroBatcher, batch: RankBatch, failed: int) -> RankBatch:
        smaller = real(self, batch, failed)
        return replace(smaller, micro_batches=smaller.micro_batches[::2])

    MicroBatcher.halve = halve  # type: ignore[method-assign]


def the_broken_gradient_stays() -> None:
    """Gradients from before the out-of-memory error are added a second time."""
    real = Trainer.forward_backward

    def forward_backward(self: Trainer, batch: RankBatch, step: int) -> Losses:
        try:
            return real(self, batch, step)
        except MicroBatchOutOfMemory as error:
            gradients = [weight.grad for weight in self.model.parameters()]
            losses = real(self, self.micro_batcher.halve(batch, error.index), step)
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
    "moments stay behind": (1, RESUME, moments_stay_behind),
    "one generator runs on": (1, RESUME, one_generator_runs_on),
    "moving average restarts": (1, RESUME, moving_average_restarts),
    "a batch is left out": (1, RESUME, a_batch_is_left_out),
    "validations hear nothing": (8, LEFT, validations_hear_nothing),
    "due validation is forgotten": (8, SIGNAL, due_validation_is_forgotten),
    "the second signal is ignored": (
        8,
        "test_signals.py::test_second_signal_ends_process_at_once",
        the_second_signal_is_ignored,
    ),
    "requeueing looks like an interrupt": (8, LEFT, requeueing_looks_like_an_interrupt),
    "each worker for itself": (
        8,
        "test_bad_numbers.py::test_nan_or_signal_on_one_rank_reaches_all",
        each_worker_for_itself,
    ),
    "the step is always taken": (9, BAD, the_step_is_always_taken),
    "only gradients are looked at": (9, BAD, only_gradients_are_looked_at),
    "skipping goes on for ever": (9, ENDS, skipping_goes_on_for_ever),
    "half of the update is lost": (10, HALVES, half_of_the_update_is_lost),
    "the broken gradient stays": (10, HALVES, the_broken_gradient_stays),
}
"""Name to promise, the test that catches it, and the function that plants it."""
