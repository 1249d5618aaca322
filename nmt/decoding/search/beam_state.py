"""State of beam search: K active hypotheses per search, and the n best that have finished.

Every value is a tensor with one row per search. Sentences can therefore leave and join a batch,
and the host reads only which searches are done, and their hypotheses. A search that is done has no
active hypothesis, so more steps do not change its result.

Shapes: see beam_search.py. Q searches, K beam size, C candidates per search, n hypotheses to
return, T maximum target length, S source length.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, TypeVar

import torch
from torch import Tensor

from nmt.config.sections.decode import DecodeConfig
from nmt.models.interface import BatchedTensors
from nmt.models.kernels.selection import is_launch_bound

StopRule = Literal["bounded", "exact", "first", "beam"]
NEGATIVE_INFINITY = torch.tensor(-math.inf)
"""On the host, because a number would become a tensor on the device first."""
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


@dataclass(frozen=True)
class SearchRules:
    """When hypotheses and searches end, and how finished hypotheses are ranked."""

    eos: int
    """Token that ends a hypothesis."""
    stop: StopRule
    """When a search is over; see docs/decoding.md."""
    ranking: Ranking
    """Score of finished hypotheses."""

    def penalties(self, max_lengths: Tensor, longest: int) -> Tensor:
        """Return the table `BeamState.penalties` for Q maximum lengths, up to length `longest`."""
        lengths = torch.arange(longest + 1, device=max_lengths.device).expand(len(max_lengths), -1)
        reachable = max_lengths[:, None].expand_as(lengths)
        if self.stop == "bounded":
            reachable = torch.minimum(reachable, lengths + lengths // 2 + 5)
        penalty = self.ranking.length_penalty
        return torch.stack([penalty(lengths), penalty(reachable)], 2).float()


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
    rows: Tensor
    """Q x K previous hypotheses that the active ones continue, as indices of all Q x K."""
    tokens: Tensor
    """Q x K newest tokens of the active hypotheses."""


class FinishedHypotheses(NamedTuple):
    """The finished hypotheses of Q searches on the host, best first."""

    is_done: list[bool]
    """Whether each search is done."""
    scores: list[list[float]]
    """n scores per search; -inf if there are fewer hypotheses."""
    log_probs: list[list[float]]
    tokens: list[list[list[int]]]
    """T tokens of each hypothesis, of which eos ends the hypothesis."""


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
    finished_tokens: Tensor
    """Q x n x T; eos ends each hypothesis."""
    penalties: Tensor
    """Q x (T + 1) x 2: length penalty of each length, and that of the length that an active
    hypothesis of this length can reach by the stop rule."""
    penalty: Tensor
    """Q x 2: the row of `penalties` for `lengths`."""
    first_rows: Tensor
    """Q x 1: index of the first of the K hypotheses among all Q x K."""
    num_finished: Tensor | None = None
    """Q: number of hypotheses that have finished, including those that are not among the best; None
    unless the stop rule counts them."""
    uncovered: Tensor | None = None
    """Q x K x S: attention that each source token lacks to a sum of 1; 0 on padding."""

    @classmethod
    def start(
        cls, max_lengths: Sequence[int], beam_size: int, n: int, rules: SearchRules, like: Tensor
    ) -> BeamState:
        """Return the state before the first step: one empty hypothesis per search.

        The state is on the device of `like`.
        """
        device, longest, searches = like.device, max(max_lengths), len(max_lengths)
        limits = torch.tensor(max_lengths).to(device, non_blocking=True)
        log_probs = torch.full((searches, beam_size), -math.inf, device=device)
        log_probs[:, 0] = 0.0
        tokens = limits.new_full((searches, beam_size, longest), rules.eos)
        penalties = rules.penalties(limits, longest)
        return cls(
            max_lengths=limits,
            lengths=torch.zeros_like(limits),
            log_probs=log_probs,
            tokens=tokens,
            finished_scores=log_probs.new_full((searches, n), -math.inf),
            finished_log_probs=log_probs.new_full((searches, n), -math.inf),
            finished_tokens=tokens[:, :1].repeat(1, n, 1),
            penalties=penalties,
            penalty=penalties[:, 0],
            first_rows=_first_rows(searches, beam_size, device),
            num_finished=torch.zeros_like(limits) if rules.stop == "beam" else None,
        )

    def select(self, rows: Tensor) -> BeamState:
        """Return the state of the searches with these indices, in this order."""
        return replace(super().select(rows), first_rows=self.first_rows[: len(rows)])

    def join(self, other: BeamState) -> BeamState:
        """Return the searches of both states, those of `other` last."""
        joined = super().join(other)
        rows = _first_rows(len(joined.lengths), self.beam_size, self.lengths.device)
        return replace(joined, first_rows=rows)

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

    def extend(self, candidates: Candidates, rules: SearchRules) -> Extension:
        """Extend the hypotheses by one token.

        Of the first K candidates, those that end with eos are finished. The first K of all
        candidates that do not end become the active hypotheses.
        """
        k = self.beam_size
        log_probs, origins, newest = candidates
        rows = origins + self.first_rows
        is_active = newest != rules.eos
        lengths = self.lengths + 1
        penalty = self.penalties.gather(1, lengths[:, None, None].expand(-1, 1, 2))[:, 0]
        state = replace(self, lengths=lengths, penalty=penalty)
        can_look = not is_launch_bound(newest.device.type)
        if can_look and bool(is_active.all()):
            log_probs, rows, newest = log_probs[:, :k], rows[:, :k], newest[:, :k]
        else:
            state = state._with_finished(log_probs, rows, is_active, rules.ranking)
            active = is_active.sort(dim=1, descending=True, stable=True).indices[:, :k]
            log_probs = torch.where(is_active, log_probs, NEGATIVE_INFINITY).gather(1, active)
            rows, newest = rows.gather(1, active), newest.gather(1, active)
        tokens = self._rows_of(self.tokens, rows)
        position = self.lengths[:, None, None].expand(-1, k, 1)
        tokens.scatter_(2, position, newest[:, :, None])
        state = replace(state, log_probs=log_probs, tokens=tokens)
        if self.uncovered is not None:
            state = replace(state, uncovered=self._rows_of(self.uncovered, rows))
        return Extension(state, rows, newest)

    def _rows_of(self, values: Tensor, rows: Tensor) -> Tensor:
        """Return Q x K x ... values of the hypotheses with indices `rows` among all Q x K."""
        selected = values.flatten(0, 1).index_select(0, rows.flatten())
        return selected.view(*rows.shape, *values.shape[2:])

    def _with_finished(
        self, log_probs: Tensor, rows: Tensor, is_active: Tensor, ranking: Ranking
    ) -> BeamState:
        """Return the state with the first K candidates that end added to the finished ones.

        `log_probs`, `rows` and `is_active` are Q x C; the lengths include the newest tokens.
        """
        k, n = self.beam_size, self.finished_scores.size(1)
        log_probs, rows, is_active = log_probs[:, :k], rows[:, :k], is_active[:, :k]
        if not is_launch_bound(rows.device.type) and bool(is_active.all()):
            return self
        scores = log_probs / self.penalty[:, :1]
        if self.uncovered is not None:
            scores = scores + self._rows_of(ranking.coverage_penalty(self.uncovered), rows)
        scores = scores.masked_fill(is_active, -math.inf)
        best_scores, best = torch.cat([self.finished_scores, scores], 1).topk(n, 1)
        tokens = torch.cat([self.finished_tokens, self._rows_of(self.tokens, rows)], 1)
        best_rows = best[:, :, None].expand(-1, -1, tokens.size(2))
        state = replace(
            self,
            finished_scores=best_scores,
            finished_log_probs=torch.cat([self.finished_log_probs, log_probs], 1).gather(1, best),
            finished_tokens=tokens.gather(1, best_rows),
        )
        if self.num_finished is None:
            return state
        count = (scores > -math.inf).sum(1)
        return replace(state, num_finished=self.num_finished + count)

    def is_done(self, stop: StopRule) -> Tensor:
        """Return Q bool: whether each search is over by the stop rule of docs/decoding.md.

        A search without active hypotheses is over, as at its maximum length.
        """
        best = self.log_probs.amax(1)
        worst_finished = self.finished_scores[:, -1]
        if stop == "first":
            return (worst_finished > -math.inf) | (best == -math.inf)
        if stop == "beam":
            assert self.num_finished is not None
            return (self.num_finished >= self.beam_size) | (best == -math.inf)
        return worst_finished >= best / self.penalty[:, 1]

    def without_active(self, is_done: Tensor) -> BeamState:
        """Return the state without active hypotheses in the searches that are done (Q bool)."""
        return replace(self, log_probs=self.log_probs.masked_fill(is_done[:, None], -math.inf))

    def to_host(self, is_done: Tensor) -> FinishedHypotheses:
        """Return the finished hypotheses and `is_done` (Q bool); wait once for the device."""
        n = self.finished_scores.size(1)
        numbers = torch.stack([self.finished_scores, self.finished_log_probs], 1).flatten(1)
        parts = [is_done[:, None], numbers.view(torch.int32), self.finished_tokens.flatten(1)]
        packed = torch.cat([part.long() for part in parts], 1).cpu()
        floats = packed[:, 1 : 1 + 2 * n].int().view(torch.float32)
        return FinishedHypotheses(
            is_done=packed[:, 0].bool().tolist(),
            scores=floats[:, :n].tolist(),
            log_probs=floats[:, n:].tolist(),
            tokens=packed[:, 1 + 2 * n :].reshape(len(packed), n, -1).tolist(),
        )


def _first_rows(searches: int, beam_size: int, device: torch.device) -> Tensor:
    """Return Q x 1: 0, K, 2 K, ..."""
    return torch.arange(0, searches * beam_size, beam_size, device=device)[:, None]
