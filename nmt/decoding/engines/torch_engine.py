"""The engine of nmt: beam search and forced decoding with a PyTorch model."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial

import torch

from nmt.config.sections.decode import DecodeConfig
from nmt.data.tokenizer.tokenizer import TagIds, Tokenizers
from nmt.decoding.constraints.lexical_constraints import (
    PHRASES_NEED_BEAM_SEARCH,
    LexicalConstraints,
    TokenBoundaries,
)
from nmt.decoding.search.beam_allocation import BeamAllocation
from nmt.decoding.search.beam_search import BeamSearch, record_candidates
from nmt.decoding.search.beam_state import BeamState, Candidates, Ranking, SearchRules
from nmt.decoding.search.candidates import CandidateSelector, build_candidate_selector
from nmt.decoding.search.forced_decoding import ForcedDecoder
from nmt.decoding.search.hypothesis import Hypothesis, TokenPair, TokenScores, length_limit
from nmt.decoding.search.logits_processors import (
    ForcedPrefix,
    ForcedTags,
    LogitsProcessor,
    build_logits_processors,
)
from nmt.decoding.search.request_queue import Request, RequestQueue, SearchQueue
from nmt.decoding.search.shortlist import Shortlist, ShortlistVocabulary
from nmt.decoding.search.trace import BeamStep
from nmt.decoding.search.vocabulary import FullVocabulary, OutputVocabulary
from nmt.device.threads import run_in_threads
from nmt.errors import ConfigError
from nmt.models.build import AnyModel
from nmt.models.interface import evaluation_mode

MIN_SENTENCES_PER_THREAD = 8
"""Minimum number of sentences per search thread."""
MAX_SAMPLES_PER_BATCH = 320
"""Maximum number of samples in a batch, unless one sentence has more."""


class TorchEngine:
    """Searches and scores token ids with one model on one device.

    To extend the search, append a logits processor to `processors`.
    """

    def __init__(
        self,
        model: AnyModel,
        tokenizers: Tokenizers,
        settings: DecodeConfig,
        device: torch.device,
        shortlist: Shortlist | None = None,
        before_step: Callable[[], object] | None = None,
    ) -> None:
        """Prepare search and forced decoding.

        `before_step` is called before each decoding step of a search; it may raise to stop it.
        Raises ConfigError if a piece of `decode.forbid` is not in the target vocabulary.
        """
        self.model = model
        self.tokenizers = tokenizers
        self.settings = settings
        self.device = device
        self.shortlist = shortlist
        self.before_step = before_step
        self.forced_decoder = ForcedDecoder(model, tokenizers, settings, device)
        self.processors = build_logits_processors(settings, tokenizers.tgt)
        self.token_boundaries = cache(partial(TokenBoundaries.of, tokenizers.tgt))
        """Returns the boundaries of the target tokens. All copies share the result."""

    def with_tags(self, tags: TagIds) -> TorchEngine:
        """Return an engine of the same model with other target tags."""
        engine = copy.copy(self)
        engine.tokenizers = self.tokenizers.with_tags(tags)
        engine.forced_decoder = ForcedDecoder(
            self.model, engine.tokenizers, self.settings, self.device
        )
        return engine

    def length_limit(
        self, source_length: int, constraints: LexicalConstraints | None = None
    ) -> int:
        """Return the maximum length of a translation in tokens, eos included."""
        return length_limit(self.settings, source_length, constraints)

    def search(
        self,
        sources: Sequence[Sequence[int]],
        nbest: int = 1,
        constraints: Mapping[int, LexicalConstraints] | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> list[list[Hypothesis]]:
        """Return the `nbest` best hypotheses of each source, best first.

        `sources` are token ids without eos; `constraints` are given by the index of the source.
        `nbest` is at most `decode.max_nbest`. `progress` is called with the number of sources
        that have just finished, never by two threads at once. Raises ConfigError if phrases are
        required of samples or diverse groups.
        """
        constraints = constraints or {}
        requests = [
            self.request(index, source, constraints.get(index))
            for index, source in enumerate(sources)
        ]
        with_phrases = [request for request in requests if request.constraints.phrases]
        without_phrases = [request for request in requests if not request.constraints.phrases]
        phrase_selector = self._select_candidates(bool(with_phrases))
        results = self._search_requests(
            without_phrases, nbest, self._select_candidates(False), progress
        )
        results |= self._search_requests(with_phrases, nbest, phrase_selector, progress)
        return [results[index] for index in range(len(sources))]

    def search_queue(
        self, queue: SearchQueue, nbest: int, has_prefix: bool, has_phrases: bool
    ) -> None:
        """Search the requests of a queue in this thread until it provides none.

        All requests get `nbest` hypotheses. `has_prefix` and `has_phrases` tell whether requests
        may have such constraints; if `has_phrases`, all requests have phrases. Raises ConfigError
        if phrases are required of samples or diverse groups.
        """
        search = self._build_search(nbest, self._select_candidates(has_phrases), has_prefix)
        with evaluation_mode(self.model):
            search.run(queue)

    def max_sentences(self, nbest: int) -> int:
        """Return the maximum number of sentences in a batch for `nbest` hypotheses."""
        if self.settings.is_sampling:  # each sentence has `nbest` samples
            return min(self.settings.batch_size, max(1, MAX_SAMPLES_PER_BATCH // nbest))
        return self.settings.batch_size

    def _select_candidates(self, has_phrases: bool) -> CandidateSelector:
        """Return the candidate selector for requests with or without phrases.

        Raises ConfigError if phrases are required of samples or diverse groups.
        """
        if not has_phrases:
            return build_candidate_selector(self.settings)
        if self.settings.is_sampling or self.settings.groups > 1:
            raise ConfigError([PHRASES_NEED_BEAM_SEARCH])
        return BeamAllocation(self.token_boundaries())

    def trace_beam(self, source: Sequence[int]) -> tuple[Hypothesis, list[BeamStep]]:
        """Search one source; return the best hypothesis and the candidates of each step.

        With diverse groups these are the candidates of the first group.
        """
        steps: list[BeamStep] = []

        def record(state: BeamState, candidates: Candidates) -> None:
            steps.append(record_candidates(state, candidates, self.tokenizers.tgt.eos))

        request = self.request(0, source, None)
        search = self._build_search(1, self._select_candidates(False), on_candidates=record)
        queue = self._build_queue([request], max_sentences=1)
        with evaluation_mode(self.model):
            search.run(queue)
        return queue.results[0][0], steps

    def score(self, pairs: Sequence[TokenPair]) -> list[Hypothesis]:
        """Return the target of each pair as a hypothesis with its score."""
        return self.forced_decoder.score(pairs)

    def score_tokens(self, pairs: Sequence[TokenPair]) -> list[TokenScores]:
        """Return the log-probabilities of target tokens and the attention on source tokens."""
        return self.forced_decoder.score_tokens(pairs)

    def request(
        self, index: int, source: Sequence[int], constraints: LexicalConstraints | None
    ) -> Request:
        """Return the request of a source; None and empty constraints mean the same."""
        constraints = constraints or LexicalConstraints()
        is_constrained = constraints != LexicalConstraints()
        # Constraints raise the length limit, even empty ones, so those are not passed.
        max_length = self.length_limit(len(source), constraints if is_constrained else None)
        return Request(index, source, constraints, max_length)

    def _search_requests(
        self,
        requests: Sequence[Request],
        nbest: int,
        selector: CandidateSelector,
        progress: Callable[[int], object] | None,
    ) -> dict[int, list[Hypothesis]]:
        """Return the `nbest` hypotheses of each request, best first, by `Request.index`.

        `selector` chooses the candidates of all requests. On a CPU, several threads share the queue
        if it has enough requests. `progress` is called as in `search`.
        """
        if not requests:
            return {}
        threads = 1
        if self.device.type == "cpu":
            max_threads = len(requests) // MIN_SENTENCES_PER_THREAD
            threads = max(1, min(torch.get_num_threads(), max_threads))
        # Without this limit, the first thread could take all requests as one batch.
        max_sentences = min(math.ceil(len(requests) / threads), self.max_sentences(nbest))
        has_prefix = any(request.constraints.prefix for request in requests)
        search = self._build_search(nbest, selector, has_prefix)
        queue = self._build_queue(requests, max_sentences, progress)
        with evaluation_mode(self.model):
            if threads == 1:
                search.run(queue)
            else:
                run_in_threads(lambda stop: search.run(queue, stop), threads)
        return queue.results

    def _build_queue(
        self,
        requests: Sequence[Request],
        max_sentences: int,
        progress: Callable[[int], object] | None = None,
    ) -> RequestQueue:
        settings = self.settings
        return RequestQueue(
            requests, max_sentences, settings.batch_tokens, settings.continuous, progress
        )

    def _build_search(
        self,
        nbest: int,
        selector: CandidateSelector,
        has_prefix: bool = False,
        on_candidates: Callable[[BeamState, Candidates], object] | None = None,
    ) -> BeamSearch:
        """Combine the parts of a search that the settings and the requests need."""
        settings = self.settings
        processors: list[LogitsProcessor] = list(self.processors)
        if has_prefix:
            processors.append(ForcedPrefix())
        if self.tokenizers.tgt.tags:
            processors.append(ForcedTags(self.tokenizers.tgt.tags))
        vocabulary: OutputVocabulary
        if self.shortlist is None:
            vocabulary = FullVocabulary(self.model, self.tokenizers.tgt, self.device)
        else:
            vocabulary = ShortlistVocabulary(
                self.shortlist,
                self.model.output,
                self.tokenizers.tgt.vocab_size,
                expand=bool(processors) or selector.needs_token_ids,
            )
        groups = nbest if settings.is_sampling else settings.groups
        beam_size = 1 if settings.is_sampling else settings.beam_size // settings.groups
        return BeamSearch(
            model=self.model,
            tokenizers=self.tokenizers,
            device=self.device,
            nbest=nbest,
            groups=groups,
            beam_size=beam_size,
            rules=SearchRules(
                eos=self.tokenizers.tgt.eos,
                stop="first" if beam_size == 1 else settings.stop,
                ranking=Ranking.from_settings(settings),
            ),
            vocabulary=vocabulary,
            processors=processors,
            selector=selector,
            before_step=self.before_step,
            on_candidates=on_candidates,
        )
