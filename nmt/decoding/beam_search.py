"""Beam search over any model: it knows `encode`, `start`, `step` and `select`, no architecture.

Shapes: B sentences searched together, K beam size, N = B x K rows, V vocabulary.

Each step looks at the 2 K best continuations of a sentence's K living hypotheses. Those of the
first K that end are put among the ended; the first K that do not end live on. When that is over
is `decode.stop`'s to say (docs/decoding.md). Every hypothesis ends with eos, at the limit by force,
and its score counts that eos. A beam of one is greedy search: it stops at the first eos.

Sentences that are done leave, and when enough have, those that wait take their rows. On a CPU a
search runs in each thread: two of one thread each beat one of two.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from threading import Event
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from nmt.config.sections.decode import DecodeConfig
from nmt.data.batching.loader import pad_rows
from nmt.data.tokenizer.tokenizer import Tokenizers
from nmt.decoding.beam_state import Hypotheses, Prefix, Stop
from nmt.decoding.candidates import Candidates, best, diverse, random_numbers, sampled
from nmt.decoding.constraints.beam_allocation import Constrained, Constraints
from nmt.decoding.constraints.lexical_constraints import (
    PHRASES_NEED_BEAM_SEARCH,
    LexicalConstraints,
    TokenBoundaries,
)
from nmt.decoding.constraints.shortlist import Narrowed, Shortlist
from nmt.decoding.forced_decoding import BROKEN, NO_ATTENTION, Forcing
from nmt.decoding.hypothesis import Hypothesis, length_limit
from nmt.decoding.logits_processors import Filters, begun
from nmt.decoding.request_queue import Waiting
from nmt.decoding.trace import BeamStep, Candidate
from nmt.device.threads import run_in_threads
from nmt.errors import ConfigError, RunError
from nmt.models.build import AnyModel
from nmt.models.interface import evaluation_mode

LINES_A_WORKER = 8
"""So few lines are not worth another search beside the first."""
SAMPLES_TOGETHER = 320
"""Samples drawn together, at most, unless one line has more."""
LEAVING = 1 / 8
"""Sentences that are done leave when they are so many of a batch, as moving the others costs time,
or when one of them is at its limit."""


@dataclass
class _Searched:
    """Sentences that are searched together, and where they are."""

    lines: list[int]
    """Which of the sources each is."""
    hypotheses: Hypotheses
    done: Tensor
    """B, whose search is over; they go on for nothing until they leave."""
    memory: Any
    state: Any
    tokens: Tensor
    """N, the newest."""
    narrowed: Narrowed | None
    """Their part of the vocabulary, where there is a shortlist."""
    constrained: Constrained | None
    """Their phrases, where any are demanded."""

    def join(self, other: _Searched) -> None:
        """Take the sentences of another batch in."""
        if self.narrowed is not None and other.narrowed is not None:
            self.narrowed = self.narrowed.join(other.narrowed)
        if self.constrained is not None and other.constrained is not None:
            self.constrained = self.constrained.join(other.constrained)
        self.lines += other.lines
        self.hypotheses = self.hypotheses.join(other.hypotheses)
        self.done = torch.cat([self.done, other.done])
        self.memory, self.state = self.memory.join(other.memory), self.state.join(other.state)
        self.tokens = torch.cat([self.tokens, other.tokens])


class TorchEngine(Forcing):
    """Searches and scores batches of token ids with one model on one device."""

    def __init__(
        self,
        model: AnyModel,
        tokenizers: Tokenizers,
        settings: DecodeConfig,
        device: torch.device,
        shortlist: Shortlist | None = None,
        check: Callable[[], None] | None = None,
    ) -> None:
        """Prepare a search; before each step it calls `check`, which may raise to leave it.

        Raises ConfigError where a forbidden piece is none of the target's.
        """
        super().__init__(model, tokenizers, settings, device)
        self.shortlist = shortlist
        self.check = check
        self.width = 1 if settings.is_sampling else settings.beam_size // settings.groups
        """Hypotheses of a group."""
        self.stop: Stop = "first" if self.width == 1 else settings.stop
        self.filters = Filters(settings, tokenizers.tgt)

    @cached_property
    def edges(self) -> TokenBoundaries:
        """Which target tokens begin and end inside words."""
        return TokenBoundaries.of(self.tokenizers.tgt)

    def search(
        self,
        sources: Sequence[Sequence[int]],
        nbest: int = 1,
        demands: Mapping[int, LexicalConstraints] | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> list[list[Hypothesis]]:
        """Return the `nbest` best hypotheses of each source, best first.

        `sources` are token ids without eos, any number of them; `nbest` is at most
        `decode.max_nbest`; `demands` are of some of them, by index. Raises ConfigError where
        phrases are demanded of samples or of groups. `progress` is called with the number of
        sources that are done, one call at a time.
        """
        demands = demands or {}
        held = {i for i, its in demands.items() if its.phrases}
        if held and (self.settings.is_sampling or self.settings.groups > 1):
            raise ConfigError([PHRASES_NEED_BEAM_SEARCH])
        found: list[list[Hypothesis]] = [[] for _ in sources]
        free = [i for i in range(len(sources)) if i not in held]
        for these in (free, sorted(held)):
            its = {place: demands[i] for place, i in enumerate(these) if i in demands}
            texts = [sources[i] for i in these]
            some = self._found(texts, nbest, its, progress) if these else []
            for i, hypotheses in zip(these, some, strict=True):
                found[i] = hypotheses
        return found

    def _found(
        self,
        sources: Sequence[Sequence[int]],
        nbest: int,
        demands: Mapping[int, LexicalConstraints],
        progress: Callable[[int], object] | None,
    ) -> list[list[Hypothesis]]:
        """Search sources of which all, or none, are to hold phrases."""
        workers = self._workers(len(sources))
        share = math.ceil(len(sources) / workers)
        if self.settings.is_sampling:
            share = min(share, max(1, SAMPLES_TOGETHER // nbest))
        waiting = Waiting(sources, demands, share, self.settings, progress)
        found: list[list[Hypothesis]] = [[] for _ in sources]
        with evaluation_mode(self.model):
            if workers == 1:
                self._search(waiting, found, nbest)
            else:
                run_in_threads(lambda stop: self._search(waiting, found, nbest, stop=stop), workers)
        return found

    def _workers(self, lines: int) -> int:
        """Return how many searches to run side by side; on a CPU one a thread, if lines suffice."""
        if self.device.type != "cpu":
            return 1
        return max(1, min(torch.get_num_threads(), lines // LINES_A_WORKER))

    def trace_beam(self, source: Sequence[int]) -> tuple[Hypothesis, list[BeamStep]]:
        """Search one source; return the best hypothesis and what each step kept and dropped.

        Of several groups the steps are those of the first.
        """
        steps: list[BeamStep] = []
        found: list[list[Hypothesis]] = [[]]
        with evaluation_mode(self.model):
            self._search(Waiting([source], {}, 1, self.settings), found, 1, steps)
        return found[0][0], steps

    def length_limit(self, source_length: int) -> int:
        """Return the longest translation, eos included, of a source of so many tokens."""
        return length_limit(self.settings, source_length)

    def _groups(self, nbest: int) -> int:
        """Return how many groups search each sentence."""
        return nbest if self.settings.is_sampling else self.settings.groups

    def _search(
        self,
        waiting: Waiting,
        found: list[list[Hypothesis]],
        nbest: int,
        steps: list[BeamStep] | None = None,
        stop: Event | None = None,
    ) -> None:
        """Search the lines that wait until none is left, or until told to stop."""
        batch: _Searched | None = None
        while stop is None or not stop.is_set():
            if self.check is not None:
                self.check()
            fresh = waiting.take(0 if batch is None else len(batch.lines))
            if batch is None and not fresh:
                return
            if fresh:
                first = self._begin(waiting, fresh, nbest)
                begun = self._advance(first, waiting, found, nbest, steps)
                if batch is None:
                    batch = begun
                elif begun is not None:
                    batch.join(begun)
            if batch is not None:
                batch = self._advance(batch, waiting, found, nbest, steps)

    def _begin(self, waiting: Waiting, lines: list[int], nbest: int) -> _Searched:
        """Encode lines and put the first token before them: one hypothesis each, until a step."""
        sources = [waiting.sources[i] for i in lines]
        demands = [waiting.demands.get(i, LexicalConstraints()) for i in lines]
        groups, k = self._groups(nbest), self.width
        src, src_len = self._source_tensors(sources)
        limits = [
            self.length_limit(len(source))
            if demand == LexicalConstraints()
            else self._room(source, demand)
            for source, demand in zip(sources, demands, strict=True)
        ]
        memory = self.model.encode(src.to(self.device), src_len)
        first = torch.full((len(sources),), self.tokenizers.tgt.bos, device=self.device)
        each = torch.tensor(limits, device=self.device).repeat_interleave(groups)
        hypotheses = Hypotheses.start(each, k, math.ceil(nbest / groups))
        if waiting.prefixed:
            hypotheses = replace(hypotheses, prefix=self._prefix(demands, groups))
        if self.settings.is_sampling:
            longest = max(limits)
            drawn = [
                F.pad(random_numbers(source, self.settings.seed, groups, its), (0, longest - its))
                for source, its in zip(sources, limits, strict=True)
            ]
            exact = torch.float32 if self.device.type == "mps" else torch.float64  # it has no more
            draws = torch.cat(drawn).to(self.device, exact)
            hypotheses = replace(hypotheses, draws=draws)
        if self.ranking.beta > 0:
            uncovered = memory.mask.float().repeat_interleave(groups, 0)[:, None].expand(-1, k, -1)
            hypotheses = replace(hypotheses, uncovered=uncovered)
        return _Searched(
            lines,
            hypotheses,
            torch.zeros(len(lines), dtype=torch.bool, device=self.device),
            memory,
            self.model.start(memory, 1, max(limits) * k * groups),
            first,
            self._narrowed(sources, demands),
            self._constrained(demands),
        )

    def _room(self, source: Sequence[int], demand: LexicalConstraints) -> int:
        """Return the limit of a line with a demand."""
        return length_limit(self.settings, len(source), demand)

    def _prefix(self, demands: Sequence[LexicalConstraints], groups: int) -> Prefix:
        longest = max(1, *(len(demand.prefix) for demand in demands))
        rows = [list(demand.prefix) for demand in demands for _ in range(groups)]
        lengths = torch.tensor([len(row) for row in rows], device=self.device)
        return Prefix(pad_rows(rows, longest, 0).to(self.device), lengths)

    def _constrained(self, demands: Sequence[LexicalConstraints]) -> Constrained | None:
        if not demands[0].phrases:
            return None
        return Constrained.start([Constraints(demand.phrases, self.edges) for demand in demands])

    def _narrowed(
        self, sources: Sequence[Sequence[int]], demands: Sequence[LexicalConstraints]
    ) -> Narrowed | None:
        if self.shortlist is None:
            return None
        lists = [
            self.shortlist.of(source, demand.tokens)
            for source, demand in zip(sources, demands, strict=True)
        ]
        return Narrowed.of(self.model.output, lists)

    def _advance(
        self,
        batch: _Searched,
        waiting: Waiting,
        found: list[list[Hypothesis]],
        nbest: int,
        steps: list[BeamStep] | None,
    ) -> _Searched | None:
        """Take one step; put what is done into `found` and return what goes on, if anything."""
        eos, groups = self.tokenizers.tgt.eos, self._groups(nbest)
        before = batch.hypotheses
        count, (every, k) = len(batch.lines), before.scores.shape
        hidden, state, seen = self.model.step(
            batch.tokens, batch.state, batch.memory, before.uncovered is not None
        )
        if before.uncovered is not None:
            if seen is None:
                raise RunError(NO_ATTENTION)
            weights = seen.alignment[:, 0].float().view(count, -1, seen.alignment.size(2))
            before = before.attended(self._by_group(weights, groups))
        scores, origin, token = self._candidates(hidden, batch, before, groups)
        if steps is not None:
            steps.append(candidates_of(before, scores[0], origin[0], token[0], eos))
        after, came = before.advance(scores, origin, token, eos, self.ranking)
        if len(hidden) > count:
            begins = torch.arange(every, device=came.device) * k
        else:  # at the first step a sentence has one row, which all its groups go on from
            begins = torch.arange(count, device=came.device).repeat_interleave(groups)
        rows = (begins[:, None] + came).flatten()
        newest = after.tokens.gather(2, before.length[:, None, None].expand(-1, k, 1)).flatten()
        over_now = after.done(self.stop, self.ranking).view(count, groups).all(1)
        done = batch.done | over_now
        fresh = done & ~batch.done
        at_limit = done & (after.length >= after.limits)[::groups]
        # one read from the device a step
        ended, over, must_leave = torch.stack([fresh.sum(), done.sum(), at_limit.sum()]).tolist()
        if ended:
            self._collect(after, batch.lines, fresh, groups, nbest, found)
            waiting.finish(ended)
        if over == count:
            return None
        if not must_leave and over < max(1, LEAVING * count):
            state = state if len(rows) == len(hidden) and k == 1 else state.select(rows)
            return replace(batch, hypotheses=after, done=done, state=state, tokens=newest)
        remaining = packed(~done)
        each = expanded(remaining, groups)
        kept = expanded(each, k)
        return _Searched(
            [batch.lines[b] for b in remaining.tolist()],
            after.select(each),
            done[remaining],
            batch.memory.keep(remaining),
            state.select(rows[kept], remaining),
            newest[kept],
            None if batch.narrowed is None else batch.narrowed.keep(remaining),
            None if batch.constrained is None else batch.constrained.keep(remaining),
        )

    def _by_group(self, rows: Tensor, groups: int) -> Tensor:
        """Return (B x groups) x R x ... of B x (groups x R) x ...; of one row, a copy for each."""
        if groups == 1:
            return rows
        if rows.size(1) == 1:
            return rows.repeat_interleave(groups, 0)
        return rows.reshape(len(rows) * groups, -1, *rows.shape[2:])

    def _collect(
        self,
        hypotheses: Hypotheses,
        lines: list[int],
        done: Tensor,
        groups: int,
        nbest: int,
        found: list[list[Hypothesis]],
    ) -> None:
        """Put the best hypotheses of the sentences that are done into `found`.

        Raises RunError where the model gave no probability that is a number.
        """
        finished = hypotheses.select(done.repeat_interleave(groups).nonzero()[:, 0])
        ranked = zip(
            done.nonzero()[:, 0].repeat_interleave(groups).tolist(),
            finished.best.tolist(),
            finished.best_log_probs.tolist(),
            finished.best_lengths.tolist(),
            finished.best_tokens.tolist(),
            strict=True,
        )
        for b, *its in ranked:
            found[lines[b]] += [
                Hypothesis(tokens[:length], score, log_prob)
                for score, log_prob, length, tokens in zip(*its, strict=True)
                if score > -math.inf
            ]
        for b in done.nonzero()[:, 0].tolist():
            hypotheses_of_line = found[lines[b]]
            if not hypotheses_of_line:
                raise RunError(BROKEN)
            if groups > 1:
                hypotheses_of_line.sort(key=lambda each: -each.score)
                del hypotheses_of_line[nbest:]

    def _candidates(
        self, hidden: Tensor, batch: _Searched, before: Hypotheses, groups: int
    ) -> Candidates:
        """Return the candidates of each group, B x C.

        A sentence at its limit can only end.
        """
        k, narrowed = self.width, batch.narrowed
        logits = self._logits(hidden) if narrowed is None else narrowed.logits(hidden)
        log_probs = logits.log_softmax(-1).view(len(batch.lines), -1, logits.size(-1))
        by_tokens = self.filters.active or before.prefix is not None
        if narrowed is not None and (by_tokens or batch.constrained is not None):
            whole = log_probs.new_full(
                (*log_probs.shape[:2], self.tokenizers.tgt.vocab_size), -math.inf
            )
            places = narrowed.tokens[:, None].expand_as(log_probs)
            log_probs, narrowed = whole.scatter_reduce(2, places, log_probs, "amax"), None
        log_probs = self._by_group(log_probs, groups)
        if by_tokens:
            filtered = self.filters(log_probs, before)
            if before.prefix is not None:
                filtered = begun(filtered, log_probs, before.prefix, before.length)
            log_probs = filtered
        totals = before.scores[:, : log_probs.size(1)]
        eos = self.tokenizers.tgt.eos if narrowed is None else 0  # its place among the tokens
        if batch.constrained is not None:
            return batch.constrained.choose(log_probs, before, eos)
        scores, origin, token = self._choose(log_probs, totals, before, groups)
        missing = max(0, k - scores.size(1))  # where the vocabulary is smaller than the beam
        origin, token = F.pad(origin, (0, missing)), F.pad(token, (0, missing))
        scores = F.pad(scores, (0, missing), value=-math.inf)
        last = (before.limits == before.length + 1)[:, None]
        ending = (log_probs[:, :, eos] + totals).sort(1, descending=True)
        unused = scores.size(1) - log_probs.size(1)
        scores = torch.where(last, F.pad(ending.values, (0, unused), value=-math.inf), scores)
        origin = torch.where(last, F.pad(ending.indices, (0, unused)), origin)
        token = torch.where(last, eos, token)
        if narrowed is not None:
            tokens = narrowed.tokens
            token = (tokens.repeat_interleave(groups, 0) if groups > 1 else tokens).gather(1, token)
        return scores, origin, token

    def _choose(
        self, log_probs: Tensor, totals: Tensor, before: Hypotheses, groups: int
    ) -> Candidates:
        """Return the candidates by the method that the settings name."""
        if before.draws is not None:
            draws = before.draws.gather(1, before.length[:, None])[:, 0]
            return sampled(log_probs, totals, draws, self.settings)
        if groups > 1:
            return diverse(log_probs, totals, self.width, groups, self.settings.diversity)
        return best(log_probs, totals, self.width)


def expanded(places: Tensor, size: int) -> Tensor:
    """Return the rows of these places, each of which has `size`."""
    if size == 1:
        return places
    return (places[:, None] * size + torch.arange(size, device=places.device)).flatten()


def packed(going: Tensor) -> Tensor:
    """Return the places that are True, B bool, in an order in which most stay where they are.

    Those beyond the number of them fill the holes before it.
    """
    places = going.nonzero()[:, 0]
    order = torch.arange(len(places), device=going.device)
    order[~going[: len(places)]] = places[places >= len(places)]
    return order


def candidates_of(
    before: Hypotheses, scores: Tensor, origin: Tensor, token: Tensor, eos: int
) -> BeamStep:
    """Return the candidates of the first sentence, C of them, and which of them are kept."""
    k, length = before.scores.size(1), int(before.length[0])
    said = before.tokens[0, :, :length].tolist()
    step: BeamStep = []
    living = 0
    for place, (score, k_from, newest) in enumerate(
        zip(scores.tolist(), origin.tolist(), token.tolist(), strict=True)
    ):
        kept = place < k if newest == eos else living < k
        living += newest != eos
        if score > -math.inf:
            step.append(Candidate([*said[k_from], newest], score, kept))
    return step
