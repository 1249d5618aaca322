"""An engine that searches the sentences of all connections together.

Each HTTP request has a thread, which splits and tokenizes its text, submits the token ids to the
queue of the model, and waits. Workers search the sentences of all requests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import count
from threading import Lock, Thread

import torch

from nmt.data.tokenizer.tokenizer import TagIds
from nmt.decoding.constraints.lexical_constraints import LexicalConstraints
from nmt.decoding.engines.ctranslate2 import CTranslate2Engine
from nmt.decoding.engines.torch_engine import TorchEngine
from nmt.decoding.search.hypothesis import Hypothesis, TokenPair, TokenScores, length_limit
from nmt.decoding.search.request_queue import Request
from nmt.serving.translation.job import Job
from nmt.serving.translation.search_worker import SearchWorker
from nmt.serving.translation.sentence_queue import (
    BatchLimits,
    BatchQueue,
    PendingSearch,
    SearchKind,
    SentenceQueue,
)


class SearchPool:
    """Workers that search for one or several models, each called by a thread."""

    def __init__(
        self,
        engines: Sequence[TorchEngine | CTranslate2Engine],
        workers: Sequence[SearchWorker],
        batch_wait: float,
    ) -> None:
        """Start the threads; `SearchKind.model` is a position in `engines`.

        `batch_wait` is in seconds, see SentenceQueue.
        """
        self._engines = engines
        self.queue = SentenceQueue(len(workers), batch_wait)
        self.indices = count()
        """Provides `Request.index` of new sentences."""
        self._threads = [
            Thread(target=self._work, args=(worker,), name=f"search-{i}", daemon=True)
            for i, worker in enumerate(workers)
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Finish the waiting sentences and end the workers."""
        self.queue.close()
        for thread in self._threads:
            thread.join()

    def _work(self, worker: SearchWorker) -> None:
        """Search the sentences of the queue until it is closed."""
        torch.set_num_threads(1)
        while (kind := self.queue.wait_for_kind()) is not None:
            batch = BatchQueue(self.queue, kind, self._limits(kind))
            try:
                worker.search(batch, kind)
            except Exception as error:
                batch.fail(error)
        worker.close()

    def _limits(self, kind: SearchKind) -> BatchLimits:
        engine = self._engines[kind.model]
        max_sentences = engine.settings.batch_size
        if isinstance(engine, TorchEngine):
            max_sentences = engine.max_sentences(kind.nbest)
        return BatchLimits(max_sentences, engine.settings.batch_tokens)


class SharedEngine:
    """An engine whose searches are done by a pool, and a lock for its forced decoding."""

    def __init__(
        self, engine: TorchEngine | CTranslate2Engine, pool: SearchPool, model: int = 0
    ) -> None:
        """Search with `pool`, in which the engine has position `model`."""
        self.engine = engine
        self.settings = engine.settings
        self.pool = pool
        self.model = model
        self.forced_decoding = Lock()
        """Held during forced decoding, which needs memory in proportion to S x T."""

    def search(
        self,
        job: Job,
        sources: Sequence[Sequence[int]],
        nbest: int,
        constraints: Mapping[int, LexicalConstraints],
        target_tags: tuple[int, ...] = (),
    ) -> list[list[Hypothesis]]:
        """Return the hypotheses of each source; see `Engine.search`.

        `target_tags` are the token ids of the tags before each target. Raises JobCancelledError
        once the job is cancelled.
        """
        if not sources:
            return []
        requests = []
        for i, source in enumerate(sources):
            required = constraints.get(i, LexicalConstraints())
            kind = SearchKind(
                nbest, self.model, bool(required.prefix), bool(required.phrases), target_tags
            )
            requests.append((self._request(source, constraints.get(i)), kind))
        search = PendingSearch(job, len(requests))
        queue = self.pool.queue
        job.join(queue)
        queue.submit(search, requests)
        results = search.wait()
        return [results[request.index] for request, _ in requests]

    def with_tags(self, target_tags: tuple[int, ...]) -> TorchEngine | CTranslate2Engine:
        """Return the engine with these tags before each target."""
        return self.engine.with_tags(TagIds(tgt=target_tags))

    def _request(self, source: Sequence[int], constraints: LexicalConstraints | None) -> Request:
        index = next(self.pool.indices)
        if isinstance(self.engine, TorchEngine):
            return self.engine.request(index, source, constraints)
        max_length = length_limit(self.settings, len(source))
        return Request(index, source, constraints or LexicalConstraints(), max_length)


class JobEngine:
    """The shared engine as one job uses it. Implements `Engine`."""

    def __init__(self, shared: SharedEngine, job: Job, target_tags: tuple[int, ...] = ()) -> None:
        self.shared, self.job, self.target_tags = shared, job, target_tags

    def with_tags(self, tags: TagIds) -> JobEngine:
        """Return an engine of the same job with other target tags."""
        return JobEngine(self.shared, self.job, tags.tgt)

    def search(
        self,
        sources: Sequence[Sequence[int]],
        nbest: int = 1,
        constraints: Mapping[int, LexicalConstraints] | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> list[list[Hypothesis]]:
        """Return the `nbest` best hypotheses of each source; `progress` is not called."""
        return self.shared.search(self.job, sources, nbest, constraints or {}, self.target_tags)

    def score(self, pairs: Sequence[TokenPair]) -> list[Hypothesis]:
        """Return the target of each pair as a hypothesis with its score."""
        with self.shared.forced_decoding:
            self.job.check()
            return self.shared.with_tags(self.target_tags).score(pairs)

    def score_tokens(self, pairs: Sequence[TokenPair]) -> list[TokenScores]:
        """Return the log-probabilities of target tokens and the attention on source tokens."""
        with self.shared.forced_decoding:
            self.job.check()
            return self.shared.with_tags(self.target_tags).score_tokens(pairs)
