"""The pulse of a job: every worker says each second that it lives, and listens for the one before.

torchrun sees at once that a process has died. One that is stopped, or whose machine is out of
reach, it does not see, and the others would wait for it, for days where the wait may be long. They
hear each other through the store by which they met, which is torchrun's, or in the first worker.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from threading import Event, Thread

from torch.distributed import TCPStore  # type: ignore[attr-defined]
from torch.distributed.distributed_c10d import PrefixStore, Store

from nmt.core.logging import print_error
from nmt.errors import EXIT_USER_ERROR, ConfigError

TIMEOUT_VARIABLE = "NMT_WORKER_TIMEOUT"
TIMEOUT_SECONDS, LEAST_SECONDS = 120, 5
"""How long a worker may be silent, where the variable does not say, and the least it can say."""
BEAT_SECONDS = 1.0

Process = tuple[str, int]
"""The torchrun that started a worker (GROUP_RANK; "" without torchrun), and its process id."""


def timeout_seconds() -> int:
    """Return how long a worker may be silent; raise ConfigError where the variable is no such."""
    text = os.environ.get(TIMEOUT_VARIABLE, str(TIMEOUT_SECONDS))
    if not text.isdecimal() or int(text) < LEAST_SECONDS:
        raise ConfigError(
            [f"{TIMEOUT_VARIABLE}: expected whole seconds, at least {LEAST_SECONDS}, got '{text}'"]
        )
    return int(text)


def this_process() -> Process:
    """Return what the others must know of this worker."""
    return os.environ.get("GROUP_RANK", ""), os.getpid()


def open_store() -> Store:
    """Return a connection of its own to the store, so that nobody waits for another's request."""
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    return TCPStore(host, port, is_master=False, wait_for_workers=False)


class Pulse:
    """Two threads of one worker; `processes` are those of all workers by rank.

    Silence is counted in beats and not read off a clock: a job that is stopped as a whole and goes
    on later has lost nobody. A store that does not answer says that the first worker is stopped
    only where it is in that worker; a stopped torchrun hurts nobody.
    """

    def __init__(self, rank: int, processes: Sequence[Process], store: Store, timeout: int) -> None:
        self.rank, self.processes, self.timeout = rank, processes, timeout
        self.watched = (rank - 1) % len(processes)
        job = "-".join(str(pid) for _, pid in processes)  # a restart may meet the same store
        self._store = PrefixStore(f"nmt/pulse/{job}", store)
        self._most = timeout / BEAT_SECONDS
        self._unanswered = 0
        self._over = Event()
        work = [self._beat]
        if rank and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
            work.append(self._await_answers)
        self._threads = [Thread(target=each, daemon=True) for each in work]

    def start(self) -> None:
        """Begin to beat and to listen."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Fall silent; the others must do so too."""
        self._over.set()
        self._threads[0].join(BEAT_SECONDS)  # which may wait for an answer that never comes

    def _beat(self) -> None:
        heard, silent = 0, 0
        while not self._over.wait(BEAT_SECONDS):
            try:
                self._store.add(str(self.rank), 1)
                now = self._store.add(str(self.watched), 0)
            except RuntimeError:  # the store is gone, and with it a process that torchrun watches
                self._over.set()
                return
            self._unanswered = 0
            heard, silent = now, silent + 1 if now == heard else 0
            if silent > self._most:
                self._end(self.watched)

    def _await_answers(self) -> None:
        while not self._over.wait(BEAT_SECONDS):
            self._unanswered += 1
            if self._unanswered > self._most:
                self._end(0)

    def _end(self, lost: int) -> None:
        """End the job, with the name of the worker that is lost.

        It is killed where that can be done, since torchrun then names it, need not wait for it, and
        ends the others; else this worker ends itself, which may be stuck in a wait.
        """
        self._over.set()
        print_error(
            f"rank {lost} has been silent for {self.timeout} s: it is stopped, or its machine is "
            "out of reach; the job ends"
        )
        torchrun, process = self.processes[lost]
        if torchrun and torchrun == self.processes[self.rank][0]:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        else:
            os._exit(EXIT_USER_ERROR)
