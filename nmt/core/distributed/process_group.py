"""The process group of a torchrun job: collective operations on Python values and tensors.

Without torchrun the group has one process, and no operation communicates.
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

from nmt.core.distributed.heartbeat import (
    Heartbeat,
    connect_store,
    current_process,
    timeout_seconds,
)
from nmt.core.torchrun import world_size
from nmt.errors import WorkerError

T = TypeVar("T")
R = TypeVar("R")
STEP_TIMEOUT = timedelta(minutes=10)
"""Timeout of the collective operations of an optimizer step."""
BARRIER_TIMEOUT = timedelta(days=30)
"""Timeout of barriers and gathers: other ranks wait while the main process prepares text."""
EXIT_DELAY_SECONDS = 2.0
"""Delay before a process reports that it lost another rank.

torchrun reports the process that exits first, which must be the lost rank.
"""


@dataclass(frozen=True)
class ProcessGroup:
    """The processes of a job, as seen by one of them."""

    rank: int = 0
    size: int = 1
    """Number of processes."""
    slow_group: dist.ProcessGroup | None = None
    """The torch process group with BARRIER_TIMEOUT."""
    store: Store | None = None
    """Key-value store shared by all processes."""

    @property
    def is_main(self) -> bool:
        """Whether this is rank 0, the only process that writes files and prints."""
        return self.rank == 0

    def shard(self, items: Sequence[T]) -> Sequence[T]:
        """Return the items of this rank: every `size`-th item, beginning with its own rank."""
        return items[self.rank :: self.size]

    def map_shards(self, function: Callable[[Sequence[T]], list[R]], items: Sequence[T]) -> list[R]:
        """Return the results of `function` for all items, in their order.

        Each rank calls `function` with its shard. `function` returns one result per item. All ranks
        must pass the same items; all get the same results.
        """
        return self.all_gather(function(self.shard(items)))

    def all_gather(self, items: Sequence[T]) -> list[T]:
        """Return the items of all ranks, interleaved so that this reverses `shard`.

        The items are sent as JSON.
        """
        if self.size == 1:
            return list(items)
        content = torch.frombuffer(bytearray(json.dumps(list(items)).encode()), dtype=torch.uint8)
        sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(self.size)]
        dist.all_gather(sizes, torch.tensor([len(content)]), self.slow_group)
        max_size = int(max(sizes))
        contents = [torch.zeros(max_size, dtype=torch.uint8) for _ in range(self.size)]
        dist.all_gather(contents, F.pad(content, (0, max_size - len(content))), self.slow_group)
        shards = [
            json.loads(bytes(content[: int(size)].tolist()))
            for content, size in zip(contents, sizes, strict=True)
        ]
        total = sum(map(len, shards))
        return [shards[i % self.size][i // self.size] for i in range(total)]

    def all_reduce_sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """Replace `tensor` in place by the sum of the tensors of all ranks, and return it."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def all_reduce_max(self, *values: float) -> list[float]:
        """Return the maximum of each value over all ranks."""
        if self.size == 1:
            return list(values)
        maxima = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(maxima, dist.ReduceOp.MAX)
        return maxima.tolist()

    def request_stop(self) -> None:
        """Set the stop flag of the job, without waiting for other ranks."""
        if self.store is not None:
            self.store.set("stop", "1")

    def stop_requested(self) -> bool:
        """Return whether any rank has set the stop flag, without waiting for other ranks."""
        return self.store is not None and self.store.check(["stop"])

    def barrier(self) -> None:
        """Wait until all ranks have called this method."""
        if self.size > 1:
            dist.barrier(self.slow_group)

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """Run the block in the main process, then in the others, which find its files."""
        if not self.is_main:
            self.barrier()
        yield
        if self.is_main:
            self.barrier()


@contextmanager
def connect_processes() -> Iterator[ProcessGroup]:
    """Yield the process group of this job; end the block on all ranks together.

    Raises WorkerError if the connection to another rank breaks. A rank that hangs ends the job (see
    nmt/core/distributed/heartbeat.py).
    """
    if world_size() == 1:
        yield ProcessGroup()
        return
    timeout = timeout_seconds()
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        store, rank, size = next(rendezvous("env://", timeout=STEP_TIMEOUT))
        store = attempt_store(store)
        dist.init_process_group(
            backend, store=store, rank=rank, world_size=size, timeout=STEP_TIMEOUT
        )
        slow_group = dist.new_group(backend="gloo", timeout=BARRIER_TIMEOUT)
        group = ProcessGroup(rank, size, slow_group, PrefixStore("nmt", store))
        with _heartbeat(group, timeout):
            yield group
            group.barrier()
    except RuntimeError as error:
        if not _is_connection_error(error):
            raise
        time.sleep(EXIT_DELAY_SECONDS)
        reason = str(error).splitlines()[0]
        raise WorkerError(f"the connection to another rank is lost: {reason}") from None
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def attempt_store(store: Store) -> Store:
    """Return a view of the store that holds no addresses of attempts before a restart.

    A single torchrun keeps its store through restarts (torch 2.13), so the count of restarts is the
    prefix of the view. Several torchruns count restarts independently and could disagree; they
    share the plain store.
    """
    if os.environ.get("GROUP_WORLD_SIZE") != "1":
        return store
    return PrefixStore(f"attempt {os.environ['TORCHELASTIC_RESTART_COUNT']}", store)


@contextmanager
def _heartbeat(group: ProcessGroup, timeout: int) -> Iterator[None]:
    """Send and watch heartbeats during the block."""
    processes = [(torchrun, pid) for torchrun, pid in group.all_gather([current_process()])]
    heartbeat = Heartbeat(group.rank, processes, connect_store(), timeout)
    heartbeat.start()
    try:
        yield
    finally:
        heartbeat.stop()


def _is_connection_error(error: RuntimeError) -> bool:
    """Return whether a connection to another rank is broken; gloo has no class for this error."""
    messages = ("gloo", "Connection closed by peer", "Connection reset")
    return isinstance(error, dist.DistError) or any(text in str(error) for text in messages)
