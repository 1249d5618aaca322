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
from nmt.models.build import AnyModel
from nmt.runtime import evaluating

EXTRA_LENGTH = 10
"""Tokens a translation may always have, beyond decode.max_length_ratio times its source."""


def length_penalty(length: Tensor | int, alpha: float) -> Tensor | float:
    """lp(y) = ((5 + |y|) / 6) ^ alpha  (Wu et al. 2016, eq. 14); |y| counts eos."""
    return ((5 + length) / 6) ** alpha


@dataclass
class _Found:
    """The finished hypotheses of one sentence."""

    hypotheses: list[Hypothesis]

    def nth_score(self, n: int) -> float:
        ranked = sorted((h.score for h in self.hypotheses), reverse=True)
        return ranked[n - 1] if len(ranked) >= n else -math.inf


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

    def limit(self, source_length: int) -> int:
        """Return the longest translation, eos included, of a source of so many tokens."""
        return math.ceil(self.settings.max_length_ratio * source_length) + EXTRA_LENGTH

    def _search(self, sources: Sequence[Sequence[int]], nbest: int) -> list[list[Hypothesis]]:
        k, alpha = self.settings.beam_size, self.settings.length_penalty
        eos, bos = self.tokenizers.tgt.eos, self.tokenizers.tgt.bos
        src, src_len = self._source_tensors(sources)
        memory = self.model.encode(src.to(self.device), src_len)
        limits = torch.tensor([self.limit(len(source)) for source in sources], device=self.device)
        state = self.model.start(memory, k, int(limits.max()))
        found = [_Found([]) for _ in sources]
        sentence = list(range(len(sources)))  # which source each remaining group of rows is
        scores = torch.full((len(sources), k), -math.inf, device=self.device)
        scores[:, 0] = 0.0
        places = torch.full((len(sources),), k, device=self.device)  # not yet frozen
        history = torch.empty((len(sources) * k, 0), dtype=torch.int64, device=self.device)
        tokens = torch.full((len(sources) * k,), bos, device=self.device)
        for length in range(1, int(limits.max()) + 1):
            hidden, state, _ = self.model.step(tokens, state, memory)
            scores, origin, token = self._extend(hidden, scores, limits == length, k)
            rank = torch.arange(k, device=self.device)
            scores = scores.masked_fill(rank >= places[:, None], -math.inf)
            rows = (torch.arange(len(sentence), device=self.device)[:, None] * k + origin).flatten()
            history = torch.cat([history[rows], token.view(-1, 1)], 1)
            ended = (token == eos) & (scores > -math.inf)
            for b, place in ended.nonzero().tolist():
                log_prob = float(scores[b, place])
                found[sentence[b]].hypotheses.append(
                    Hypothesis(
                        tokens=history[b * k + place, :-1].tolist(),
                        score=log_prob / float(length_penalty(length, alpha)),
                        log_prob=log_prob,
                    )
                )
            scores = scores.masked_fill(ended, -math.inf)
            places -= ended.sum(1)
            reachable = scores.amax(1) / length_penalty(limits, alpha)
            wanted = torch.tensor([found[s].nth_score(nbest) for s in sentence])
            going = (reachable.cpu() > wanted).nonzero()[:, 0]
            if len(going) == 0:
                break
            if len(going) < len(sentence):
                sentence = [sentence[b] for b in going.tolist()]
                going = going.to(self.device)
                kept = (going[:, None] * k + rank).flatten()
                memory = memory.select(going)
                limits, scores, places = limits[going], scores[going], places[going]
                history, rows, token = history[kept], rows[kept], token[going]
            state = state.select(rows)
            tokens = token.flatten()
        return [
            sorted(each.hypotheses, key=lambda h: h.score, reverse=True)[:nbest] for each in found
        ]

    def _extend(
        self, hidden: Tensor, scores: Tensor, at_limit: Tensor, k: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the K best continuations of each sentence: B x K scores, origins and tokens.

        The best K of K x V lie among the best K of each row, so the vocabulary is sorted a row at
        a time. A sentence at its limit can only end.
        """
        eos = self.tokenizers.tgt.eos
        logits = self.model.output.logits(hidden).float()
        norm = logits.logsumexp(-1, keepdim=True)
        logits[:, self._never] = -math.inf
        best, token = logits.topk(min(k, logits.size(1)), -1)
        ending = logits[:, eos : eos + 1]
        forced = at_limit.repeat_interleave(k)[:, None]
        only_first = torch.full_like(best, -math.inf)
        only_first[:, :1] = ending
        best = torch.where(forced, only_first, best) - norm
        token = torch.where(forced, eos, token)
        width = best.size(1)
        candidates = (scores.view(-1, 1) + best).view(scores.size(0), -1)
        top, index = candidates.topk(k, -1)
        return top, index // width, token.view(scores.size(0), -1).gather(1, index)

    def _source_tensors(self, sources: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        src = self.tokenizers.src
        rows = [[*source, src.eos] for source in sources]
        lengths = torch.tensor([len(row) for row in rows])
        return pad_rows(rows, int(lengths.max()), src.pad), lengths

    def score(self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[Hypothesis]:
        """Return each pair's target as a hypothesis with the score of forced decoding."""
        src, src_len = self._source_tensors([source for source, _ in pairs])
        tgt = self.tokenizers.tgt
        rows = [[*target, tgt.eos] for _, target in pairs]
        longest = max(len(row) for row in rows)
        tgt_out = pad_rows(rows, longest, tgt.pad).to(self.device)
        tgt_in = pad_rows([[tgt.bos, *row[:-1]] for row in rows], longest, tgt.pad)
        with evaluating(self.model):
            memory = self.model.encode(src.to(self.device), src_len)
            hidden, _ = self.model.decode(memory, tgt_in.to(self.device))
            log_probs = self.model.output.logits(hidden).float().log_softmax(-1)
            chosen = log_probs.gather(2, tgt_out[:, :, None])[:, :, 0].cpu()
        real = torch.arange(longest) < torch.tensor([len(row) for row in rows])[:, None]
        totals = chosen.masked_fill(~real, 0.0).sum(1).tolist()
        alpha = self.settings.length_penalty
        return [
            Hypothesis(row[:-1], total / float(length_penalty(len(row), alpha)), total)
            for row, total in zip(rows, totals, strict=True)
        ]
