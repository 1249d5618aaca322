"""From planned batches to tensors, prepared ahead of the training step by a thread.

Shapes: B pairs, S and T padded source and target length.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from nmt.core.distributed.process_group import ProcessGroup
from nmt.data.batching.batches import Batch
from nmt.data.batching.epochs import TokenizedPairs
from nmt.data.tokenizer.tokenizer import Tokenizers

T = TypeVar("T")
PREFETCH = 4


@dataclass(frozen=True)
class MicroBatch:
    """Padded token ids of one forward pass. Lengths stay on the CPU, where packing needs them."""

    src: Tensor
    """B x S, each row ended by eos."""
    src_len: Tensor
    """B, on the CPU, eos included."""
    tgt_in: Tensor
    """B x T, each row begun by bos."""
    targets: Tensor
    """M, the real target tokens of all rows, each row ended by eos."""
    positions: Tensor
    """M, where each of them stands in the flattened B x T."""
    link_tgt_positions: Tensor
    """K, for each link of a word alignment the place of its target token in the flattened B x T."""
    link_src_positions: Tensor
    """K, the place of its source token, 0..S - 1."""
    link_weights: Tensor
    """K, one over the links of that target token."""

    @property
    def tgt_tokens(self) -> int:
        """M."""
        return len(self.targets)

    @property
    def linked_tokens(self) -> int:
        """The target tokens that have a link."""
        return round(float(self.link_weights.sum()))

    @property
    def padded_tokens(self) -> int:
        """B x T."""
        return self.tgt_in.numel()

    def to(self, device: torch.device) -> MicroBatch:
        """Return this batch on `device`; copies from pinned memory run beside its work."""
        if device.type == "cpu":
            return self
        return self._moved(lambda tensor: tensor.to(device, non_blocking=True))

    def pin(self) -> MicroBatch:
        """Return this batch in pinned memory."""
        return self._moved(lambda tensor: tensor.pin_memory())

    def without_targets(self) -> MicroBatch:
        """Return this batch without targets or links: its losses are 0, and so are gradients."""
        none = self.targets[:0]
        return replace(
            self,
            targets=none,
            positions=none,
            link_tgt_positions=none,
            link_src_positions=none,
            link_weights=self.link_weights[:0],
        )

    def _moved(self, move: Callable[[Tensor], Tensor]) -> MicroBatch:
        moved = {f.name: move(getattr(self, f.name)) for f in fields(self) if f.name != "src_len"}
        return MicroBatch(src_len=self.src_len, **moved)


@dataclass(frozen=True)
class RankBatch:
    """What one worker does of one update."""

    pairs: TokenizedPairs
    """Where rows are looked up."""
    batch: Batch
    """All workers' rows."""
    micro_batches: list[MicroBatch]
    """This worker's; at least one."""
    src_tokens: int
    """Real source tokens of all workers' micro-batches."""
    tgt_tokens: int
    """Real target tokens of them."""
    padded_tokens: int
    """Padded target tokens."""

    @property
    def max_micro_batch_tokens(self) -> int:
        """Padded target tokens of this worker's largest micro-batch."""
        return max(batch.tgt_in.numel() for batch in self.micro_batches)

    def pin(self) -> RankBatch:
        """Return this update in pinned memory."""
        return replace(self, micro_batches=[batch.pin() for batch in self.micro_batches])


def pad_rows(rows: list[list[int]], length: int, pad: int) -> Tensor:
    """Return B x length token ids, each row filled up with `pad`."""
    padded = np.full((len(rows), length), pad, dtype=np.int64)
    for i, row in enumerate(rows):
        padded[i, : len(row)] = row
    return torch.from_numpy(padded)


def build_micro_batch(pairs: TokenizedPairs, batch: Batch, tokenizers: Tokenizers) -> MicroBatch:
    """Gather the rows of `batch` into padded tensors."""
    src_rows = [[*pairs.row("src", i).tolist(), tokenizers.src.eos] for i in batch.rows]
    tgt_rows = [pairs.row("tgt", i).tolist() for i in batch.rows]
    tgt = tokenizers.tgt
    length = batch.tgt_length
    positions = [i * length + t for i, row in enumerate(tgt_rows) for t in range(len(row) + 1)]
    places, sources, shares = _links(pairs, batch)
    return MicroBatch(
        src=pad_rows(src_rows, batch.src_length, tokenizers.src.pad),
        src_len=torch.tensor([len(row) for row in src_rows]),
        tgt_in=pad_rows([[tgt.bos, *row] for row in tgt_rows], length, tgt.pad),
        targets=torch.tensor([token for row in tgt_rows for token in (*row, tgt.eos)]),
        positions=torch.tensor(positions),
        link_tgt_positions=places,
        link_src_positions=sources,
        link_weights=shares,
    )


def _links(pairs: TokenizedPairs, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Return the links of a batch as three tensors of K; K is 0 where nothing is aligned."""
    if not pairs.aligned:
        return torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.int64), torch.empty(0)
    links = [pairs.links(i).astype(np.int64) for i in batch.rows]
    places = torch.from_numpy(
        np.concatenate([its[:, 1] + b * batch.tgt_length for b, its in enumerate(links)])
    )
    sources = torch.from_numpy(np.concatenate([its[:, 0] for its in links]))
    shares = 1.0 / places.bincount()[places] if len(places) else torch.empty(0)
    return places, sources, shares


def build_rank_batch(
    pairs: TokenizedPairs,
    batch: Batch,
    tokenizers: Tokenizers,
    micro_batch_tokens: int | None,
    workers: ProcessGroup,
) -> RankBatch:
    """Gather this worker's rows of a batch; one without any looks at a row and counts nothing."""
    own = batch.for_rank(workers.rank, workers.size)
    if len(own.rows):
        parts = own.split(micro_batch_tokens)
        micro = [build_micro_batch(pairs, part, tokenizers) for part in parts]
    else:
        micro = [
            build_micro_batch(
                pairs, batch.for_rank(0, len(batch.rows)), tokenizers
            ).without_targets()
        ]
    src_tokens, tgt_tokens = (
        int(pairs.lengths(side, batch.rows).sum()) + len(batch.rows) for side in ("src", "tgt")
    )
    return RankBatch(pairs, batch, micro, src_tokens, tgt_tokens, batch.tgt_tokens)


def prefetch(items: Iterator[T], ahead: int = PREFETCH) -> Generator[T]:
    """Yield `items`, computed some ahead in a thread; its error is raised here."""
    ready: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(ahead)
    stop = threading.Event()

    def put(entry: tuple[T | None, BaseException | None]) -> None:
        while not stop.is_set():
            with suppress(queue.Full):
                ready.put(entry, timeout=0.1)
                return

    def work() -> None:
        try:
            for item in items:
                put((item, None))
                if stop.is_set():
                    break
            put((None, StopIteration()))
        except BaseException as error:  # carried over to the consumer, which raises it
            put((None, error))
        finally:
            if isinstance(items, Generator):
                items.close()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            item, error = ready.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item  # type: ignore[misc]
    finally:
        stop.set()
        thread.join()
