"""The model work of one HTTP request, which can be cancelled."""

from __future__ import annotations

from typing import Protocol


class JobCancelledError(Exception):
    """The client has disconnected, or the time limit of the request has passed."""


class CancellableQueue(Protocol):
    """A queue that drops the work of a cancelled job."""

    def cancel(self, job: Job) -> None:
        """Drop the work of a job, and raise JobCancelledError where it waits."""


class Job:
    """The model work of one HTTP request. A thread does it, and the event loop may cancel it."""

    def __init__(self) -> None:
        self.is_cancelled = False
        self._queues: list[CancellableQueue] = []

    def join(self, queue: CancellableQueue) -> None:
        """Register a queue before work is submitted to it.

        The queue must check `is_cancelled` when it accepts work, because `cancel` may have run.
        """
        if queue not in self._queues:
            self._queues.append(queue)

    def cancel(self) -> None:
        """End the work of the job in all queues."""
        self.is_cancelled = True
        for queue in list(self._queues):
            queue.cancel(self)

    def check(self) -> None:
        """Raise JobCancelledError if the job has been cancelled."""
        if self.is_cancelled:
            raise JobCancelledError
