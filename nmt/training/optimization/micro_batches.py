"""Split batches into micro-batches, and make these smaller if memory runs out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import torch

from nmt.core.distributed.process_group import ProcessGroup
from nmt.data.batching.batches import Batch
from nmt.data.batching.epochs import TokenizedPairs
from nmt.data.batching.loader import RankBatch, build_rank_batch
from nmt.data.corpus.corpus import Corpus
from nmt.data.tokenizer.tokenizer import Tokenizers
from nmt.errors import RunError

MAX_LISTED_LINES = 500
"""Maximum number of lines of a batch in the log file and in an error message."""
CPU_MEMORY_MESSAGES = re.compile(
    r"allocate memory|not enough memory|could not create a (primitive|memory object)(?! desc)"
)
"""Messages of torch's allocator and of oneDNN on a CPU; torch has no exception class for them."""


class MicroBatchOutOfMemory(Exception):  # noqa: N818 (named like torch.OutOfMemoryError)
    """A forward or backward pass ran out of memory, and can be tried with smaller micro-batches."""

    def __init__(self, index: int) -> None:
        super().__init__(f"micro-batch {index} does not fit into memory")
        self.index = index
        """Index of the micro-batch within its batch."""


def is_out_of_memory(error: Exception) -> bool:
    """Return whether an exception says that memory is exhausted, on a GPU or a CPU."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and CPU_MEMORY_MESSAGES.search(str(error)) is not None


class MicroBatcher:
    """Builds this rank's micro-batches of a batch."""

    def __init__(
        self,
        corpus: Corpus,
        tokenizers: Tokenizers,
        ranks: ProcessGroup,
        device: torch.device,
        max_tokens: int | None,
    ) -> None:
        self.corpus = corpus
        self.tokenizers = tokenizers
        self.ranks = ranks
        self.device = device
        self.max_tokens = max_tokens
        """Maximum number of padded target tokens per micro-batch; None for no limit."""

    def build(
        self, pairs: TokenizedPairs, batch: Batch, max_tokens: int | None = None
    ) -> RankBatch:
        """Return this rank's micro-batches of a batch, in pinned memory for a GPU.

        `max_tokens` replaces the limit of this object.
        """
        limit = max_tokens or self.max_tokens
        rank_batch = build_rank_batch(pairs, batch, self.tokenizers, limit, self.ranks)
        return rank_batch.pin() if self.device.type == "cuda" else rank_batch

    def halve(self, rank_batch: RankBatch, failed_index: int) -> RankBatch:
        """Return the batch in micro-batches half as large, and halve the limit of later batches.

        `failed_index` is the index of the micro-batch that did not fit into memory. Raises RunError
        if it has a single pair.
        """
        batch, micro_batches = rank_batch.batch, rank_batch.micro_batches
        if len(micro_batches[failed_index].src) == 1:
            pairs_before = sum(len(micro_batch.src) for micro_batch in micro_batches[:failed_index])
            own_batch = batch.for_rank(self.ranks.rank, self.ranks.size)
            pair = replace(own_batch, rows=own_batch.rows[pairs_before : pairs_before + 1])
            raise RunError(
                f"out of memory with a single pair of {batch.src_length} source and "
                f"{batch.tgt_length} target tokens, "
                f"{describe_lines(self.corpus, rank_batch.pairs, pair)}: "
                "lower data.max_length or use a smaller model"
            )
        # Of this batch: a batch can have smaller micro-batches than the limit allows.
        half = rank_batch.max_micro_batch_tokens // 2
        self.max_tokens = half if self.max_tokens is None else min(half, self.max_tokens)
        return self.build(rank_batch.pairs, batch)


def describe_lines(
    corpus: Corpus, pairs: TokenizedPairs, batch: Batch, max_lines: int = MAX_LISTED_LINES
) -> str:
    """Return the first lines of a batch in the form FILE:1,5,9, and the number of the others."""
    rows = sorted(set(pairs.corpus_rows(batch.rows).tolist()))
    text = format_lines(corpus.locations(rows[:max_lines]))
    remaining = len(rows) - max_lines
    return f"{text} and {remaining} more" if remaining > 0 else text


def format_lines(lines: Sequence[tuple[str, int]]) -> str:
    """Return (file, line number) pairs in the form FILE:1,5; FILE:9."""
    numbers_by_file: dict[str, list[str]] = {}
    for file, number in lines:
        numbers_by_file.setdefault(file, []).append(str(number))
    return "; ".join(f"{file}:{','.join(numbers)}" for file, numbers in numbers_by_file.items())
