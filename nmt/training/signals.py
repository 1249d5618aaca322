"""Signals that end training early: who hears of them, and what a second one does.

The first sets a flag. The loop looks at it once an update, validation once a micro-batch and once a
step of the search; the state is saved then, and the process ends with the signal's exit code.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
"""The signals heeded, and how the process ends when its state is saved."""
ECHO_SECONDS = 0.5
"""One that comes so soon after the first is the first: `timeout`, Slurm and torchrun send it both
to a process and to its group."""
LISTEN_SECONDS = 0.5
"""How often a validation asks whether another worker was signalled."""


class StopTraining(Exception):  # noqa: N818 (nothing is wrong)
    """A validation is left, since a signal came."""


class Signals:
    """The signals that one process got, and what the workers of a job know of each other's."""

    def __init__(self, workers: ProcessGroup) -> None:
        self.workers = workers
        self.own: int | None = None
        """The one that this process got."""
        self.agreed: int | None = None
        """The one that all workers stop for: they have it together, by `agree`."""
        self._first = self._asked = 0.0

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """Heed signals within the block."""
        old = {number: signal.signal(number, self._note) for number in EXIT_CODES}
        try:
            yield
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.own is None:
            self.own, self._first = number, now
        elif now - self._first > ECHO_SECONDS:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    def agree(self, *values: float) -> list[float]:
        """Share signals; return the largest that any worker has of each value."""
        number, *largest = self.workers.all_reduce_max(self.own or 0, *values)
        self.agreed = int(number) or None
        return largest

    def check(self) -> None:
        """Raise StopTraining where this process was signalled, or another one lately."""
        now = time.monotonic()
        if self.own is None and now - self._asked > LISTEN_SECONDS:
            self._asked = now
            if self.workers.stop_requested():
                raise StopTraining
        if self.own is not None:
            raise StopTraining

    def together(self, work: Callable[[], T]) -> T:
        """Return what `work`, which checks now and then, has made of this worker's share.

        All ranks call this. If any got a signal all raise StopTraining, before they add anything
        up: none waits for another that has left.
        """
        done: list[T] = []
        try:
            done.append(work())
        except StopTraining:
            self.workers.request_stop()
        self.workers.barrier()
        self.agree()
        if self.agreed is not None:
            raise StopTraining
        return done[0]
