"""The same work on many items, in other processes, with the results in order."""

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

Known = TypeVar("Known")
Item = TypeVar("Item")
Found = TypeVar("Found")

AHEAD = 2
"""Items waiting for each process: enough to keep it busy, few enough for memory."""


class Pool(Generic[Known, Item, Found]):
    """Processes that do `work(known, item)`; with `size` 0 this one does it itself.

    `known` goes to each process once.
    """

    def __init__(self, work: Callable[[Known, Item], Found], known: Known, size: int) -> None:
        self.work, self.known, self.size = work, known, size
        self._pool = None
        if size:
            context = get_context("spawn")
            self._pool = ProcessPoolExecutor(size, context, _learn, (work, known))

    def __enter__(self) -> Pool[Known, Item, Found]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the processes; what has not been begun is not."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def map(self, items: Iterable[Item]) -> Iterator[Found]:
        """Yield what is found of each item, in order, reading only a few items ahead.

        Raises WorkerError where one of the processes is killed.
        """
        if self._pool is None:
            yield from (self.work(self.known, item) for item in items)
            return
        waiting: list[Future[Found]] = []
        try:
            for item in items:
                waiting.append(self._pool.submit(_do, item))
                if len(waiting) > AHEAD * self.size:
                    yield waiting.pop(0).result()
            while waiting:
                yield waiting.pop(0).result()
        except BrokenProcessPool:
            raise WorkerError(
                "one of the processes that share the work was killed, as the system does where "
                "memory runs out"
            ) from None
        finally:
            for future in waiting:
                future.cancel()


_learnt: list[Any] = []
"""Of a worker process: what it does, and what it knows."""


def _learn(work: object, known: object) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the first process decides
    Thread(target=_follow, daemon=True).start()
    _learnt[:] = [work, known]


def _follow() -> None:
    """End with the process that asked, even where it was killed."""
    asked = parent_process()
    if asked is not None:
        asked.join()
        os._exit(1)


def _do(item: Any) -> Any:
    work, known = _learnt
    return work(known, item)
