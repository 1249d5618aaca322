"""CPU threads: how many torch uses, and parallel work in threads of one CPU thread each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed, wait
from functools import cache
from threading import Event

import torch

from nmt.device.cpu_cores import free_cores
from nmt.device.memory import keep_freed_memory


@cache
def default_threads() -> int:
    """Return torch's thread count before nmt changes it: all cores, or OMP_NUM_THREADS."""
    return torch.get_num_threads()


def prepare_cpu(threads: int | None) -> int:
    """Set torch's number of CPU threads, let glibc keep freed memory, and return the number.

    None selects the number of free cores, or OMP_NUM_THREADS if that is smaller.
    """
    max_threads = default_threads()  # read before the first change, even if `threads` is given
    threads = threads or min(free_cores(), max_threads)
    torch.set_num_threads(threads)
    keep_freed_memory()
    return threads


def run_in_threads(work: Callable[[Event], None], count: int) -> None:
    """Run `work(stop)` in `count` threads, each with one CPU thread and without gradients.

    The first error or interrupt sets the event `stop`, waits for all threads, and is raised here.
    """
    threads_before = torch.get_num_threads()
    stop = Event()

    def run() -> None:
        torch.set_num_threads(1)
        with torch.inference_mode():
            work(stop)

    futures: list[Future[None]] = []
    try:
        with ThreadPoolExecutor(count) as pool:
            try:
                for _ in range(count):
                    futures.append(pool.submit(run))
                for future in as_completed(futures):
                    future.result()
            finally:
                stop.set()
                _wait_despite_interrupts(futures)
    finally:
        torch.set_num_threads(threads_before)  # new threads would inherit the number 1


def _wait_despite_interrupts(futures: Sequence[Future[None]]) -> None:
    """Wait for all futures; raise KeyboardInterrupt after they end, however often it came.

    If an interrupt reaches `Thread.join`, Python 3.11 believes that the thread has ended. The
    interpreter then exits while the thread still runs, and crashes.
    """
    interrupt: KeyboardInterrupt | None = None
    while not all(future.done() for future in futures):
        try:
            wait(futures)
        except KeyboardInterrupt as error:
            interrupt = error
    if interrupt is not None:
        raise interrupt
