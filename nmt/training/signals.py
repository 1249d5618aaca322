"""Stop training on a signal: save the state, then exit with the code of the signal.

The first signal sets a flag. The training loop reads it after each optimizer step; validation reads
it in each micro-batch and decoding step. A second signal ends the process at once.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType
from typing import TypeVar

from nmt.core.distributed.process_group import ProcessGroup
from nmt.errors import EXIT_INTERRUPTED, EXIT_REQUEUE, EXIT_TERMINATED

T = TypeVar("T")

EXIT_CODES = {
    int(signal.SIGTERM): EXIT_TERMINATED,
    int(signal.SIGINT): EXIT_INTERRUPTED,
    int(signal.SIGUSR1): EXIT_REQUEUE,
}
"""Exit code of the process for each handled signal."""
DUPLICATE_SECONDS = 0.5
"""A signal within this time of the first is a duplicate.

`timeout`, Slurm and torchrun send the same signal to a process and to its process group."""
POLL_SECONDS = 0.5
"""Interval at which a validation asks whether another rank received a signal."""


@contextmanager
def handle_signals(receive: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Call `receive` for the signals of EXIT_CODES within the block."""
    old_handlers = {number: signal.signal(number, receive) for number in EXIT_CODES}
    try:
        yield
    finally:
        for number, handler in old_handlers.items():
            signal.signal(number, handler)


class StopTraining(Exception):  # noqa: N818 (not an error)
    """Raised within a validation if any rank received a signal."""


class Signals:
    """The signal that this process received, and the signal that all ranks stop for."""

    def __init__(self, ranks: ProcessGroup) -> None:
        self.ranks = ranks
        self.received: int | None = None
        """Number of the first signal that this process received."""
        self.agreed: int | None = None
        """Number of the signal that all ranks stop for, set by `synchronize`."""
        self._received_at = 0.0
        self._polled_at = 0.0

    def handle(self) -> AbstractContextManager[None]:
        """Return a context in which the signals of EXIT_CODES are handled."""
        return handle_signals(self._receive)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.received is None:
            self.received, self._received_at = number, now
        elif now - self._received_at > DUPLICATE_SECONDS:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    def synchronize(self, *values: float) -> list[float]:
        """Share signals among all ranks; return the maximum of each value over the ranks."""
        number, *maxima = self.ranks.all_reduce_max(self.received or 0, *values)
        self.agreed = int(number) or None
        return maxima

    def must_stop(self) -> bool:
        """Return whether all ranks have agreed to stop."""
        return self.agreed is not None

    def check(self) -> None:
        """Raise StopTraining if this process received a signal, or another rank asks to stop.

        Other ranks are asked at most every POLL_SECONDS.
        """
        now = time.monotonic()
        if self.received is None and now - self._polled_at > POLL_SECONDS:
            self._polled_at = now
            if self.ranks.stop_requested():
                raise StopTraining
        if self.received is not None:
            raise StopTraining

    def run_on_all_ranks(self, work: Callable[[], T]) -> T:
        """Return the result of `work`, which calls `check` often.

        All ranks must call this together. If any rank received a signal, all raise StopTraining
        here, so that no rank waits in a collective operation for a rank that has stopped.
        """
        results: list[T] = []
        try:
            results.append(work())
        except StopTraining:
            self.ranks.request_stop()
        self.ranks.barrier()
        self.synchronize()
        if self.must_stop():
            raise StopTraining
        return results[0]
