"""Beam search over any model. It uses only `encode`, `start`, `step` and `select` of the model.

At each step a candidate selector chooses the best continuations of the K active hypotheses of a
search. Of the first K candidates, those that end with eos are finished; the first K others stay
active. `decode.stop` decides when a search is over (docs/decoding.md). Every hypothesis ends with
eos, at its maximum length at the latest, and its score includes eos. Beam size 1 is greedy search.

The search loop does not know what changes the choice of tokens. Logits processors (n-gram blocking,
minimum length, prefixes), candidate selectors (beam, diverse groups, sampling, phrases) and the
output vocabulary (full or shortlist) are parts that `BeamSearch` receives.

Shapes, in all modules of the search:
    B    sentences that are searched together
    G    searches per sentence: the groups of diverse beam search, or the samples; else 1
    Q    searches of a batch, B x G
    K    beam size of a search
    R    hypotheses per search before a step: 1 at the first step of a new batch, then K
    N    decoder rows, Q x K; B at the first step of a new batch, as all searches of a sentence
         share a row then
    C    candidates per search, best first
    n    finished hypotheses kept per search
    V    size of the output vocabulary
    T    maximum target length of a batch, eos included
    S    source length, eos included
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from threading import Event
from typing import Any

import torch
from torch import Tensor

from nmt.data.tokenizer.tokenizer import Tokenizers
from nmt.decoding.search.beam_state import BeamState, Candidates, Ranking, StopRule
from nmt.decoding.search.candidates import CandidateSelector
from nmt.decoding.search.hypothesis import NON_FINITE_PROBABILITIES, Hypothesis
from nmt.decoding.search.logits_processors import DecodingStep, LogitsProcessor
from nmt.decoding.search.request_queue import Request, SearchQueue, pad_sources
from nmt.decoding.search.trace import NO_ATTENTION, BeamStep, Candidate
from nmt.decoding.search.vocabulary import OutputVocabulary
from nmt.errors import RunError
from nmt.models.build import AnyModel
from nmt.models.interface import Trace

REMOVAL_FRACTION = 1 / 8
"""Remove finished sentences once this fraction of a batch has finished; removal copies the others.
A sentence at its maximum length is removed at once, as its tensors have no place for a token."""


@dataclass
class SearchBatch:
    """Sentences that are searched together."""

    requests: list[Request]
    """The B sentences."""
    state: BeamState
    """Hypotheses of the Q searches."""
    is_done: Tensor
    """B bool: True for sentences that are done and not yet removed."""
    memory: Any
    """Encoder output of B sentences."""
    decoder_state: Any
    """State of N decoder rows."""
    last_tokens: Tensor
    """N newest tokens."""
    vocabulary: OutputVocabulary
    processors: list[LogitsProcessor]
    selector: CandidateSelector

    def join(self, other: SearchBatch) -> SearchBatch:
        """Return the sentences of both batches, those of `other` last."""
        return SearchBatch(
            requests=self.requests + other.requests,
            state=self.state.join(other.state),
            is_done=torch.cat([self.is_done, other.is_done]),
            memory=self.memory.join(other.memory),
            decoder_state=self.decoder_state.join(other.decoder_state),
            last_tokens=torch.cat([self.last_tokens, other.last_tokens]),
            vocabulary=self.vocabulary.join(other.vocabulary),
            processors=[
                processor.join(new)
                for processor, new in zip(self.processors, other.processors, strict=True)
            ],
            selector=self.selector.join(other.selector),
        )

    def select(self, sentences: Tensor, decoder_rows: Tensor) -> SearchBatch:
        """Return these sentences, in this order, which must be that of `remaining_rows`.

        `decoder_rows` are the rows of `decoder_state` that all Q x K hypotheses of this batch
        continue. The memory of this batch must not be used afterwards.
        """
        searches = rows_of(sentences, len(self.state.lengths) // len(self.requests))
        hypotheses = rows_of(searches, self.state.beam_size)
        return SearchBatch(
            requests=[self.requests[b] for b in sentences.tolist()],
            state=self.state.select(searches),
            is_done=self.is_done[sentences],
            memory=self.memory.keep(sentences),
            decoder_state=self.decoder_state.select(decoder_rows[hypotheses], sentences),
            last_tokens=self.last_tokens[hypotheses],
            vocabulary=self.vocabulary.select(sentences),
            processors=[processor.select(searches) for processor in self.processors],
            selector=self.selector.select(searches),
        )


@dataclass(frozen=True)
class BeamSearch:
    """A search for the n best translations of the sentences in a queue."""

    model: AnyModel
    tokenizers: Tokenizers
    device: torch.device
    nbest: int
    """Number of hypotheses to return per sentence."""
    groups: int
    """G: searches per sentence."""
    beam_size: int
    """K: hypotheses per search."""
    stop_rule: StopRule
    """When a search is over; see docs/decoding.md."""
    ranking: Ranking
    """Score of finished hypotheses."""
    vocabulary: OutputVocabulary
    processors: Sequence[LogitsProcessor]
    """Applied to the log-probabilities of each step, in order."""
    selector: CandidateSelector
    before_step: Callable[[], object] | None = None
    """Called before each step; may raise an error to end the search."""
    on_candidates: Callable[[BeamState, Candidates], object] | None = None
    """Called at each step with the hypotheses before it and their candidates."""

    def run(self, queue: SearchQueue, stop: Event | None = None) -> None:
        """Search the sentences of `queue` until it provides none, or until `stop` is set."""
        batch: SearchBatch | None = None
        while stop is None or not stop.is_set():
            if self.before_step is not None:
                self.before_step()
            requests = queue.take(0 if batch is None else len(batch.requests))
            if batch is None:
                if not requests:
                    return
                batch = self.start(requests, rows=1)
            elif requests:
                batch = batch.join(self.start(requests, rows=self.groups * self.beam_size))
            if cancelled := queue.take_cancelled(batch.requests):
                batch.is_done[cancelled] = True
            batch = self.step(batch, queue)

    def step(self, batch: SearchBatch, queue: SearchQueue) -> SearchBatch | None:
        """Extend all hypotheses by one token; return the sentences that continue, if any."""
        sentences = len(batch.requests)
        state = batch.state
        hidden, decoder_state, trace = self.model.step(
            batch.last_tokens, batch.decoder_state, batch.memory, self.ranking.uses_attention
        )
        if self.ranking.uses_attention:
            state = state.add_attention(self._per_search(attention_weights(trace), sentences))

        log_probs = self._per_search(batch.vocabulary.log_probs(hidden), sentences)
        step = DecodingStep(state, log_probs, batch.vocabulary.eos)
        if batch.processors:
            log_probs = log_probs.clone()  # processors may overwrite it
        for processor in batch.processors:
            log_probs = processor(log_probs, step)
        candidates = batch.selector(log_probs, step)
        candidates = candidates._replace(tokens=batch.vocabulary.token_ids(candidates.tokens))
        if self.on_candidates is not None:
            self.on_candidates(state, candidates)

        state, origins, tokens = state.extend(candidates, self.tokenizers.tgt.eos, self.ranking)
        rows = self._decoder_rows(origins, sentences, is_first_step=len(hidden) == sentences)
        is_done = state.is_done(self.stop_rule, self.ranking).view(sentences, self.groups).all(1)
        is_done = batch.is_done | is_done
        newly_done = is_done & ~batch.is_done
        at_max_length = is_done & (state.lengths >= state.max_lengths)[:: self.groups]
        # read all counts from the device at once
        counts = torch.stack([newly_done.sum(), is_done.sum(), at_max_length.sum()])
        num_newly_done, num_done, num_at_max_length = counts.tolist()
        if num_newly_done:
            queue.finish(self._results(state, batch.requests, newly_done))
        if num_done == sentences:
            return None
        batch = replace(
            batch,
            state=state,
            is_done=is_done,
            decoder_state=decoder_state,
            last_tokens=tokens.flatten(),
        )
        if num_at_max_length or num_done >= max(1, REMOVAL_FRACTION * sentences):
            return batch.select(remaining_rows(~is_done), rows)
        if len(rows) != len(hidden) or self.beam_size > 1:
            batch.decoder_state = decoder_state.select(rows)
        return batch

    def start(self, requests: list[Request], rows: int) -> SearchBatch:
        """Encode new sentences; return them with one empty hypothesis per search.

        Each sentence has 1 decoder row, or G x K to join sentences that have so many.
        """
        groups, device = self.groups, self.device
        src, src_len = pad_sources([request.source for request in requests], self.tokenizers.src)
        memory = self.model.encode(src.to(device), src_len)
        max_lengths = [request.max_length for request in requests]
        # all hypotheses of a sentence share the slots of its key-value cache
        cache_length = max(max_lengths) * self.beam_size * groups
        max_lengths_per_search = torch.tensor(max_lengths, device=device).repeat_interleave(groups)
        n = math.ceil(self.nbest / groups)
        state = BeamState.start(max_lengths_per_search, max(max_lengths), self.beam_size, n)
        if self.ranking.uses_attention:
            state = state.track_coverage(memory.mask.repeat_interleave(groups, 0))
        return SearchBatch(
            requests=requests,
            state=state,
            is_done=torch.zeros(len(requests), dtype=torch.bool, device=device),
            memory=memory,
            decoder_state=self.model.start(memory, rows, cache_length // rows),
            last_tokens=torch.full((len(requests) * rows,), self.tokenizers.tgt.bos, device=device),
            vocabulary=self.vocabulary.start(requests),
            processors=[part.start(requests, groups, device) for part in self.processors],
            selector=self.selector.start(requests, groups, device),
        )

    def _per_search(self, rows: Tensor, sentences: int) -> Tensor:
        """Return Q x R x ... values of N x ... values, copied to all searches at the first step."""
        rows = rows.view(sentences, -1, rows.size(-1))
        if self.groups == 1:
            return rows
        if rows.size(1) == 1:
            return rows.repeat_interleave(self.groups, 0)
        return rows.reshape(sentences * self.groups, -1, rows.size(-1))

    def _decoder_rows(self, origins: Tensor, sentences: int, is_first_step: bool) -> Tensor:
        """Return the N decoder rows that the Q x K active hypotheses continue."""
        if is_first_step:
            first = torch.arange(sentences, device=origins.device).repeat_interleave(self.groups)
        else:
            first = torch.arange(len(origins), device=origins.device) * self.beam_size
        return (first[:, None] + origins).flatten()

    def _results(
        self, state: BeamState, requests: list[Request], done: Tensor
    ) -> dict[int, list[Hypothesis]]:
        """Return the best hypotheses of the B sentences that are `done`, by request index.

        Raises RunError if a sentence has none, as the probabilities of the model are NaN.
        """
        sentences = done.nonzero()[:, 0].tolist()
        finished = state.select(done.repeat_interleave(self.groups).nonzero()[:, 0])
        searches = zip(
            finished.finished_scores.tolist(),
            finished.finished_log_probs.tolist(),
            finished.finished_lengths.tolist(),
            finished.finished_tokens.tolist(),
            strict=True,
        )
        results = {}
        for b in sentences:
            hypotheses = [
                Hypothesis(tokens[:length], score, log_prob)
                for _ in range(self.groups)
                for score, log_prob, length, tokens in zip(*next(searches), strict=True)
                if score > -math.inf
            ]
            if not hypotheses:
                raise RunError(NON_FINITE_PROBABILITIES)
            if self.groups > 1:
                hypotheses.sort(key=lambda hypothesis: -hypothesis.score)
            results[requests[b].index] = hypotheses[: self.nbest]
        return results


def attention_weights(trace: Trace | None) -> Tensor:
    """Return the N x S attention weights of a decoder step; RunError without attention."""
    if trace is None:
        raise RunError(NO_ATTENTION)
    return trace.alignment[:, 0].float()


def rows_of(indices: Tensor, size: int) -> Tensor:
    """Return the rows of the elements with these indices, each of which has `size` rows."""
    if size == 1:
        return indices
    return (indices[:, None] * size + torch.arange(size, device=indices.device)).flatten()


def remaining_rows(keep: Tensor) -> Tensor:
    """Return the indices of the True values of B bool, in an order that moves few rows.

    Rows behind the new end of the batch replace removed rows before it; all others stay.
    """
    indices = keep.nonzero()[:, 0]
    order = torch.arange(len(indices), device=keep.device)
    order[~keep[: len(indices)]] = indices[indices >= len(indices)]
    return order


def record_candidates(state: BeamState, candidates: Candidates, eos: int) -> BeamStep:
    """Return the candidates of the first search, and whether they are kept."""
    k, length = state.beam_size, int(state.lengths[0])
    hypotheses = state.tokens[0, :, :length].tolist()
    step: BeamStep = []
    num_active = 0
    for position, (log_prob, origin, token) in enumerate(
        zip(*(tensor[0].tolist() for tensor in candidates), strict=True)
    ):
        is_kept = position < k if token == eos else num_active < k
        num_active += token != eos
        if log_prob > -math.inf:
            step.append(Candidate([*hypotheses[origin], token], log_prob, is_kept))
    return step
