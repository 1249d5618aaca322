"""What a beam search knows of its sentences: K living hypotheses each, and the n best that ended.

Everything is a tensor with a row a sentence, so that sentences can leave and others can join, and
nothing is read back from the device but which sentences are done.

Shapes: B sentences, K beam size, C candidates a sentence (2 K, if there are as many), n hypotheses
wanted, L the longest limit, S source length. Where a sentence has several groups, that of a diverse
beam or of samples, each group stands here as a sentence of its own, and B counts them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

import torch
from torch import Tensor

from nmt.models.interface import BatchedTensors

Stop = Literal["bounded", "exact", "first", "beam"]
UNSEEN = 1e-3
"""Attention that a source token is taken to have, at least, in the coverage penalty."""

Length = TypeVar("Length", Tensor, float)


@dataclass(frozen=True)
class Ranking:
    """By what hypotheses that ended are ranked: log p(y) / lp(|y|) + cp(x, y), |y| counting eos."""

    alpha: float
    norm: Literal["wu", "average"] = "wu"
    beta: float = 0.0

    def penalty(self, length: Length) -> Length:
        """lp(y) = ((5 + |y|) / 6)^alpha  (Wu et al. 2016, eq. 14), or |y|^alpha."""
        base = (5 + length) / 6 if self.norm == "wu" else length
        penalty: Length = base**self.alpha
        return penalty

    def coverage(self, uncovered: Tensor) -> Tensor:
        """cp(x, y) = beta sum_i log min(sum_j p_ij, 1)  (the same equation), over the last axis."""
        return self.beta * (1 - uncovered).clamp_min(UNSEEN).log().sum(-1)


@dataclass(frozen=True)
class Prefix(BatchedTensors):
    """The tokens that hypotheses must begin with."""

    tokens: Tensor
    """B x P, filled up with anything."""
    length: Tensor
    """B."""


@dataclass(frozen=True)
class Hypotheses(BatchedTensors):
    """Living and ended hypotheses of B sentences."""

    limits: Tensor
    """B, the longest hypothesis of each, eos included."""
    length: Tensor
    """B, tokens of the living."""
    scores: Tensor
    """B x K log-probabilities of the living; -inf where there is none."""
    tokens: Tensor
    """B x K x L, what the living have said."""
    best: Tensor
    """B x n, what the best that ended are ranked by; -inf where there is none."""
    best_log_probs: Tensor
    """B x n."""
    best_lengths: Tensor
    """B x n, their tokens, eos not counted."""
    best_tokens: Tensor
    """B x n x L."""
    ended: Tensor
    """B, how many have ended."""
    prefix: Prefix | None = None
    draws: Tensor | None = None
    """B x L random numbers from 0 to 1, one a token, where hypotheses are samples."""
    uncovered: Tensor | None = None
    """B x K x S, what each source token lacks to a whole of attention; 0 on padding."""

    @classmethod
    def start(cls, limits: Tensor, k: int, n: int) -> Hypotheses:
        """Begin with one empty hypothesis a sentence."""
        count, longest = len(limits), int(limits.max())
        scores = torch.full((count, k), -math.inf, device=limits.device)
        scores[:, 0] = 0.0
        return cls(
            limits=limits,
            length=torch.zeros_like(limits),
            scores=scores,
            tokens=limits.new_zeros(count, k, longest),
            best=scores.new_full((count, n), -math.inf),
            best_log_probs=scores.new_full((count, n), -math.inf),
            best_lengths=limits.new_zeros(count, n),
            best_tokens=limits.new_zeros(count, n, longest),
            ended=torch.zeros_like(limits),
        )

    def advance(
        self, scores: Tensor, origin: Tensor, token: Tensor, eos: int, ranking: Ranking
    ) -> tuple[Hypotheses, Tensor]:
        """Take the candidates, B x C and best first; return what lives on, and from where, B x K.

        Of the first K candidates those with eos end; the first K of all that do not end live on.
        """
        k = self.scores.size(1)
        ends = token == eos
        length = self.length + 1
        after = self._with_ended(scores[:, :k], origin[:, :k], ends[:, :k], length, ranking)
        order = ends.int().argsort(dim=1, stable=True)[:, :k]
        origin = origin.gather(1, order)
        said = self.tokens.gather(1, origin[:, :, None].expand_as(self.tokens))
        said.scatter_(
            2, self.length[:, None, None].expand(-1, k, 1), token.gather(1, order)[:, :, None]
        )
        living = scores.masked_fill(ends, -math.inf).gather(1, order)
        after = replace(after, length=length, scores=living, tokens=said)
        if self.uncovered is not None:
            places = origin[:, :, None].expand_as(self.uncovered)
            after = replace(after, uncovered=self.uncovered.gather(1, places))
        return after, origin

    def attended(self, weights: Tensor) -> Hypotheses:
        """Return these after a step whose attention was B x K x S, or B x 1 x S at the first."""
        assert self.uncovered is not None
        return replace(self, uncovered=(self.uncovered - weights).clamp_min(0))

    def _with_ended(
        self, scores: Tensor, origin: Tensor, ends: Tensor, length: Tensor, ranking: Ranking
    ) -> Hypotheses:
        """Return these hypotheses with the ended ones among K candidates in their place."""
        ends = ends & (scores > -math.inf)
        if scores.device.type == "cpu" and not bool(ends.any()):
            return self
        ranks = scores / ranking.penalty(length)[:, None]
        if self.uncovered is not None:
            ranks = ranks + ranking.coverage(self.uncovered).gather(1, origin)
        best = torch.cat([self.best, ranks.masked_fill(~ends, -math.inf)], 1)
        best, index = best.topk(self.best.size(1), 1)
        said = self.tokens.gather(1, origin[:, :, None].expand_as(self.tokens))
        lengths = self.length[:, None].expand_as(scores)

        def merged(old: Tensor, new: Tensor) -> Tensor:
            return torch.cat([old, new], 1).gather(1, index)

        wide = index[:, :, None].expand(-1, -1, said.size(2))
        return replace(
            self,
            best=best,
            best_log_probs=merged(self.best_log_probs, scores),
            best_lengths=merged(self.best_lengths, lengths),
            best_tokens=torch.cat([self.best_tokens, said], 1).gather(1, wide),
            ended=self.ended + ends.sum(1),
        )

    def done(self, stop: Stop, ranking: Ranking) -> Tensor:
        """Tell for each sentence whether its search is over, by the rule of docs/decoding.md."""
        over = self.length >= self.limits
        worst = self.best[:, -1]
        if stop == "first":
            return over | (worst > -math.inf)
        if stop == "beam":
            return over | (self.ended >= self.scores.size(1))
        reach = self.limits
        if stop == "bounded":
            reach = torch.minimum(reach, self.length + self.length // 2 + 5)
        return over | (worst >= self.scores.amax(1) / ranking.penalty(reach))
