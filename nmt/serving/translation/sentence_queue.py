"""Sentences of all connections that wait for search, and those that are being searched.

Workers share the queue. A worker searches sentences of one kind at a time. While it does,
waiting sentences of the same kind join its batch. If the oldest waiting sentence is of another
kind, no sentence joins, so that the worker soon finishes its batch and changes to that kind.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from threading import Condition, Event

from nmt.decoding.search.hypothesis import Hypothesis
from nmt.decoding.search.request_queue import REFILL_FRACTION, Request
from nmt.serving.translation.job import Job, JobCancelledError


@dataclass(frozen=True)
class SearchKind:
    """Properties that all sentences of a search share."""

    nbest: int
    """Number of hypotheses per sentence."""
    model: int = 0
    """Position of the model among those that share the queue."""
    has_prefix: bool = False
    has_phrases: bool = False
    target_tags: tuple[int, ...] = ()
    """Token ids of the tags before each target."""


class PendingSearch:
    """The sentences that one call submitted. The call waits until all have finished."""

    def __init__(self, job: Job, count: int) -> None:
        self.job = job
        self.results: dict[int, list[Hypothesis]] = {}
        """Hypotheses of each finished sentence by `Request.index`."""
        self._missing = count
        self._error: Exception | None = None
        self._is_over = Event()

    def add(self, index: int, hypotheses: list[Hypothesis]) -> None:
        """Store the hypotheses of a sentence."""
        self.results[index] = hypotheses
        self._missing -= 1
        if not self._missing:
            self._is_over.set()

    def fail(self, error: Exception) -> None:
        """End the call with an error, unless it has ended."""
        if not self._is_over.is_set():
            self._error = error
            self._is_over.set()

    def wait(self) -> dict[int, list[Hypothesis]]:
        """Wait for the results; raise the error of the search, or JobCancelledError."""
        self._is_over.wait()
        if self._error is not None:
            raise self._error
        return self.results


@dataclass(eq=False, frozen=True)
class _Sentence:
    """A sentence with the call that submitted it."""

    request: Request
    kind: SearchKind
    search: PendingSearch
    since: float
    """Time of its submission, by `time.monotonic`."""


@dataclass(frozen=True)
class BatchLimits:
    """Limits on the size of a batch, which always holds at least one sentence."""

    max_sentences: int
    max_source_tokens: int
    """Maximum number of padded source tokens."""


class SentenceQueue:
    """The sentences that wait for workers."""

    def __init__(self, workers: int, batch_wait: float) -> None:
        """Prepare an empty queue for a number of workers.

        Sentences wait up to `batch_wait` seconds for others, to be searched together.
        """
        self._workers = workers
        self._batch_wait = batch_wait
        self._changed = Condition()
        self._waiting: list[_Sentence] = []
        """Waiting sentences, oldest first."""
        self._running: dict[int, _Sentence] = {}
        """Sentences in the batches of all workers, by `Request.index`."""
        self._cancelled: set[int] = set()
        """Indices of running sentences that their batch has to drop."""
        self._is_closed = False

    def submit(self, search: PendingSearch, requests: Sequence[tuple[Request, SearchKind]]) -> None:
        """Add the sentences of a call.

        Raises JobCancelledError if its job has been cancelled or the queue is closed.
        """
        now = time.monotonic()
        with self._changed:
            search.job.check()
            if self._is_closed:
                raise JobCancelledError
            self._waiting += [_Sentence(request, kind, search, now) for request, kind in requests]
            self._changed.notify_all()

    def cancel(self, job: Job) -> None:
        """Drop the sentences of a job, and end its calls with JobCancelledError."""
        with self._changed:
            sentences = [*self._waiting, *self._running.values()]
            searches = {s.search for s in sentences if s.search.job is job}
            self._waiting = [s for s in self._waiting if s.search.job is not job]
            self._cancelled |= {i for i, s in self._running.items() if s.search.job is job}
        for search in searches:
            search.fail(JobCancelledError())

    def close(self) -> None:
        """Let the workers end once no sentence waits."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def count(self) -> tuple[int, int]:
        """Return the number of waiting and of running sentences."""
        return len(self._waiting), len(self._running)

    def wait_for_kind(self) -> SearchKind | None:
        """Wait until sentences are due; return the kind of the oldest, or None after `close`.

        They are due if the oldest has waited for `batch_wait` seconds.
        """
        with self._changed:
            while True:
                if self._waiting:
                    oldest = self._waiting[0]
                    remaining = oldest.since + self._batch_wait - time.monotonic()
                    if remaining <= 0 or self._is_closed:
                        return oldest.kind
                    self._changed.wait(remaining)
                elif self._is_closed:
                    return None
                else:
                    self._changed.wait()

    def take(self, kind: SearchKind, batch_size: int, limits: BatchLimits) -> list[_Sentence]:
        """Remove and return the sentences that join a batch of `batch_size` sentences.

        These are the oldest sentence and those of the most similar length, at most as many as
        divide all sentences evenly among the workers.
        """
        with self._changed:
            if not self._waiting or self._waiting[0].kind != kind:
                return []
            oldest = self._waiting[0]
            share = math.ceil((len(self._running) + len(self._waiting)) / self._workers)
            capacity = min(limits.max_sentences, share)
            if batch_size and not self._joins(oldest, batch_size, capacity):
                return []
            length = len(oldest.request.source)
            similar = sorted(
                (sentence for sentence in self._waiting if sentence.kind == kind),
                key=lambda sentence: abs(len(sentence.request.source) - length),
            )
            taken: dict[_Sentence, None] = {oldest: None}
            longest = length + 1
            for sentence in similar:
                longest = max(longest, len(sentence.request.source) + 1)
                size = batch_size + len(taken)
                if size >= capacity or (size + 1) * longest > limits.max_source_tokens:
                    break
                taken[sentence] = None
            self._waiting = [sentence for sentence in self._waiting if sentence not in taken]
            self._running |= {sentence.request.index: sentence for sentence in taken}
            return list(taken)

    def _joins(self, oldest: _Sentence, batch_size: int, capacity: int) -> bool:
        """Return whether waiting sentences join a batch now.

        Each join costs a decoding step, so sentences wait until several can join.
        """
        if batch_size >= capacity:
            return False
        is_filled = batch_size > REFILL_FRACTION * capacity
        return not is_filled or time.monotonic() - oldest.since >= self._batch_wait

    def finish(self, results: Mapping[int, list[Hypothesis]]) -> None:
        """Give the results to the calls that wait for them."""
        with self._changed:
            for index, hypotheses in results.items():
                sentence = self._running.pop(index, None)
                self._cancelled.discard(index)
                if sentence is not None:
                    sentence.search.add(index, hypotheses)

    def take_cancelled(self, requests: Sequence[Request]) -> list[int]:
        """Return the positions of requests that were cancelled since the last call."""
        if not self._cancelled:
            return []
        with self._changed:
            positions = [
                i for i, request in enumerate(requests) if request.index in self._cancelled
            ]
            for i in positions:
                self._cancelled.discard(requests[i].index)
                self._running.pop(requests[i].index, None)
            return positions

    def fail(self, sentences: Sequence[_Sentence], error: Exception) -> None:
        """End the calls of sentences that have not finished with an error."""
        with self._changed:
            failed = [s for s in sentences if self._running.pop(s.request.index, None) is not None]
            self._cancelled -= {sentence.request.index for sentence in failed}
            searches = {sentence.search for sentence in failed}
            self._waiting = [s for s in self._waiting if s.search not in searches]
        for search in searches:
            search.fail(error)


@dataclass
class BatchQueue:
    """The view of one search on the queue: sentences of one kind, and those in its batch."""

    queue: SentenceQueue
    kind: SearchKind
    limits: BatchLimits
    sentences: dict[int, _Sentence] = field(default_factory=dict)
    """Sentences that the search took and has not finished, by `Request.index`."""

    def take(self, batch_size: int) -> list[Request]:
        """Remove and return the requests that join a batch of `batch_size` sentences."""
        sentences = self.queue.take(self.kind, batch_size, self.limits)
        self.sentences |= {sentence.request.index: sentence for sentence in sentences}
        return [sentence.request for sentence in sentences]

    def finish(self, results: Mapping[int, list[Hypothesis]]) -> None:
        """Take the results of finished requests, best first, by `Request.index`."""
        for index in results:
            self.sentences.pop(index, None)
        self.queue.finish(results)

    def take_cancelled(self, requests: Sequence[Request]) -> list[int]:
        """Return the positions of requests that were cancelled since the last call."""
        positions = self.queue.take_cancelled(requests)
        for i in positions:
            self.sentences.pop(requests[i].index, None)
        return positions

    def fail(self, error: Exception) -> None:
        """End the calls of all sentences in the batch with an error.

        If the search failed before it took sentences, end the calls of those that it would take.
        """
        if not self.sentences:
            self.take(0)
        self.queue.fail(list(self.sentences.values()), error)
