"""Mutants that the tests of guarantees about jobs must detect; see catalogue.py."""

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


def deal_only_full_rounds() -> None:
    """Pairs of a batch that do not go round all workers are left out."""
    from nmt.data.batching.batches import Batch

    for_rank = Batch.for_rank

    def short(self: Batch, rank: int, size: int) -> Batch:
        full = Batch(self.rows[: len(self.rows) // size * size], self.src_length, self.tgt_length)
        return for_rank(full if size > 1 else self, rank, size)

    Batch.for_rank = short  # type: ignore[method-assign]


def begin_the_epoch_again() -> None:
    """A resume goes back to the begin of its epoch."""
    from nmt.training.trainer import Trainer

    resume = Trainer.resume

    def again(self: Trainer) -> None:
        resume(self)
        self.state.batch = 0

    Trainer.resume = again  # type: ignore[method-assign]


def hear_nothing() -> None:
    """Nobody has a pulse: a stopped worker keeps the others waiting."""
    from nmt.core.distributed.heartbeat import Heartbeat

    Heartbeat.start = lambda self: None  # type: ignore[method-assign]
    Heartbeat.stop = lambda self: None  # type: ignore[method-assign]


def blame_another() -> None:
    """The worker that hears the silence, and not the silent one, is named and killed."""
    from nmt.core.distributed.heartbeat import Heartbeat

    end = Heartbeat._end_job
    Heartbeat._end_job = lambda self, lost: end(self, self.rank)  # type: ignore[method-assign]


def meet_where_we_met() -> None:
    """A restart finds the addresses of the attempt before."""
    from nmt.core.distributed import process_group

    process_group.attempt_store = lambda store: store


KILLED = "test_killed.py::test_killed_run_ends_like_uninterrupted_run"
WORLDS = "test_world_size.py::test_resume_other_world_size_keeps_loss"
RESTART = "test_lost_worker.py::test_torchrun_restart_uses_new_rendezvous"
LOST = "test_lost_worker.py::test_torchrun_stopped_main_rank_is_named_and_restarted"

MUTANTS: dict[str, tuple[int, str, Callable[[], None]]] = {
    "lose moments": (2, KILLED, lose_moments),
    "skip a batch": (2, KILLED, skip_a_batch),
    "deal only full rounds": (3, WORLDS, deal_only_full_rounds),
    "begin the epoch again": (3, WORLDS, begin_the_epoch_again),
    "hear nothing": (11, LOST, hear_nothing),
    "meet where we met": (11, RESTART, meet_where_we_met),
    "blame another": (11, LOST, blame_another),
}
"""Name to promise, the test that catches it, and the function that plants it."""
