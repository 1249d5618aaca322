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
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from threading import Event, Lock
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from nmt.config import DecodeConfig
from nmt.data.loader import pad_rows
from nmt.data.tokenizer import Tokenizers
from nmt.decoding.hypotheses import Hypotheses, Stop, best_of, length_penalty
from nmt.decoding.shortlist import Narrowed, Shortlist
from nmt.decoding.translator import Hypothesis, length_limit
from nmt.decoding.walk import BeamStep, Candidate, Numbers, Walk
from nmt.errors import RunError
from nmt.models.build import AnyModel
from nmt.models.interface import Trace
from nmt.runtime import evaluating, side_by_side

BROKEN = "the model's probabilities are not numbers: its weights hold NaN or inf"
NO_ATTENTION = "this model has no attention to show (model.wiring: none)"
REFILL = 0.75
"""Sentences that wait join when so few of a batch are left."""
LINES_A_WORKER = 8
"""So few lines are not worth another search beside the first."""
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

    def join(self, other: _Searched) -> None:
        """Take the sentences of another batch in."""
        if self.narrowed is not None and other.narrowed is not None:
            self.narrowed = self.narrowed.join(other.narrowed)
        self.lines += other.lines
        self.hypotheses = self.hypotheses.join(other.hypotheses)
        self.done = torch.cat([self.done, other.done])
        self.memory, self.state = self.memory.join(other.memory), self.state.join(other.state)
        self.tokens = torch.cat([self.tokens, other.tokens])


class _Waiting:
    """Lines that wait to be searched, for one search or several side by side; short ones first."""

    def __init__(
        self, sources: Sequence[Sequence[int]], share: int, settings: DecodeConfig
    ) -> None:
        self.sources = sources
        self.lines = sorted(range(len(sources)), key=lambda i: len(sources[i]), reverse=True)
        self.most = min(settings.batch_size, share)
        self.settings = settings
        self.lock = Lock()

    def take(self, busy: int) -> list[int]:
        """Return lines to join a batch of `busy` lines: as many as it has room for, once it pays.

        Room is for `decode.batch_size` lines and `decode.batch_tokens` padded source tokens.
        """
        taken: list[int] = []
        if busy and not self.settings.continuous:
            return taken
        longest = 0
        with self.lock:
            while self.lines:
                longest = max(longest, len(self.sources[self.lines[-1]]) + 1)
                room = min(self.most, max(1, self.settings.batch_tokens // longest))
                if busy > REFILL * room or busy + len(taken) >= room:
                    break
                taken.append(self.lines.pop())
        return taken


@dataclass(frozen=True)
class _Forced:
    """A batch of targets fed to the decoder. B pairs, T the longest target."""

    targets: list[list[int]]
    """With eos."""
    log_probs: Tensor
    """B x T x V."""
    chosen: Tensor
    """B x T log-probabilities of the targets' tokens, on the CPU."""
    real: Tensor
    """B x T, True = real token."""
    trace: Trace | None


class BeamEngine:
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
        """Prepare a search; before each step it calls `check`, which may raise to leave it."""
        self.model = model
        self.shortlist = shortlist
        self.check = check
        self.tokenizers = tokenizers
        self.settings = settings
        self.device = device
        self.stop: Stop = "first" if settings.beam_size == 1 else settings.stop
        self._never = torch.tensor(tokenizers.tgt.never_output, device=device)

    def search(self, sources: Sequence[Sequence[int]], nbest: int = 1) -> list[list[Hypothesis]]:
        """Return the `nbest` best hypotheses of each source, best first.

        `sources` are token ids without eos, any number of them; `nbest` is at most the beam size.
        """
        workers = self._workers(len(sources))
        waiting = _Waiting(sources, math.ceil(len(sources) / workers), self.settings)
        found: list[list[Hypothesis]] = [[] for _ in sources]
        with evaluating(self.model):
            if workers == 1:
                self._search(waiting, found, nbest)
            else:
                side_by_side(lambda stop: self._search(waiting, found, nbest, stop=stop), workers)
        return found

    def _workers(self, lines: int) -> int:
        """Return how many searches to run side by side; on a CPU one a thread, if lines suffice."""
        if self.device.type != "cpu":
            return 1
        return max(1, min(torch.get_num_threads(), lines // LINES_A_WORKER))

    def watch(self, source: Sequence[int]) -> tuple[Hypothesis, list[BeamStep]]:
        """Search one source; return the best hypothesis and what each step kept and dropped."""
        steps: list[BeamStep] = []
        found: list[list[Hypothesis]] = [[]]
        with evaluating(self.model):
            self._search(_Waiting([source], 1, self.settings), found, 1, steps)
        return found[0][0], steps

    def limit(self, source_length: int) -> int:
        """Return the longest translation, eos included, of a source of so many tokens."""
        return length_limit(self.settings, source_length)

    def _search(
        self,
        waiting: _Waiting,
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
                first = self._begin([waiting.sources[i] for i in fresh], fresh, nbest)
                begun = self._advance(first, found, steps)
                if batch is None:
                    batch = begun
                elif begun is not None:
                    batch.join(begun)
            if batch is not None:
                batch = self._advance(batch, found, steps)

    def _begin(self, sources: Sequence[Sequence[int]], lines: list[int], nbest: int) -> _Searched:
        """Encode sources and put the first token before them: one hypothesis each, until a step."""
        k = self.settings.beam_size
        src, src_len = self._source_tensors(sources)
        limits = [self.limit(len(source)) for source in sources]
        memory = self.model.encode(src.to(self.device), src_len)
        first = torch.full((len(sources),), self.tokenizers.tgt.bos, device=self.device)
        return _Searched(
            lines,
            Hypotheses.start(torch.tensor(limits, device=self.device), k, nbest),
            torch.zeros(len(lines), dtype=torch.bool, device=self.device),
            memory,
            self.model.start(memory, 1, max(limits) * k),
            first,
            self._narrowed(sources),
        )

    def _narrowed(self, sources: Sequence[Sequence[int]]) -> Narrowed | None:
        if self.shortlist is None:
            return None
        return Narrowed.of(self.model.output, [self.shortlist.of(source) for source in sources])

    def _advance(
        self, batch: _Searched, found: list[list[Hypothesis]], steps: list[BeamStep] | None
    ) -> _Searched | None:
        """Take one step; put what is done into `found` and return what goes on, if anything."""
        eos, alpha = self.tokenizers.tgt.eos, self.settings.length_penalty
        before = batch.hypotheses
        hidden, state, _ = self.model.step(batch.tokens, batch.state, batch.memory)
        scores, origin, token = self._candidates(hidden, before, batch.narrowed)
        if steps is not None:
            steps.append(candidates_of(before, scores[0], origin[0], token[0], eos))
        after, came = before.advance(scores, origin, token, eos, alpha)
        count, k = came.shape
        width = len(hidden) // count
        rows = (torch.arange(count, device=came.device)[:, None] * width + came).flatten()
        newest = after.tokens.gather(2, before.length[:, None, None].expand(-1, k, 1)).flatten()
        done = batch.done | after.done(self.stop, alpha)
        fresh = done & ~batch.done
        at_limit = done & (after.length >= after.limits)
        # one read from the device a step
        ended, over, must_leave = torch.stack([fresh.sum(), done.sum(), at_limit.sum()]).tolist()
        if ended:
            self._collect(after, batch.lines, fresh, found)
        if over == count:
            return None
        if not must_leave and over < max(1, LEAVING * count):
            state = state if k == 1 else state.select(rows)
            return replace(batch, hypotheses=after, done=done, state=state, tokens=newest)
        remaining = packed(~done)
        kept = (remaining[:, None] * k + torch.arange(k, device=came.device)).flatten()
        return _Searched(
            [batch.lines[b] for b in remaining.tolist()],
            after.select(remaining),
            done[remaining],
            batch.memory.keep(remaining),
            state.select(rows[kept], remaining),
            newest[kept],
            None if batch.narrowed is None else batch.narrowed.keep(remaining),
        )

    def _collect(
        self,
        hypotheses: Hypotheses,
        lines: list[int],
        done: Tensor,
        found: list[list[Hypothesis]],
    ) -> None:
        """Put the best hypotheses of the sentences that are done into `found`.

        Raises RunError where the model gave no probability that is a number.
        """
        finished = hypotheses.select(done.nonzero()[:, 0])
        ranked = zip(
            done.nonzero()[:, 0].tolist(),
            finished.best.tolist(),
            finished.best_log_probs.tolist(),
            finished.best_lengths.tolist(),
            finished.best_tokens.tolist(),
            strict=True,
        )
        for b, *its in ranked:
            found[lines[b]] = [
                Hypothesis(tokens[:length], score, log_prob)
                for score, log_prob, length, tokens in zip(*its, strict=True)
                if score > -math.inf
            ]
            if not found[lines[b]]:
                raise RunError(BROKEN)

    def _candidates(
        self, hidden: Tensor, before: Hypotheses, narrowed: Narrowed | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the 2 K best continuations of each sentence: scores, origins and tokens, B x C.

        A sentence at its limit can only end.
        """
        count, k = before.scores.shape
        rows = len(hidden) // count  # one at the first step, then K
        eos = self.tokenizers.tgt.eos if narrowed is None else 0  # its place among the tokens
        logits = self._logits(hidden) if narrowed is None else narrowed.logits(hidden)
        log_probs = logits.log_softmax(-1).view(count, rows, -1)
        totals = before.scores[:, :rows]
        if k > 1:
            scores, origin, token = best_of(log_probs, totals, 2 * k)
        else:
            best, token = log_probs[:, 0].max(-1, keepdim=True)
            scores, origin = best + totals, torch.zeros_like(token)
        missing = max(0, k - scores.size(1))  # where the vocabulary is smaller than the beam
        origin, token = F.pad(origin, (0, missing)), F.pad(token, (0, missing))
        scores = F.pad(scores, (0, missing), value=-math.inf)
        last = (before.limits == before.length + 1)[:, None]
        ending = (log_probs[:, :, eos] + totals).sort(1, descending=True)
        unused = scores.size(1) - rows
        scores = torch.where(last, F.pad(ending.values, (0, unused), value=-math.inf), scores)
        origin = torch.where(last, F.pad(ending.indices, (0, unused)), origin)
        token = torch.where(last, eos, token)
        return scores, origin, token if narrowed is None else narrowed.tokens.gather(1, token)

    def _logits(self, hidden: Tensor) -> Tensor:
        """Return ... x V logits of ... x D hidden vectors; -inf for what is never output."""
        logits = self.model.output.logits(hidden).float()
        return logits.index_fill_(-1, self._never, -math.inf)

    def _source_tensors(self, sources: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        src = self.tokenizers.src
        rows = [[*source, src.eos] for source in sources]
        lengths = torch.tensor([len(row) for row in rows])
        return pad_rows(rows, int(lengths.max()), src.pad), lengths

    def score(self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[Hypothesis]:
        """Return each pair's target as a hypothesis with the score of forced decoding."""
        with evaluating(self.model):
            forced = self._force(pairs, trace=False)
        totals = forced.chosen.masked_fill(~forced.real, 0.0).sum(1).tolist()
        alpha = self.settings.length_penalty
        return [
            Hypothesis(row[:-1], total / length_penalty(len(row), alpha), total)
            for row, total in zip(forced.targets, totals, strict=True)
        ]

    def walk(
        self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]], top: int = 0
    ) -> list[Walk]:
        """Force each pair's target; return its attention and the `top` best tokens of each step.

        Raises RunError for a model without attention, or whose weights hold NaN.
        """
        with evaluating(self.model):
            forced = self._force(pairs, trace=True)
            best = forced.log_probs.topk(top, -1)
        if forced.trace is None:
            raise RunError(NO_ATTENTION)
        if not bool(forced.chosen[forced.real].isfinite().all()):
            raise RunError(BROKEN)
        probabilities, tokens = best.values.exp().tolist(), best.indices.tolist()
        trace, norms = forced.trace, forced.trace.context.float().norm(dim=-1)
        parts = [p.float().cpu().numpy() for p in (trace.scores, trace.softmax, trace.weights)]
        walks = []
        for b, ((source, _), target) in enumerate(zip(pairs, forced.targets, strict=True)):
            places = slice(0, len(target))
            seen = len(source) + 1  # with eos
            scores, softmax, weights = (part[:, :, b, places, :seen] for part in parts)
            walks.append(
                Walk(
                    scores=scores,
                    softmax=softmax,
                    weights=weights,
                    context_norms=norms[:, b, places].cpu().numpy(),
                    log_probs=forced.chosen[b, places].cpu().numpy(),
                    layer=trace.layer,
                    top=[
                        list(zip(*step, strict=True))
                        for step in zip(tokens[b][places], probabilities[b][places], strict=True)
                    ],
                )
            )
        return walks

    def attention(self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[Numbers]:
        """Force each pair's target; return the T x S weights that align best, ends included.

        Raises RunError for a model without attention.
        """
        with evaluating(self.model):
            rows, _, trace = self._decode(pairs, trace=True)
        if trace is None:
            raise RunError(NO_ATTENTION)
        found = trace.alignment.float().cpu().numpy()
        return [
            weights[: len(row), : len(source) + 1]
            for weights, row, (source, _) in zip(found, rows, pairs, strict=True)
        ]

    def _decode(
        self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]], trace: bool
    ) -> tuple[list[list[int]], Tensor, Trace | None]:
        """Feed targets to the decoder; return them with eos, and B x T x D hidden vectors."""
        tgt = self.tokenizers.tgt
        rows = [[*target, tgt.eos] for _, target in pairs]
        longest = max(len(row) for row in rows)
        tgt_in = pad_rows([[tgt.bos, *row[:-1]] for row in rows], longest, tgt.pad)
        src, src_len = self._source_tensors([source for source, _ in pairs])
        memory = self.model.encode(src.to(self.device), src_len)
        return rows, *self.model.decode(memory, tgt_in.to(self.device), trace)

    def _force(self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]], trace: bool) -> _Forced:
        rows, hidden, seen = self._decode(pairs, trace)
        longest = hidden.size(1)
        tgt_out = pad_rows(rows, longest, self.tokenizers.tgt.pad).to(self.device)
        log_probs = self._logits(hidden).log_softmax(-1)
        real = torch.arange(longest) < torch.tensor([len(row) for row in rows])[:, None]
        return _Forced(
            targets=rows,
            log_probs=log_probs,
            chosen=log_probs.gather(2, tgt_out[:, :, None])[:, :, 0].cpu(),
            real=real,
            trace=seen,
        )


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
