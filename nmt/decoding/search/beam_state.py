"""State of beam search: K active hypotheses per search, and the n best that have finished.

Every value is a tensor with one row per search. Sentences can therefore leave and join a batch,
and the search reads nothing back from the device except which sentences have finished.

Shapes: see beam_search.py. Q searches, K beam size, C candidates per search, n hypotheses to
return, T maximum target length, S source length.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, TypeVar

import torch
from torch import Tensor

from nmt.config.sections.decode import DecodeConfig
from nmt.models.interface import BatchedTensors

StopRule = Literal["bounded", "exact", "first", "beam"]
MIN_COVERAGE = 1e-3
"""Lower bound of the attention of a source token in the coverage penalty."""

Length = TypeVar("Length", Tensor, float)


@dataclass(frozen=True)
class Ranking:
    """Score of a finished hypothesis: log p(y) / lp(|y|) + cp(x, y), with |y| counting eos."""

    alpha: float
    """Exponent of the length penalty."""
    norm: Literal["wu", "average"] = "wu"
    beta: float = 0.0
    """Weight of the coverage penalty."""

    @classmethod
    def from_settings(cls, settings: DecodeConfig) -> Ranking:
        """Return the ranking of the decode settings."""
        return cls(settings.length_penalty, settings.length_norm, settings.coverage_penalty)

    @property
    def uses_attention(self) -> bool:
        """Whether the score depends on the attention weights."""
        return self.beta > 0

    def length_penalty(self, length: Length) -> Length:
        """Return lp(y) = ((5 + |y|) / 6)^alpha (Wu et al. 2016, equation 14), or |y|^alpha."""
        base = (5 + length) / 6 if self.norm == "wu" else length
        penalty: Length = base**self.alpha
        return penalty

    def coverage_penalty(self, uncovered: Tensor) -> Tensor:
        """Return cp(x, y) = beta sum_i log min(sum_j p_ij, 1) (Wu et al. 2016, equation 14).

        `uncovered` is ... x S: 1 - min(sum_j p_ij, 1) for each source token i.
        """
        return self.beta * (1 - uncovered).clamp_min(MIN_COVERAGE).log().sum(-1)


class Candidates(NamedTuple):
    """Continuations of the active hypotheses, best first."""

    log_probs: Tensor
    """Q x C log-probabilities of the continued hypotheses; -inf for padding."""
    origins: Tensor
    """Q x C indices of the hypotheses that they continue, 0 to R - 1."""
    tokens: Tensor
    """Q x C token ids."""


class Extension(NamedTuple):
    """Result of `BeamState.extend`."""

    state: BeamState
    origins: Tensor
    """Q x K indices of the previous hypotheses that the active ones continue."""
    tokens: Tensor
    """Q x K newest tokens of the active hypotheses."""


@dataclass(frozen=True)
class BeamState(BatchedTensors):
    """Active and finished hypotheses of Q searches."""

    max_lengths: Tensor
    """Q: maximum length of a hypothesis, eos included."""
    lengths: Tensor
    """Q: number of tokens of the active hypotheses."""
    log_probs: Tensor
    """Q x K log-probabilities of the active hypotheses; -inf for an empty place in the beam."""
    tokens: Tensor
    """Q x K x T tokens of the active hypotheses."""
    finished_scores: Tensor
    """Q x n scores of the best finished hypotheses, best first; -inf if there are fewer."""
    finished_log_probs: Tensor
    """Q x n."""
    finished_lengths: Tensor
    """Q x n numbers of tokens, without eos."""
    finished_tokens: Tensor
    """Q x n x T."""
    num_finished: Tensor
    """Q: number of hypotheses that have finished, including those that are not among the best."""
    uncovered: Tensor | None = None
    """Q x K x S: attention that each source token lacks to a sum of 1; 0 on padding."""

    @classmethod
    def start(cls, max_lengths: Tensor, longest: int, beam_size: int, n: int) -> BeamState:
        """Return the state before the first step: one empty hypothesis per search.

        `longest` is the largest of the Q `max_lengths`; the host does not read it from the device.
        """
        searches = len(max_lengths)
        log_probs = torch.full((searches, beam_size), -math.inf, device=max_lengths.device)
        log_probs[:, 0] = 0.0
        return cls(
            max_lengths=max_lengths,
            lengths=torch.zeros_like(max_lengths),
            log_probs=log_probs,
            tokens=max_lengths.new_zeros(searches, beam_size, longest),
            finished_scores=log_probs.new_full((searches, n), -math.inf),
            finished_log_probs=log_probs.new_full((searches, n), -math.inf),
            finished_lengths=max_lengths.new_zeros(searches, n),
            finished_tokens=max_lengths.new_zeros(searches, n, longest),
            num_finished=torch.zeros_like(max_lengths),
        )

    @property
    def beam_size(self) -> int:
        """K."""
        return self.log_probs.size(1)

    def track_coverage(self, source_mask: Tensor) -> BeamState:
        """Return the state with all source tokens uncovered; `source_mask` is Q x S."""
        uncovered = source_mask.float()[:, None].expand(-1, self.beam_size, -1)
        return replace(self, uncovered=uncovered)

    def add_attention(self, weights: Tensor) -> BeamState:
        """Return the state after a step with Q x R x S attention weights."""
        assert self.uncovered is not None
        return replace(self, uncovered=(self.uncovered - weights).clamp_min(0))

    def extend(self, candidates: Candidates, eos: int, ranking: Ranking) -> Extension:
        """Extend the hypotheses by one token.

        Of the first K candidates, those that end with eos are finished. The first K of all
        candidates that do not end become the active hypotheses.
        """
        k = self.beam_size
        is_eos = candidates.tokens == eos
        lengths = self.lengths + 1
        state = self._with_finished(candidates, is_eos, lengths, ranking)
        active = is_eos.int().argsort(dim=1, stable=True)[:, :k]
        origins = candidates.origins.gather(1, active)
        newest = candidates.tokens.gather(1, active)
        tokens = self.tokens.gather(1, origins[:, :, None].expand_as(self.tokens))
        position = self.lengths[:, None, None].expand(-1, k, 1)
        tokens.scatter_(2, position, newest[:, :, None])
        log_probs = candidates.log_probs.masked_fill(is_eos, -math.inf).gather(1, active)
        state = replace(state, lengths=lengths, log_probs=log_probs, tokens=tokens)
        if self.uncovered is not None:
            rows = origins[:, :, None].expand_as(self.uncovered)
            state = replace(state, uncovered=self.uncovered.gather(1, rows))
        return Extension(state, origins, newest)

    def _with_finished(
        self, candidates: Candidates, is_eos: Tensor, lengths: Tensor, ranking: Ranking
    ) -> BeamState:
        """Return the state with the first K candidates that end added to the finished ones."""
        log_probs, origins = (tensor[:, : self.beam_size] for tensor in candidates[:2])
        is_finished = is_eos[:, : self.beam_size] & (log_probs > -math.inf)
        if log_probs.device.type == "cpu" and not bool(is_finished.any()):
            return self
        scores = log_probs / ranking.length_penalty(lengths)[:, None]
        if self.uncovered is not None:
            scores = scores + ranking.coverage_penalty(self.uncovered).gather(1, origins)
        scores = torch.cat([self.finished_scores, scores.masked_fill(~is_finished, -math.inf)], 1)
        best_scores, best = scores.topk(self.finished_scores.size(1), 1)
        tokens = self.tokens.gather(1, origins[:, :, None].expand_as(self.tokens))
        lengths_without_eos = self.lengths[:, None].expand_as(log_probs)

        def keep_best(old: Tensor, new: Tensor) -> Tensor:
            return torch.cat([old, new], 1).gather(1, best)

        best_rows = best[:, :, None].expand(-1, -1, tokens.size(2))
        return replace(
            self,
            finished_scores=best_scores,
            finished_log_probs=keep_best(self.finished_log_probs, log_probs),
            finished_lengths=keep_best(self.finished_lengths, lengths_without_eos),
            finished_tokens=torch.cat([self.finished_tokens, tokens], 1).gather(1, best_rows),
            num_finished=self.num_finished + is_finished.sum(1),
        )

    def is_done(self, stop: StopRule, ranking: Ranking) -> Tensor:
        """Return Q bool: whether each search is over by the stop rule of docs/decoding.md."""
        is_done = self.lengths >= self.max_lengths
        worst = self.finished_scores[:, -1]
        if stop == "first":
            return is_done | (worst > -math.inf)
        if stop == "beam":
            return is_done | (self.num_finished >= self.beam_size)
        reachable = self.max_lengths
        if stop == "bounded":
            reachable = torch.minimum(reachable, self.lengths + self.lengths // 2 + 5)
        return is_done | (worst >= self.log_probs.amax(1) / ranking.length_penalty(reachable))
