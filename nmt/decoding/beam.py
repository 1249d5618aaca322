"""Beam search over any model: it knows `encode`, `start`, `step` and `select`, no architecture.

Shapes: B sentences still searched, K beam size, N = B x K rows, V vocabulary.

Each sentence has K places. A hypothesis that ends keeps its place, frozen, and leaves the rest to
the living, so a beam of one is greedy search. A sentence is done when no place is alive, or when no
living hypothesis can still enter the n best: log-probabilities only fall and the penalty is
largest at the length limit, so log p / lp(limit) bounds what a living hypothesis can reach. Every
hypothesis ends with eos, at the limit by force; its score counts that eos.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nmt.config import DecodeConfig
from nmt.data.loader import pad_rows
from nmt.data.tokenizer import Tokenizers
from nmt.decoding.translator import Hypothesis
from nmt.decoding.walk import BeamStep, Candidate, Walk
from nmt.errors import RunError
from nmt.models.build import AnyModel
from nmt.models.interface import Trace
from nmt.runtime import evaluating

BROKEN = "the model's probabilities are not numbers: its weights hold NaN or inf"
EXTRA_LENGTH = 10
"""Tokens a translation may always have, beyond decode.max_length_ratio times its source."""


def length_penalty(length: int, alpha: float) -> float:
    """lp(y) = ((5 + |y|) / 6) ^ alpha  (Wu et al. 2016, eq. 14); |y| counts eos."""
    return float(((5 + length) / 6) ** alpha)


class _Beam:
    """The sentences still searched, their K places each, and what has been found for all."""

    def __init__(self, limits: Tensor, k: int, alpha: float, nbest: int) -> None:
        count, device = len(limits), limits.device
        self.k, self.alpha, self.nbest = k, alpha, nbest
        self.limits = limits
        """B, the longest hypothesis of each."""
        self.scores = torch.full((count, k), -math.inf, device=device)
        """B x K log-probabilities, -inf where a place is not alive."""
        self.scores[:, 0] = 0.0
        self.length = 0
        """Tokens of the living hypotheses."""
        self._sentence = list(range(count))
        self._places = torch.full((count,), k, device=device)
        self._history = torch.empty((count * k, 0), dtype=torch.int64, device=device)
        self._rank = torch.arange(k, device=device)
        self._found: list[list[Hypothesis]] = [[] for _ in range(count)]

    def __len__(self) -> int:
        return len(self._sentence)

    def advance(self, scores: Tensor, origin: Tensor, token: Tensor, eos: int) -> Tensor:
        """Take the B x K best continuations; return the row that each came from, N.

        As many of them live as there are places; those that end are frozen.
        """
        self.length += 1
        scores = scores.masked_fill(self._rank >= self._places[:, None], -math.inf)
        group = torch.arange(len(self), device=scores.device)[:, None]
        rows = (group * self.k + origin).flatten()
        self._history = torch.cat([self._history[rows], token.view(-1, 1)], 1)
        ended = (token == eos) & (scores > -math.inf)
        for b, place in ended.nonzero().tolist():
            log_prob = float(scores[b, place])
            hypothesis = Hypothesis(
                tokens=self._history[b * self.k + place, :-1].tolist(),
                score=log_prob / length_penalty(self.length, self.alpha),
                log_prob=log_prob,
            )
            self._found[self._sentence[b]].append(hypothesis)
        self.scores = scores.masked_fill(ended, -math.inf)
        self._places = self._places - ended.sum(1)
        return rows

    def candidates(self, scores: Tensor, origin: Tensor, token: Tensor) -> BeamStep:
        """Return the continuations of the first sentence, before `advance` takes the best."""
        places = int(self._places[0])
        before = self._history[origin]
        found = zip(before.tolist(), token.tolist(), scores.tolist(), strict=True)
        return [
            Candidate([*tokens, newest], log_prob, place < places)
            for place, (tokens, newest, log_prob) in enumerate(found)
            if log_prob > -math.inf
        ]

    def going(self) -> Tensor:
        """Return the sentences, of those still searched, whose n best can still change."""
        penalty = ((5 + self.limits) / 6) ** self.alpha
        reachable = self.scores.amax(1) / penalty
        wanted = [self._nth_score(self._found[sentence]) for sentence in self._sentence]
        return (reachable > torch.tensor(wanted, device=reachable.device)).nonzero()[:, 0]

    def _nth_score(self, found: list[Hypothesis]) -> float:
        if len(found) < self.nbest:
            return -math.inf
        return sorted((h.score for h in found), reverse=True)[self.nbest - 1]

    def select(self, sentences: Tensor) -> Tensor:
        """Keep only these sentences; return their rows, of the N there were."""
        rows = (sentences[:, None] * self.k + self._rank).flatten()
        self._sentence = [self._sentence[b] for b in sentences.tolist()]
        self.limits, self.scores = self.limits[sentences], self.scores[sentences]
        self._places, self._history = self._places[sentences], self._history[rows]
        return rows

    def results(self) -> list[list[Hypothesis]]:
        """Return the n best hypotheses of every sentence, best first.

        Raises RunError where the model gave no probability that is a number.
        """
        if not all(self._found):
            raise RunError(BROKEN)
        return [
            sorted(found, key=lambda h: h.score, reverse=True)[: self.nbest]
            for found in self._found
        ]


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
    ) -> None:
        self.model = model
        self.tokenizers = tokenizers
        self.settings = settings
        self.device = device
        self._never = torch.tensor(tokenizers.tgt.never_output, device=device)

    def search(self, sources: Sequence[Sequence[int]], nbest: int = 1) -> list[list[Hypothesis]]:
        """Return the `nbest` best hypotheses of each source, best first.

        `sources` are token ids without eos; `nbest` is at most the beam size.
        """
        with evaluating(self.model):
            return self._search(sources, nbest)

    def watch(self, source: Sequence[int]) -> tuple[Hypothesis, list[BeamStep]]:
        """Search one source; return the best hypothesis and what each step kept and dropped."""
        steps: list[BeamStep] = []
        with evaluating(self.model):
            [[best]] = self._search([source], 1, steps)
        return best, steps

    def limit(self, source_length: int) -> int:
        """Return the longest translation, eos included, of a source of so many tokens."""
        return math.ceil(self.settings.max_length_ratio * source_length) + EXTRA_LENGTH

    def _search(
        self, sources: Sequence[Sequence[int]], nbest: int, steps: list[BeamStep] | None = None
    ) -> list[list[Hypothesis]]:
        k, bos, eos = self.settings.beam_size, self.tokenizers.tgt.bos, self.tokenizers.tgt.eos
        src, src_len = self._source_tensors(sources)
        limits = [self.limit(len(source)) for source in sources]
        memory = self.model.encode(src.to(self.device), src_len)
        state = self.model.start(memory, k, max(limits))
        beam = _Beam(
            torch.tensor(limits, device=self.device), k, self.settings.length_penalty, nbest
        )
        tokens = torch.full((len(sources) * k,), bos, device=self.device)
        while True:
            hidden, state, _ = self.model.step(tokens, state, memory)
            scores, origin, token = self._extend(hidden, beam, k if steps is None else 2 * k)
            if steps is not None:
                steps.append(beam.candidates(scores[0], origin[0], token[0]))
                scores, origin, token = scores[:, :k], origin[:, :k], token[:, :k]
            rows = beam.advance(scores, origin, token, eos)
            tokens = token.flatten()
            going = beam.going()
            if len(going) == 0:
                return beam.results()
            remaining = None
            if len(going) < len(beam):
                kept, remaining = beam.select(going), going
                memory, rows, tokens = memory.select(going), rows[kept], tokens[kept]
            state = state.select(rows, remaining)

    def _extend(self, hidden: Tensor, beam: _Beam, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return the best continuations of each sentence: B x `count` scores, origins and tokens.

        The best of K x V lie among the best of each row, so the vocabulary is sorted a row at a
        time. A sentence at its limit can only end.
        """
        eos, k = self.tokenizers.tgt.eos, beam.k
        logits = self.model.output.logits(hidden).float()
        norm = logits.logsumexp(-1, keepdim=True)
        logits[:, self._never] = -math.inf
        best, token = logits.topk(min(count, logits.size(1)), -1)
        ending = logits[:, eos : eos + 1]
        forced = (beam.limits == beam.length + 1).repeat_interleave(k)[:, None]
        only_first = torch.full_like(best, -math.inf)
        only_first[:, :1] = ending
        best = torch.where(forced, only_first, best) - norm
        token = torch.where(forced, eos, token)
        width = best.size(1)
        candidates = (beam.scores.view(-1, 1) + best).view(len(beam), -1)
        top, index = candidates.topk(min(count, candidates.size(1)), -1)
        return top, index // width, token.view(len(beam), -1).gather(1, index)

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
            raise RunError("this model has no attention to show (model.wiring: none)")
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
                    top=[
                        list(zip(*step, strict=True))
                        for step in zip(tokens[b][places], probabilities[b][places], strict=True)
                    ],
                )
            )
        return walks

    def _force(self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]], trace: bool) -> _Forced:
        src, src_len = self._source_tensors([source for source, _ in pairs])
        tgt = self.tokenizers.tgt
        rows = [[*target, tgt.eos] for _, target in pairs]
        longest = max(len(row) for row in rows)
        tgt_out = pad_rows(rows, longest, tgt.pad).to(self.device)
        tgt_in = pad_rows([[tgt.bos, *row[:-1]] for row in rows], longest, tgt.pad)
        memory = self.model.encode(src.to(self.device), src_len)
        hidden, seen = self.model.decode(memory, tgt_in.to(self.device), trace)
        log_probs = self.model.output.logits(hidden).float().log_softmax(-1)
        real = torch.arange(longest) < torch.tensor([len(row) for row in rows])[:, None]
        return _Forced(
            targets=rows,
            log_probs=log_probs,
            chosen=log_probs.gather(2, tgt_out[:, :, None])[:, :, 0].cpu(),
            real=real,
            trace=seen,
        )
