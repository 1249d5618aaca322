"""A process pool with ordered results, bounded memory and shared context."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from threading import Thread
from types import TracebackType
from typing import Any, Generic, TypeVar

from nmt.errors import WorkerError

Context = TypeVar("Context")
Item = TypeVar("Item")
Result = TypeVar("Result")

QUEUED_PER_PROCESS = 2
"""Number of queued items per process: enough to keep it busy, with bounded memory."""


class ProcessPool(Generic[Context, Item, Result]):
    """A pool of `size` processes that call `function(context, item)`.

    The context is sent to each process once. With size 0, the calling process does the work.
    """

    def __init__(
        self, function: Callable[[Context, Item], Result], context: Context, size: int
    ) -> None:
        self.function, self.context, self.size = function, context, size
        self._executor = None
        if size:
            self._executor = ProcessPoolExecutor(
                size, get_context("spawn"), _initialize_worker, (function, context)
            )

    def __enter__(self) -> ProcessPool[Context, Item, Result]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop the processes and discard queued items."""
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)

    def map(self, items: Iterable[Item]) -> Iterator[Result]:
        """Yield the results of all items in order; read only a few items in advance.

        Raises WorkerError if a process of the pool is killed.
        """
        if self._executor is None:
            yield from (self.function(self.context, item) for item in items)
            return
        queue: list[Future[Result]] = []
        try:
            for item in items:
                queue.append(self._executor.submit(_call_function, item))
                if len(queue) > QUEUED_PER_PROCESS * self.size:
                    yield queue.pop(0).result()
            while queue:
                yield queue.pop(0).result()
        except BrokenProcessPool:
            raise WorkerError(
                "worker process: expected it to finish, but it was killed, as the system does when "
                "memory runs out"
            ) from None
        finally:
            for future in queue:
                future.cancel()


_worker_state: list[Any] = []
"""Function and context of a worker process."""


def _initialize_worker(function: object, context: object) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process handles Ctrl-C for all
    Thread(target=_exit_with_parent, daemon=True).start()
    _worker_state[:] = [function, context]


def _exit_with_parent() -> None:
    """Exit when the main process has ended, even if it was killed."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _call_function(item: Any) -> Any:
    function, context = _worker_state
    return function(context, item)
