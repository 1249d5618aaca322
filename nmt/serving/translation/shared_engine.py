"""An engine that searches the sentences of all connections together.

Each HTTP request has a thread, which splits and tokenizes its text, submits the token ids to the
queue of the model, and waits. Worker threads search the sentences of all requests.
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
from nmt.serving.translation.sentence_queue import (
    BatchQueue,
    PendingSearch,
    SearchKind,
    SentenceQueue,
)


class SharedEngine:
    """Worker threads that search with one engine, and a lock for its forced decoding."""

    def __init__(self, engine: TorchEngine | CTranslate2Engine, batch_wait: float) -> None:
        """Start the workers of an engine; `batch_wait` is in seconds, see SentenceQueue."""
        self.engine = engine
        self.settings = engine.settings
        self.forced_decoding = Lock()
        """Held during forced decoding, which needs memory in proportion to S x T."""
        self._indices = count()
        workers = 1
        if isinstance(engine, CTranslate2Engine):
            workers = engine.threads
        elif engine.device.type == "cpu":
            workers = torch.get_num_threads()
        self.queue = SentenceQueue(workers, self.settings.batch_tokens, batch_wait)
        self._threads = [
            Thread(target=self._work, name=f"search-{i}", daemon=True) for i in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Finish the waiting sentences and end the workers."""
        self.queue.close()
        for thread in self._threads:
            thread.join()

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
            kind = SearchKind(nbest, bool(required.prefix), bool(required.phrases), target_tags)
            requests.append((self._request(source, constraints.get(i)), kind))
        search = PendingSearch(job, len(requests))
        job.join(self.queue)
        self.queue.submit(search, requests)
        results = search.wait()
        return [results[request.index] for request, _ in requests]

    def with_tags(self, target_tags: tuple[int, ...]) -> TorchEngine | CTranslate2Engine:
        """Return the engine with these tags before each target."""
        return self.engine.with_tags(TagIds(tgt=target_tags))

    def _request(self, source: Sequence[int], constraints: LexicalConstraints | None) -> Request:
        index = next(self._indices)
        if isinstance(self.engine, TorchEngine):
            return self.engine.request(index, source, constraints)
        max_length = length_limit(self.settings, len(source))
        return Request(index, source, constraints or LexicalConstraints(), max_length)

    def _work(self) -> None:
        """Search the sentences of the queue until it is closed."""
        torch.set_num_threads(1)
        while (kind := self.queue.wait_for_kind()) is not None:
            batch = BatchQueue(self.queue, kind, self._max_sentences(kind))
            try:
                self._search(batch, kind)
            except Exception as error:
                batch.fail(error)

    def _max_sentences(self, kind: SearchKind) -> int:
        if isinstance(self.engine, TorchEngine):
            return self.engine.max_sentences(kind.nbest)
        return self.settings.batch_size

    def _search(self, batch: BatchQueue, kind: SearchKind) -> None:
        """Search sentences of one kind until none waits or one of another kind is older."""
        engine = self.with_tags(kind.target_tags)
        if isinstance(engine, TorchEngine):
            engine.search_queue(batch, kind.nbest, kind.has_prefix, kind.has_phrases)
            return
        requests = batch.take(0)
        constraints = {
            i: request.constraints
            for i, request in enumerate(requests)
            if request.constraints != LexicalConstraints()
        }
        results = engine.search([r.source for r in requests], kind.nbest, constraints)
        indices = [request.index for request in requests]
        batch.finish(dict(zip(indices, results, strict=True)))


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
