"""Requests that wait for search, and the results of those that have finished."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Protocol

import torch
from torch import Tensor

from nmt.data.batching.loader import pad_rows
from nmt.data.tokenizer.tokenizer import Tokenizer
from nmt.decoding.constraints.lexical_constraints import LexicalConstraints
from nmt.decoding.search.hypothesis import Hypothesis

REFILL_FRACTION = 0.75
"""Waiting sentences join a batch if it is filled to at most this fraction of its capacity."""


@dataclass(frozen=True)
class Request:
    """A sentence to translate."""

    index: int
    """Position in the results."""
    source: Sequence[int]
    """Token ids without eos."""
    constraints: LexicalConstraints
    max_length: int
    """Maximum length of the translation in tokens, eos included."""


class SearchQueue(Protocol):
    """Provides the requests of a search, and takes their results."""

    def take(self, batch_size: int) -> list[Request]:
        """Remove and return the requests that join a batch of `batch_size` sentences.

        The search ends if an empty batch gets none.
        """

    def finish(self, results: Mapping[int, list[Hypothesis]]) -> None:
        """Take the results of finished requests, best first, by `Request.index`."""

    def take_cancelled(self, requests: Sequence[Request]) -> list[int]:
        """Return the positions of requests that were cancelled since the last call.

        The search drops these requests, and their results are not reported.
        """


class RequestQueue:
    """A queue of requests, shortest source first, that several threads can share."""

    def __init__(
        self,
        requests: Sequence[Request],
        max_sentences: int,
        max_source_tokens: int,
        continuous: bool = True,
        progress: Callable[[int], object] | None = None,
    ) -> None:
        """Sort the requests by source length.

        A batch holds at most `max_sentences` sentences and `max_source_tokens` padded source
        tokens, but always one sentence. If not `continuous`, a batch is only filled while it is
        empty. `progress` is called with the number of requests that have just finished.
        """
        self._waiting = sorted(requests, key=lambda request: len(request.source), reverse=True)
        self._max_sentences = max_sentences
        self._max_source_tokens = max_source_tokens
        self._continuous = continuous
        self._progress = progress
        self._lock = Lock()
        self.results: dict[int, list[Hypothesis]] = {}
        """Hypotheses of each finished request, best first, by `Request.index`."""

    def take(self, batch_size: int) -> list[Request]:
        """Remove and return the requests that join a batch of `batch_size` sentences."""
        requests: list[Request] = []
        if batch_size and not self._continuous:
            return requests
        longest = 0
        with self._lock:
            while self._waiting:
                longest = max(longest, len(self._waiting[-1].source) + 1)
                capacity = min(self._max_sentences, max(1, self._max_source_tokens // longest))
                is_filled = batch_size > REFILL_FRACTION * capacity
                if is_filled or batch_size + len(requests) >= capacity:
                    break
                requests.append(self._waiting.pop())
        return requests

    def finish(self, results: Mapping[int, list[Hypothesis]]) -> None:
        """Store the results of finished requests and report their number."""
        with self._lock:
            self.results.update(results)
            if self._progress is not None:
                self._progress(len(results))

    def take_cancelled(self, requests: Sequence[Request]) -> list[int]:
        """Return no positions: these requests cannot be cancelled."""
        return []


def pad_sources(sources: Sequence[Sequence[int]], src: Tokenizer) -> tuple[Tensor, Tensor]:
    """Return B x S source token ids, ended by eos and padded, and the B lengths with eos."""
    rows = [[*source, src.eos] for source in sources]
    lengths = [len(row) for row in rows]
    return pad_rows(rows, max(lengths), src.pad), torch.tensor(lengths)
