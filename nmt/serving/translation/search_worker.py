"""Workers search the sentences of a queue, one batch at a time."""

from __future__ import annotations

from typing import Protocol

from nmt.data.tokenizer.tokenizer import TagIds
from nmt.decoding.constraints.lexical_constraints import LexicalConstraints
from nmt.decoding.engines.ctranslate2 import CTranslate2Engine
from nmt.decoding.engines.torch_engine import TorchEngine
from nmt.decoding.search.request_queue import SearchQueue
from nmt.serving.translation.sentence_queue import SearchKind


class SearchWorker(Protocol):
    """Searches sentences for one thread, which calls it."""

    def search(self, queue: SearchQueue, kind: SearchKind) -> None:
        """Search sentences of one kind until the queue provides none."""

    def close(self) -> None:
        """Free what the worker holds."""


class EngineWorker:
    """A worker that searches in the thread that calls it."""

    def __init__(self, engine: TorchEngine | CTranslate2Engine) -> None:
        self.engine = engine

    def search(self, queue: SearchQueue, kind: SearchKind) -> None:
        """Search sentences of one kind until the queue provides none."""
        engine = self.engine.with_tags(TagIds(tgt=kind.target_tags))
        if isinstance(engine, TorchEngine):
            engine.search_queue(queue, kind.nbest, kind.has_prefix, kind.has_phrases)
            return
        requests = queue.take(0)
        constraints = {
            i: request.constraints
            for i, request in enumerate(requests)
            if request.constraints != LexicalConstraints()
        }
        results = engine.search([r.source for r in requests], kind.nbest, constraints)
        indices = [request.index for request in requests]
        queue.finish(dict(zip(indices, results, strict=True)))

    def close(self) -> None:
        """Do nothing: the engine belongs to the caller."""
