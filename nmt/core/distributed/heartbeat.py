"""Heartbeats between the ranks of a job, which detect a rank that hangs.

torchrun detects a process that exits, but not one that is stopped or whose machine is unreachable.
The other ranks would wait for it until their collective operation times out, which can take days.
Every rank therefore counts up its own key of the job's key-value store once per second, and watches
the key of the rank before it. The store is that of torchrun or, without one, a server in rank 0.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from threading import Event, Thread

from torch.distributed import TCPStore  # type: ignore[attr-defined]
from torch.distributed.distributed_c10d import PrefixStore, Store

from nmt.errors import EXIT_USER_ERROR, ConfigError

logger = logging.getLogger(__name__)

TIMEOUT_VARIABLE = "NMT_WORKER_TIMEOUT"
TIMEOUT_SECONDS = 120
"""Default timeout of a heartbeat, in seconds, if TIMEOUT_VARIABLE is not set."""
MIN_TIMEOUT_SECONDS = 5
BEAT_SECONDS = 1.0
"""Seconds between two heartbeats of a rank."""

Process = tuple[str, int]
"""The torchrun that started a rank (GROUP_RANK; "" without torchrun), and its process id."""


def timeout_seconds() -> int:
    """Return the heartbeat timeout in seconds; raise ConfigError if its variable is invalid."""
    text = os.environ.get(TIMEOUT_VARIABLE, str(TIMEOUT_SECONDS))
    if not text.isdecimal() or int(text) < MIN_TIMEOUT_SECONDS:
        raise ConfigError(
            [
                f"{TIMEOUT_VARIABLE}: expected whole seconds, at least {MIN_TIMEOUT_SECONDS}, "
                f"got '{text}'"
            ]
        )
    return int(text)


def current_process() -> Process:
    """Return the identity of this process."""
    return os.environ.get("GROUP_RANK", ""), os.getpid()


def connect_store() -> Store:
    """Return a new connection to the job's store.

    A separate connection keeps heartbeats from waiting for other requests of this process.
    """
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    return TCPStore(host, port, is_master=False, wait_for_workers=False)


class Heartbeat:
    """Background threads that send the heartbeat of this rank and watch that of another.

    The timeout counts heartbeats instead of reading a clock, because all ranks of a job may be
    suspended and resumed together, for example by a scheduler.
    """

    def __init__(self, rank: int, processes: Sequence[Process], store: Store, timeout: int) -> None:
        """Prepare the threads.

        `processes` holds the identities of all ranks, in the order of the ranks. `timeout` is in
        seconds.
        """
        self.rank, self.processes, self.timeout = rank, processes, timeout
        self.watched_rank = (rank - 1) % len(processes)
        job = "-".join(str(pid) for _, pid in processes)  # a restarted job may reuse the store
        self._store = PrefixStore(f"nmt/heartbeat/{job}", store)
        self._max_missed = timeout / BEAT_SECONDS
        self._unanswered = 0
        self._stopped = Event()
        targets = [self._send_and_watch]
        # An unanswered request means that rank 0 hangs only if rank 0 is the server of the store.
        # The job can do without a torchrun that hangs.
        if rank and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
            targets.append(self._watch_store)
        self._threads = [Thread(target=target, daemon=True) for target in targets]

    def start(self) -> None:
        """Start sending and watching."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop sending and watching; all ranks must stop together."""
        self._stopped.set()
        self._threads[0].join(BEAT_SECONDS)  # bounded: it may wait for a store that hangs

    def _send_and_watch(self) -> None:
        """Send one heartbeat per interval; end the job if the watched rank has stopped."""
        last_count, missed = 0, 0
        while not self._stopped.wait(BEAT_SECONDS):
            try:
                self._store.add(str(self.rank), 1)
                count = self._store.add(str(self.watched_rank), 0)
            except RuntimeError:  # the server of the store has exited, which torchrun detects
                self._stopped.set()
                return
            self._unanswered = 0
            missed = missed + 1 if count == last_count else 0
            last_count = count
            if missed > self._max_missed:
                self._end_job(self.watched_rank)

    def _watch_store(self) -> None:
        """End the job if rank 0, the server of the store, does not answer."""
        while not self._stopped.wait(BEAT_SECONDS):
            self._unanswered += 1
            if self._unanswered > self._max_missed:
                self._end_job(0)

    def _end_job(self, lost_rank: int) -> None:
        """Report the lost rank and end the job.

        Kill the lost rank if the same torchrun started it: torchrun then reports that rank and ends
        the others at once. Else exit, because this process may be blocked in a collective call.
        """
        self._stopped.set()
        logger.error(
            f"rank {lost_rank}: expected a heartbeat every {BEAT_SECONDS:g} s, got none for "
            f"{self.timeout} s (the process is stopped, or its machine is unreachable); "
            "ending the job"
        )
        torchrun, pid = self.processes[lost_rank]
        if torchrun and torchrun == self.processes[self.rank][0]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        else:
            os._exit(EXIT_USER_ERROR)
