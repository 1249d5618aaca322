"""What a beam search knows of its sentences: K living hypotheses each, and the n best that ended.

Everything is a tensor with a row a sentence, so that sentences can leave and others can join, and
nothing is read back from the device but which sentences are done.

Shapes: B sentences, K beam size, C candidates a sentence (2 K, if there are as many), n hypotheses
wanted, L the longest limit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

import torch
from torch import Tensor

from nmt.models.interface import Rows

Stop = Literal["bounded", "exact", "first", "beam"]


@dataclass(frozen=True)
class Hypotheses(Rows):
    """Living and ended hypotheses of B sentences."""

    limits: Tensor
    """B, the longest hypothesis of each, eos included."""
    length: Tensor
    """B, tokens of the living."""
    scores: Tensor
    """B x K log-probabilities of the living, best first; -inf where there is none."""
    tokens: Tensor
    """B x K x L, what the living have said."""
    best: Tensor
    """B x n log-probabilities over the penalty of the best that ended; -inf where there is none."""
    best_log_probs: Tensor
    """B x n."""
    best_lengths: Tensor
    """B x n, their tokens, eos not counted."""
    best_tokens: Tensor
    """B x n x L."""
    ended: Tensor
    """B, how many have ended."""

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
        self, scores: Tensor, origin: Tensor, token: Tensor, eos: int, alpha: float
    ) -> tuple[Hypotheses, Tensor]:
        """Take the candidates, B x C and best first; return what lives on, and from where, B x K.

        Of the first K candidates those with eos end; the first K of all that do not end live on.
        """
        k = self.scores.size(1)
        ends = token == eos
        length = self.length + 1
        after = self._with_ended(scores[:, :k], origin[:, :k], ends[:, :k], length, alpha)
        order = ends.int().argsort(dim=1, stable=True)[:, :k]
        origin = origin.gather(1, order)
        said = self.tokens.gather(1, origin[:, :, None].expand_as(self.tokens))
        said.scatter_(
            2, self.length[:, None, None].expand(-1, k, 1), token.gather(1, order)[:, :, None]
        )
        living = scores.masked_fill(ends, -math.inf).gather(1, order)
        return replace(after, length=length, scores=living, tokens=said), origin

    def _with_ended(
        self, scores: Tensor, origin: Tensor, ends: Tensor, length: Tensor, alpha: float
    ) -> Hypotheses:
        """Return these hypotheses with the ended ones among K candidates in their place."""
        ends = ends & (scores > -math.inf)
        if scores.device.type == "cpu" and not bool(ends.any()):
            return self
        penalty = length_penalty(length, alpha)[:, None]
        best = torch.cat([self.best, (scores / penalty).masked_fill(~ends, -math.inf)], 1)
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

    def done(self, stop: Stop, alpha: float) -> Tensor:
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
        return over | (worst >= self.scores[:, 0] / length_penalty(reach, alpha))


Length = TypeVar("Length", Tensor, float)


def length_penalty(length: Length, alpha: float) -> Length:
    """lp(y) = ((5 + |y|) / 6) ^ alpha  (Wu et al. 2016, eq. 14); |y| counts eos."""
    penalty: Length = ((5 + length) / 6) ** alpha
    return penalty


BLOCK = 64
"""Logits whose maximum is looked at first."""


def best_of(log_probs: Tensor, totals: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the `count` best sums of a row's total and an entry, best first, for each sentence.

    `log_probs` are B x R x V, `totals` B x R; returns B x count (or R V, if fewer) sums, their rows
    and their tokens. They lie in the blocks with the `count` largest maxima, so only those blocks
    are sorted.
    """
    sentences, rows, size = log_probs.shape
    blocks = size // BLOCK
    if rows * blocks <= 2 * count:
        sums = (log_probs + totals[:, :, None]).flatten(1)
        top, index = sums.topk(min(count, sums.size(1)), 1)
        return top, index // size, index % size
    whole = log_probs[:, :, : blocks * BLOCK].view(sentences, rows, blocks, BLOCK)
    maxima = whole.amax(3) + totals[:, :, None]
    chosen = maxima.flatten(1).topk(count, 1).indices
    row, block = chosen // blocks, chosen % blocks
    sentence = torch.arange(sentences, device=chosen.device)[:, None]
    inside = whole[sentence, row, block] + totals.gather(1, row)[:, :, None]
    rest = log_probs[:, :, blocks * BLOCK :] + totals[:, :, None]
    top, index = torch.cat([inside.flatten(1), rest.flatten(1)], 1).topk(count, 1)
    within = index < count * BLOCK
    place = (index // BLOCK).clamp_max(count - 1)
    beyond = (index - count * BLOCK).clamp_min(0)
    left = max(1, size % BLOCK)
    row = torch.where(within, row.gather(1, place), beyond // left)
    token = torch.where(
        within, block.gather(1, place) * BLOCK + index % BLOCK, blocks * BLOCK + beyond % left
    )
    return top, row, token
