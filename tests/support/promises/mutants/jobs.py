"""Mutants that the tests of guarantees about jobs must detect; see catalogue.py."""

from __future__ import annotations

from collections.abc import Callable


def lose_moments() -> None:
    """A resumed run has an optimizer without moments."""
    from nmt.training.trainer import Trainer

    resume = Trainer.resume

    def resume_without_moments(self: Trainer) -> None:
        resume(self)
        self.optimizer.state.clear()

    Trainer.resume = resume_without_moments  # type: ignore[method-assign]


def skip_a_batch() -> None:
    """A resumed run skips a batch."""
    from nmt.training.trainer import Trainer

    resume = Trainer.resume

    def resume_with_skip(self: Trainer) -> None:
        resume(self)
        self.state.batch += 1

    Trainer.resume = resume_with_skip  # type: ignore[method-assign]


def drop_uneven_pairs() -> None:
    """If the ranks cannot share a batch equally, its last pairs are dropped."""
    from nmt.data.batching.batches import Batch

    for_rank = Batch.for_rank

    def for_rank_without_rest(self: Batch, rank: int, size: int) -> Batch:
        full = Batch(self.rows[: len(self.rows) // size * size], self.src_length, self.tgt_length)
        return for_rank(full if size > 1 else self, rank, size)

    Batch.for_rank = for_rank_without_rest  # type: ignore[method-assign]


def restart_epoch() -> None:
    """A resumed run begins at the start of its epoch."""
    from nmt.training.trainer import Trainer

    resume = Trainer.resume

    def resume_at_epoch_start(self: Trainer) -> None:
        resume(self)
        self.state.batch = 0

    Trainer.resume = resume_at_epoch_start  # type: ignore[method-assign]


def send_no_heartbeats() -> None:
    """No rank sends heartbeats: a stopped rank blocks the others."""
    from nmt.core.distributed.heartbeat import Heartbeat

    Heartbeat.start = lambda self: None  # type: ignore[method-assign]
    Heartbeat.stop = lambda self: None  # type: ignore[method-assign]


def name_wrong_rank() -> None:
    """The rank that misses a heartbeat is named and killed, not the stopped rank."""
    from nmt.core.distributed.heartbeat import Heartbeat

    end = Heartbeat._end_job
    Heartbeat._end_job = lambda self, lost: end(self, self.rank)  # type: ignore[method-assign]


def reuse_rendezvous() -> None:
    """A restarted job reads the addresses of the earlier attempt."""
    from nmt.core.distributed import process_group

    process_group.attempt_store = lambda store: store


KILLED = "test_killed.py::test_killed_run_ends_like_uninterrupted_run"
WORLDS = "test_world_size.py::test_resume_other_world_size_keeps_loss"
RESTART = "test_lost_worker.py::test_torchrun_restart_uses_new_rendezvous"
LOST = "test_lost_worker.py::test_torchrun_stopped_main_rank_is_named_and_restarted"

MUTANTS: dict[str, tuple[int, str, Callable[[], None]]] = {
    "optimizer without moments": (2, KILLED, lose_moments),
    "batch skipped at resume": (2, KILLED, skip_a_batch),
    "uneven pairs dropped": (3, WORLDS, drop_uneven_pairs),
    "epoch restarted at resume": (3, WORLDS, restart_epoch),
    "heartbeats not sent": (11, LOST, send_no_heartbeats),
    "rendezvous reused": (11, RESTART, reuse_rendezvous),
    "wrong rank named": (11, LOST, name_wrong_rank),
}
"""By name: the guarantee, the test that detects the mutant, and the function that applies it."""
