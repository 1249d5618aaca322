"""The processes of one job, as torchrun starts them, and what they tell each other.

A process alone is a job of one, which has nobody to talk to.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous
from torch.nn import functional as F

from nmt.core.distributed.environment import job_size
from nmt.core.distributed.heartbeat import Pulse, open_store, this_process, timeout_seconds
from nmt.errors import WorkerError

T = TypeVar("T")
R = TypeVar("R")
SILENCE = timedelta(minutes=10)
"""How long one worker may keep the others waiting within an update."""
PATIENCE = timedelta(days=30)
"""How long the others wait while the first prepares text."""


NAMING_SECONDS = 2.0
"""A worker that has lost another ends later than that one, so that torchrun names the other."""


@dataclass(frozen=True)
class Workers:
    """One process, and what it can tell the others of its job."""

    rank: int = 0
    size: int = 1
    waiting: dist.ProcessGroup | None = None
    """Where a wait may be long."""
    store: Store | None = None
    """Where a word can be left for those who do not wait."""

    @property
    def leads(self) -> bool:
        """Tell whether this is the first, which alone writes files and speaks."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """Return this worker's items: every size-th one."""
        return items[self.rank :: self.size]

    def each(self, work: Callable[[Sequence[T]], list[R]], items: Sequence[T]) -> list[R]:
        """Return the results of `work`, one an item in order, of which each worker does its share.

        All workers come here with the same items and leave with the same results.
        """
        return self.joined(work(self.share(items)))

    def joined(self, mine: Sequence[T]) -> list[T]:
        """Return the items of all workers in the order in which `share` gave them out.

        They travel as JSON.
        """
        if self.size == 1:
            return list(mine)
        text = torch.frombuffer(bytearray(json.dumps(list(mine)).encode()), dtype=torch.uint8)
        sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(self.size)]
        dist.all_gather(sizes, torch.tensor([len(text)]), self.waiting)
        longest = int(max(sizes))
        texts = [torch.zeros(longest, dtype=torch.uint8) for _ in range(self.size)]
        dist.all_gather(texts, F.pad(text, (0, longest - len(text))), self.waiting)
        shares = [
            json.loads(bytes(text[: int(size)].tolist()))
            for text, size in zip(texts, sizes, strict=True)
        ]
        total = sum(map(len, shares))
        return [shares[i % self.size][i // self.size] for i in range(total)]

    def add(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the sum of all workers' tensors, in the place of this one's."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def largest(self, *values: float) -> list[float]:
        """Return the largest that any worker has of each value, so that all decide alike."""
        if self.size == 1:
            return list(values)
        ours = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(ours, dist.ReduceOp.MAX)
        return ours.tolist()

    def tell(self) -> None:
        """Let the others know, whenever they ask, that this one wants to stop."""
        if self.store is not None:
            self.store.set("stop", "1")

    def told(self) -> bool:
        """Tell whether any worker wants to stop; nobody waits for an answer."""
        return self.store is not None and self.store.check(["stop"])

    def wait(self) -> None:
        """Go on when all workers have come here."""
        if self.size > 1:
            dist.barrier(self.waiting)

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """Let the first do the block before the others: what it makes on disk, they find."""
        if not self.leads:
            self.wait()
        yield
        if self.leads:
            self.wait()


@contextmanager
def connected() -> Iterator[Workers]:
    """Connect the processes that torchrun started; a process alone is a job of one.

    All come to the end of the block together. Raises WorkerError where another one is lost; one
    that is silent for too long ends the job (nmt/core/distributed/heartbeat.py).
    """
    if job_size() == 1:
        yield Workers()
        return
    timeout = timeout_seconds()
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        store, rank, size = next(rendezvous("env://", timeout=SILENCE))
        store = of_this_attempt(store)
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=SILENCE)
        waiting = dist.new_group(backend="gloo", timeout=PATIENCE)
        workers = Workers(rank, size, waiting, PrefixStore("nmt", store))
        with _beating(workers, timeout):
            yield workers
            workers.wait()
    except RuntimeError as error:
        if not _is_loss(error):
            raise
        time.sleep(NAMING_SECONDS)
        raise WorkerError(f"another worker is gone: {str(error).splitlines()[0]}") from None
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def of_this_attempt(store: Store) -> Store:
    """Return the part of the store in which no attempt before a restart has left its addresses.

    Where there is one torchrun, its store lives on through restarts (torch 2.13). Several count
    their restarts each for itself, so that a count would part them.
    """
    if os.environ.get("GROUP_WORLD_SIZE") != "1":
        return store
    return PrefixStore(f"attempt {os.environ['TORCHELASTIC_RESTART_COUNT']}", store)


@contextmanager
def _beating(workers: Workers, timeout: int) -> Iterator[None]:
    processes = workers.joined([this_process()])
    pulse = Pulse(workers.rank, [(name, pid) for name, pid in processes], open_store(), timeout)
    pulse.start()
    try:
        yield
    finally:
        pulse.stop()


def _is_loss(error: RuntimeError) -> bool:
    """Tell whether an error says that a connection is broken; gloo has no class for it."""
    return isinstance(error, dist.DistError) or any(
        word in str(error) for word in ("gloo", "Connection closed by peer", "Connection reset")
    )
