"""Build padded tensors from planned batches, and prefetch them in a thread.

Shapes: B pairs, S and T padded source and target length, M real target tokens, K alignment links.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from nmt.core.distributed.process_group import ProcessGroup
from nmt.data.batching.batches import Batch
from nmt.data.batching.epochs import TokenizedPairs
from nmt.data.tokenizer.tokenizer import Tokenizers
from nmt.device.transfer import copy_to_device

T = TypeVar("T")
PREFETCH = 4
"""Number of items that are computed ahead."""


@dataclass(frozen=True)
class MicroBatch:
    """Padded token ids of one forward pass."""

    src: Tensor
    """B x S source tokens, each row with eos."""
    src_len: Tensor
    """B source lengths, eos included; always on the CPU, as `pack_padded_sequence` requires."""
    tgt_in: Tensor
    """B x T decoder input, each row with bos."""
    targets: Tensor
    """M expected target tokens of all rows, each row with eos."""
    positions: Tensor
    """M positions of the targets in the flattened B x T."""
    link_tgt_positions: Tensor
    """K positions of the linked target tokens in the flattened B x T."""
    link_src_positions: Tensor
    """K positions of the linked source tokens, 0 .. S - 1."""
    link_weights: Tensor
    """K weights: 1 / (number of links of the target token)."""

    @property
    def tgt_tokens(self) -> int:
        """Number of real target tokens, M."""
        return len(self.targets)

    @property
    def linked_tokens(self) -> int:
        """Number of target tokens that have a link."""
        return round(float(self.link_weights.sum()))

    @property
    def padded_tokens(self) -> int:
        """Number of padded target tokens, B x T."""
        return self.tgt_in.numel()

    def to(self, device: torch.device) -> MicroBatch:
        """Return this batch on `device`, except `src_len`; copies overlap computation on a GPU."""
        if device.type == "cpu":
            return self
        names = [field.name for field in fields(self) if field.name != "src_len"]
        copies = copy_to_device([getattr(self, name) for name in names], device)
        return replace(self, **dict(zip(names, copies, strict=True)))

    def pin(self) -> MicroBatch:
        """Return this batch in pinned memory."""
        tensors = {field.name: getattr(self, field.name).pin_memory() for field in fields(self)}
        return replace(self, **tensors)

    def without_targets(self) -> MicroBatch:
        """Return this batch without targets and links, so that losses and gradients are 0."""
        empty = self.targets[:0]
        return replace(
            self,
            targets=empty,
            positions=empty,
            link_tgt_positions=empty,
            link_src_positions=empty,
            link_weights=self.link_weights[:0],
        )


@dataclass(frozen=True)
class RankBatch:
    """The micro-batches of one rank for one optimizer step."""

    pairs: TokenizedPairs
    """Token ids to which the rows of `batch` refer."""
    batch: Batch
    """Rows of all ranks."""
    micro_batches: list[MicroBatch]
    """Micro-batches of this rank; at least one."""
    src_tokens: int
    """Number of real source tokens of all ranks."""
    tgt_tokens: int
    """Number of real target tokens of all ranks."""
    padded_tokens: int
    """Number of padded target tokens of all ranks."""

    @property
    def max_micro_batch_tokens(self) -> int:
        """Number of padded target tokens of the largest micro-batch of this rank."""
        return max(micro_batch.padded_tokens for micro_batch in self.micro_batches)

    def pin(self) -> RankBatch:
        """Return this batch in pinned memory."""
        return replace(self, micro_batches=[batch.pin() for batch in self.micro_batches])


def pad_rows(rows: list[list[int]], length: int, pad: int) -> Tensor:
    """Return B x length token ids, each row padded with `pad` on the right."""
    padded = np.full((len(rows), length), pad, dtype=np.int64)
    for i, row in enumerate(rows):
        padded[i, : len(row)] = row
    return torch.from_numpy(padded)


def build_micro_batch(pairs: TokenizedPairs, batch: Batch, tokenizers: Tokenizers) -> MicroBatch:
    """Return the rows of `batch` as padded tensors."""
    src, tgt = tokenizers.src, tokenizers.tgt
    src_rows = [[*pairs.row("src", i).tolist(), src.eos] for i in batch.rows]
    tgt_rows = [pairs.row("tgt", i).tolist() for i in batch.rows]
    length = batch.tgt_length
    positions = [i * length + t for i, row in enumerate(tgt_rows) for t in range(len(row) + 1)]
    links = _build_links(pairs, batch)
    return MicroBatch(
        src=pad_rows(src_rows, batch.src_length, src.pad),
        src_len=torch.tensor([len(row) for row in src_rows]),
        tgt_in=pad_rows([[tgt.bos, *row] for row in tgt_rows], length, tgt.pad),
        targets=torch.tensor([token for row in tgt_rows for token in (*row, tgt.eos)]),
        positions=torch.tensor(positions),
        link_tgt_positions=links.tgt_positions,
        link_src_positions=links.src_positions,
        link_weights=links.weights,
    )


class _Links(NamedTuple):
    """Alignment links of a batch, K each; see `MicroBatch`."""

    tgt_positions: Tensor
    src_positions: Tensor
    weights: Tensor


def _build_links(pairs: TokenizedPairs, batch: Batch) -> _Links:
    """Return the alignment links of a batch; K is 0 if the corpus has no alignments."""
    if not pairs.aligned:
        no_positions = torch.empty(0, dtype=torch.int64)
        return _Links(no_positions, no_positions, torch.empty(0))
    row_links = [pairs.links(i).astype(np.int64) for i in batch.rows]
    tgt_positions = torch.from_numpy(
        np.concatenate([links[:, 1] + i * batch.tgt_length for i, links in enumerate(row_links)])
    )
    src_positions = torch.from_numpy(np.concatenate([links[:, 0] for links in row_links]))
    weights = torch.empty(0)
    if len(tgt_positions):
        weights = 1.0 / tgt_positions.bincount()[tgt_positions]
    return _Links(tgt_positions, src_positions, weights)


def build_rank_batch(
    pairs: TokenizedPairs,
    batch: Batch,
    tokenizers: Tokenizers,
    micro_batch_tokens: int | None,
    workers: ProcessGroup,
) -> RankBatch:
    """Return the micro-batches of this rank.

    A rank without rows gets the first row without targets: it takes part in the all-reduce of the
    gradients, but adds nothing to them.
    """
    rank_batch = batch.for_rank(workers.rank, workers.size)
    if len(rank_batch.rows):
        micro_batches = [
            build_micro_batch(pairs, part, tokenizers)
            for part in rank_batch.split(micro_batch_tokens)
        ]
    else:
        first_row = batch.for_rank(0, len(batch.rows))
        micro_batches = [build_micro_batch(pairs, first_row, tokenizers).without_targets()]
    src_tokens, tgt_tokens = (
        int(pairs.lengths(side, batch.rows).sum()) + len(batch.rows) for side in ("src", "tgt")
    )
    return RankBatch(pairs, batch, micro_batches, src_tokens, tgt_tokens, batch.tgt_tokens)


@dataclass
class _Result(Generic[T]):
    """An item that the prefetching thread computed, an error, or the end of the iterator."""

    item: T | None = None
    error: BaseException | None = None
    is_end: bool = False


def prefetch(items: Iterator[T], ahead: int = PREFETCH) -> Generator[T]:
    """Yield `items`, of which a thread computes `ahead` in advance; raise its errors here."""
    results: queue.Queue[_Result[T]] = queue.Queue(ahead)
    stop = threading.Event()

    def put(result: _Result[T]) -> None:
        while not stop.is_set():
            with suppress(queue.Full):
                results.put(result, timeout=0.1)
                return

    def compute() -> None:
        try:
            for item in items:
                put(_Result(item))
                if stop.is_set():
                    break
            put(_Result(is_end=True))
        except BaseException as error:  # the consumer raises it
            put(_Result(error=error))
        finally:
            if isinstance(items, Generator):
                items.close()

    thread = threading.Thread(target=compute, daemon=True)
    thread.start()
    try:
        while True:
            result = results.get()
            if result.is_end:
                return
            if result.error is not None:
                raise result.error
            yield result.item  # type: ignore[misc]
    finally:
        stop.set()
        thread.join()
