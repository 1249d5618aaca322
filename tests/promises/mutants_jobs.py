"""Mutants of the promises that tests/promises holds about jobs; see mutants.py."""

from __future__ import annotations

from collections.abc import Callable


def lose_moments() -> None:
    """A resume begins with a fresh optimizer."""
    from nmt.training.trainer import Trainer

    resume = Trainer.resume

    def losing(self: Trainer) -> None:
        resume(self)
        self.optimizer.state.clear()

    Trainer.resume = losing  # type: ignore[method-assign]


def skip_a_batch() -> None:
    """A resume goes on one batch too far."""
    from nmt.training.trainer import Trainer

    resume = Trainer.resume

    def skipping(self: Trainer) -> None:
        resume(self)
        self.state.batch += 1

    Trainer.resume = skipping  # type: ignore[method-assign]


KILLED = "test_killed.py::test_a_killed_run_ends_as_one_that_was_not"

MUTANTS: dict[str, tuple[int, str, Callable[[], None]]] = {
    "lose_moments": (2, KILLED, lose_moments),
    "skip_a_batch": (2, KILLED, skip_a_batch),
}
"""Name to promise, the test that catches it, and the function that plants it."""
