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
from nmt.decoding.search.beam_state import (
    BeamState,
    Candidates,
    FinishedHypotheses,
    SearchRules,
)
from nmt.decoding.search.candidates import CandidateSelector
from nmt.decoding.search.hypothesis import NON_FINITE_PROBABILITIES, Hypothesis
from nmt.decoding.search.logits_processors import DecodingStep, LogitsProcessor
from nmt.decoding.search.request_queue import Request, SearchQueue, pad_sources
from nmt.decoding.search.trace import NO_ATTENTION, BeamStep, Candidate
from nmt.decoding.search.vocabulary import OutputVocabulary
from nmt.errors import RunError
from nmt.models.build import AnyModel
from nmt.models.interface import RemainingRows, Trace
from nmt.models.kernels.selection import is_launch_bound

REMOVAL_FRACTION = 1 / 8
"""Remove finished sentences once this fraction of a batch has finished; removal copies the others.
A sentence at its maximum length is removed at once, as its tensors have no place for a token."""
CHECK_INTERVAL = 4
"""Steps between two checks for finished sentences on a GPU. The host waits for the device at each,
so on a CPU, where nothing has to wait, it checks after every step."""


@dataclass
class SearchBatch:
    """Sentences that are searched together."""

    requests: list[Request]
    """The B sentences."""
    state: BeamState
    """Hypotheses of the Q searches."""
    lengths: list[int]
    """B: number of tokens of the hypotheses."""
    is_done: list[bool]
    """B: True for sentences that are done and not yet removed."""
    memory: Any
    """Encoder output of B sentences."""
    decoder_state: Any
    """State of N decoder rows."""
    last_tokens: Tensor
    """N newest tokens."""
    vocabulary: OutputVocabulary
    processors: list[LogitsProcessor]
    selector: CandidateSelector
    unchecked_steps: int = 0
    """Number of steps since the host has read which sentences are done."""

    def join(self, other: SearchBatch) -> SearchBatch:
        """Return the sentences of both batches, those of `other` last."""
        return SearchBatch(
            requests=self.requests + other.requests,
            state=self.state.join(other.state),
            lengths=self.lengths + other.lengths,
            is_done=self.is_done + other.is_done,
            memory=self.memory.join(other.memory),
            decoder_state=self.decoder_state.join(other.decoder_state),
            last_tokens=torch.cat([self.last_tokens, other.last_tokens]),
            vocabulary=self.vocabulary.join(other.vocabulary),
            processors=[
                processor.join(new)
                for processor, new in zip(self.processors, other.processors, strict=True)
            ],
            selector=self.selector.join(other.selector),
            unchecked_steps=self.unchecked_steps,
        )

    def without_done(self, decoder_rows: Tensor) -> SearchBatch:
        """Return the sentences that are not done.

        `decoder_rows` are the rows of `decoder_state` that all Q x K hypotheses of this batch
        continue. The memory of this batch must not be used afterwards.
        """
        kept = remaining_rows(self.is_done)
        sentences = RemainingRows.of(kept, decoder_rows.device)
        searches = rows_of(sentences.on_device, len(self.state.lengths) // len(self.requests))
        hypotheses = rows_of(searches, self.state.beam_size)
        return SearchBatch(
            requests=[self.requests[b] for b in kept],
            state=self.state.select(searches),
            lengths=[self.lengths[b] for b in kept],
            is_done=[False] * len(kept),
            memory=self.memory.keep(sentences),
            decoder_state=self.decoder_state.select(decoder_rows[hypotheses], sentences),
            last_tokens=self.last_tokens[hypotheses],
            vocabulary=self.vocabulary.select(kept),
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
    rules: SearchRules
    """When hypotheses and searches end."""
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
            for b in queue.take_cancelled(batch.requests):
                batch.is_done[b] = True
            batch = self.step(batch, queue)

    def step(self, batch: SearchBatch, queue: SearchQueue) -> SearchBatch | None:
        """Extend all hypotheses by one token; return the sentences that continue, if any."""
        sentences = len(batch.requests)
        state, uses_attention = batch.state, self.rules.ranking.uses_attention
        lengths = [length + 1 for length in batch.lengths]
        is_last_step = [
            length >= request.max_length
            for length, request in zip(lengths, batch.requests, strict=True)
        ]
        hidden, decoder_state, trace = self.model.step(
            batch.last_tokens, batch.decoder_state, batch.memory, uses_attention
        )
        if uses_attention:
            state = state.add_attention(self._per_search(attention_weights(trace), sentences))

        log_probs = self._per_search(batch.vocabulary.log_probs(hidden), sentences)
        step = DecodingStep(state, log_probs, batch.vocabulary.eos, is_last_step)
        if batch.processors:
            log_probs = log_probs.clone()  # processors may overwrite it
        for processor in batch.processors:
            log_probs = processor(log_probs, step)
        candidates = batch.selector(log_probs, step)
        candidates = candidates._replace(tokens=batch.vocabulary.token_ids(candidates.tokens))
        if self.on_candidates is not None:
            self.on_candidates(state, candidates)

        state, rows, tokens = state.extend(candidates, self.rules)
        is_done = state.is_done(self.rules.stop)
        if self.groups > 1:  # the searches of a sentence end together
            is_done = is_done.view(sentences, self.groups).all(1).repeat_interleave(self.groups)
        batch = replace(
            batch,
            state=state.without_active(is_done),
            lengths=lengths,
            decoder_state=decoder_state,
            last_tokens=tokens.flatten(),
            unchecked_steps=batch.unchecked_steps + 1,
        )
        decoder_rows = self._decoder_rows(rows, sentences, is_first_step=len(hidden) == sentences)
        if any(is_last_step) or batch.unchecked_steps >= self._check_interval:
            self._finish(batch, is_done, is_last_step, queue)
        num_done = sum(batch.is_done)
        if num_done == sentences:
            return None
        if any(is_last_step) or num_done >= max(1, REMOVAL_FRACTION * sentences):
            return batch.without_done(decoder_rows)
        if len(decoder_rows) != len(hidden) or self.beam_size > 1:
            batch.decoder_state = decoder_state.select(decoder_rows)
        return batch

    @property
    def _check_interval(self) -> int:
        return CHECK_INTERVAL if is_launch_bound(self.device.type) else 1

    def _finish(
        self, batch: SearchBatch, is_done: Tensor, is_last_step: list[bool], queue: SearchQueue
    ) -> None:
        """Report the sentences of `batch` that are done now.

        `is_done` is Q bool on the device. If a probability is NaN, a sentence ends only at its
        maximum length (`is_last_step`, B bool).
        """
        batch.unchecked_steps = 0
        can_look = not is_launch_bound(self.device.type)
        if can_look and not any(is_last_step) and not bool(is_done.any()):
            return
        finished = batch.state.to_host(is_done)
        newly_done = [
            b
            for b, was_done in enumerate(batch.is_done)
            if (finished.is_done[b * self.groups] or is_last_step[b]) and not was_done
        ]
        if newly_done:
            queue.finish({batch.requests[b].index: self._results(finished, b) for b in newly_done})
        batch.is_done = [b in newly_done or was_done for b, was_done in enumerate(batch.is_done)]

    def start(self, requests: list[Request], rows: int) -> SearchBatch:
        """Encode new sentences; return them with one empty hypothesis per search.

        Each sentence has 1 decoder row, or G x K to join sentences that have so many.
        """
        groups, device = self.groups, self.device
        src, src_len = pad_sources([request.source for request in requests], self.tokenizers.src)
        memory = self.model.encode(src.to(device, non_blocking=True), src_len)
        max_lengths = [request.max_length for request in requests]
        # all hypotheses of a sentence share the slots of its key-value cache
        cache_length = max(max_lengths) * self.beam_size * groups
        state = BeamState.start(
            [length for length in max_lengths for _ in range(groups)],
            self.beam_size,
            math.ceil(self.nbest / groups),
            self.rules,
            memory.mask,
        )
        if self.rules.ranking.uses_attention:
            state = state.track_coverage(memory.mask.repeat_interleave(groups, 0))
        return SearchBatch(
            requests=requests,
            state=state,
            lengths=[0] * len(requests),
            is_done=[False] * len(requests),
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

    def _decoder_rows(self, rows: Tensor, sentences: int, is_first_step: bool) -> Tensor:
        """Return the N decoder rows that the Q x K active hypotheses continue.

        `rows` are Q x K indices of the hypotheses. At the first step, a sentence has one row.
        """
        if not is_first_step:
            return rows.flatten()
        first = torch.arange(sentences, device=rows.device)
        return first.repeat_interleave(self.groups * self.beam_size)

    def _results(self, finished: FinishedHypotheses, sentence: int) -> list[Hypothesis]:
        """Return the best hypotheses of a sentence that is done, best first.

        Raises RunError if it has none, as the probabilities of the model are NaN.
        """
        searches = range(sentence * self.groups, (sentence + 1) * self.groups)
        hypotheses = [
            Hypothesis(tokens[: tokens.index(self.rules.eos)], score, log_prob)
            for q in searches
            for score, log_prob, tokens in zip(
                finished.scores[q], finished.log_probs[q], finished.tokens[q], strict=True
            )
            if score > -math.inf
        ]
        if not hypotheses:
            raise RunError(NON_FINITE_PROBABILITIES)
        if self.groups > 1:
            hypotheses.sort(key=lambda hypothesis: -hypothesis.score)
        return hypotheses[: self.nbest]


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


def remaining_rows(is_removed: Sequence[bool]) -> list[int]:
    """Return the indices of the rows that stay, in an order that moves few of them.

    Rows behind the new end of the batch replace removed rows before it; all others stay.
    """
    indices = [index for index, removed in enumerate(is_removed) if not removed]
    behind_end = (index for index in indices if index >= len(indices))
    return [next(behind_end) if is_removed[index] else index for index in range(len(indices))]


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
