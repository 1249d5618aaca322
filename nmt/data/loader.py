"""From planned batches to tensors, prepared ahead of the training step by a thread.

Shapes: B pairs, S and T padded source and target length.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from nmt.data.batching import Batch
from nmt.data.corpus import Corpus
from nmt.data.tokenizer import Tokenizers

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
    tgt_out: Tensor
    """B x T, each row ended by eos."""
    tgt_mask: Tensor
    """B x T, True = real token."""
    tgt_tokens: int
    """Real target tokens, eos included."""
    rows: int
    """B."""

    def to(self, device: torch.device) -> MicroBatch:
        """Return this batch on `device`."""
        if device.type == "cpu":
            return self
        move = [t.to(device, non_blocking=True) for t in (self.src, self.tgt_in, self.tgt_out)]
        mask = self.tgt_mask.to(device, non_blocking=True)
        return MicroBatch(
            move[0], self.src_len, move[1], move[2], mask, self.tgt_tokens, self.rows
        )

    def pin(self) -> MicroBatch:
        """Return this batch in pinned memory, from which copies to a GPU run beside its work."""
        pinned = [t.pin_memory() for t in (self.src, self.tgt_in, self.tgt_out, self.tgt_mask)]
        return MicroBatch(
            pinned[0], self.src_len, pinned[1], pinned[2], pinned[3], self.tgt_tokens, self.rows
        )


def pad_rows(rows: list[list[int]], length: int, pad: int) -> Tensor:
    """Return B x length token ids, each row filled up with `pad`."""
    padded = np.full((len(rows), length), pad, dtype=np.int64)
    for i, row in enumerate(rows):
        padded[i, : len(row)] = row
    return torch.from_numpy(padded)


def make_micro_batch(corpus: Corpus, batch: Batch, tokenizers: Tokenizers) -> MicroBatch:
    """Gather the rows of `batch` into padded tensors."""
    src_rows = [[*corpus.row("src", i).tolist(), tokenizers.src.eos] for i in batch.rows]
    tgt_rows = [corpus.row("tgt", i).tolist() for i in batch.rows]
    tgt = tokenizers.tgt
    tgt_len = torch.tensor([len(row) + 1 for row in tgt_rows])
    return MicroBatch(
        src=pad_rows(src_rows, batch.src_length, tokenizers.src.pad),
        src_len=torch.tensor([len(row) for row in src_rows]),
        tgt_in=pad_rows([[tgt.bos, *row] for row in tgt_rows], batch.tgt_length, tgt.pad),
        tgt_out=pad_rows([[*row, tgt.eos] for row in tgt_rows], batch.tgt_length, tgt.pad),
        tgt_mask=torch.arange(batch.tgt_length) < tgt_len[:, None],
        tgt_tokens=int(tgt_len.sum()),
        rows=len(batch.rows),
    )


def load_updates(
    corpus: Corpus,
    batches: Iterable[Batch],
    tokenizers: Tokenizers,
    micro_batch_tokens: int | None,
    device: torch.device,
) -> Iterator[list[MicroBatch]]:
    """Yield the micro-batches of each update, prepared ahead by a thread; pinned for a GPU."""
    pin = device.type == "cuda"

    def updates() -> Iterator[list[MicroBatch]]:
        for batch in batches:
            cut = batch.cut(micro_batch_tokens)
            micro = [make_micro_batch(corpus, part, tokenizers) for part in cut]
            yield [part.pin() for part in micro] if pin else micro

    return prefetch(updates())


def prefetch(items: Iterator[T]) -> Iterator[T]:
    """Yield `items`, computed up to PREFETCH ahead in a thread; its error is raised here."""
    ready: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(PREFETCH)
    stop = threading.Event()

    def put(entry: tuple[T | None, BaseException | None]) -> None:
        while not stop.is_set():
            try:
                return ready.put(entry, timeout=0.1)
            except queue.Full:
                continue

    def work() -> None:
        try:
            for item in items:
                put((item, None))
                if stop.is_set():
                    return
            put((None, StopIteration()))
        except BaseException as error:  # carried over to the consumer, which raises it
            put((None, error))

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
