"""Candidate selectors: they choose the continuations of the hypotheses at every decoding step.

This module selects by the highest probability, by diverse groups, or by sampling.
beam_allocation.py selects candidates that contain required phrases.

Shapes: see beam_search.py. Q searches, R hypotheses per search (1 at the first step, then K),
C candidates per search, V vocabulary size, T maximum target length.
"""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from nmt.config.sections.decode import DecodeConfig
from nmt.decoding.search.beam_state import Candidates
from nmt.decoding.search.logits_processors import DecodingStep, SearchComponent
from nmt.decoding.search.request_queue import Request
from nmt.models.interface import BatchedTensors
from nmt.models.kernels.selection import is_launch_bound

BLOCK_SIZE = 64
"""Number of log-probabilities per block in `top_candidates`."""


class CandidateSelector(SearchComponent, ABC):
    """Chooses the candidates of a decoding step."""

    needs_token_ids = False
    """Whether it needs the full vocabulary, so that indices of log-probabilities are token ids."""

    @abstractmethod
    def __call__(self, log_probs: Tensor, step: DecodingStep) -> Candidates:
        """Return C >= K candidates per search, given Q x R x V processed log-probabilities.

        Of the first K candidates, those with eos finish. The first K others stay active.
        """


class TopCandidates(CandidateSelector):
    """Selects the 2 K most probable continuations; greedy search if K = 1."""

    def __call__(self, log_probs: Tensor, step: DecodingStep) -> Candidates:
        totals = step.state.log_probs[:, : log_probs.size(1)]
        candidates = most_probable(log_probs, totals, step.state.beam_size)
        return end_at_max_length(candidates, log_probs, step)


class DiverseGroups(CandidateSelector):
    """Selects candidates that differ between the groups of a sentence.

    Diverse beam search with Hamming diversity (Vijayakumar et al. 2018, section 4).
    """

    def __init__(self, groups: int, strength: float) -> None:
        """Set the number of groups per sentence and the penalty in nats."""
        self.groups = groups
        self.strength = strength

    def __call__(self, log_probs: Tensor, step: DecodingStep) -> Candidates:
        totals = step.state.log_probs[:, : log_probs.size(1)]
        candidates = diverse_candidates(
            log_probs, totals, step.state.beam_size, self.groups, self.strength
        )
        return end_at_max_length(candidates, log_probs, step)


@dataclass(frozen=True)
class RandomNumbers(BatchedTensors):
    """Random numbers that decide samples."""

    values: Tensor
    """Q x T numbers from 0 to 1, one per token."""


class Sampler(CandidateSelector):
    """Samples one continuation of each hypothesis."""

    def __init__(self, settings: DecodeConfig, numbers: RandomNumbers | None = None) -> None:
        self.settings = settings
        self.numbers = numbers or RandomNumbers(torch.empty(0, 0))

    def start(self, requests: Sequence[Request], groups: int, device: torch.device) -> Sampler:
        """Draw the random numbers of new sentences, each with `groups` samples."""
        longest = max(request.max_length for request in requests)
        numbers = [
            F.pad(
                random_numbers(request.source, self.settings.seed, groups, request.max_length),
                (0, longest - request.max_length),
            )
            for request in requests
        ]
        # float64 lets `sample_tokens` tell improbable tokens apart; MPS has no float64
        dtype = torch.float32 if device.type == "mps" else torch.float64
        return Sampler(self.settings, RandomNumbers(torch.cat(numbers).to(device, dtype)))

    def select(self, rows: Tensor) -> Sampler:
        return Sampler(self.settings, self.numbers.select(rows))

    def join(self, other: Sampler) -> Sampler:
        return Sampler(self.settings, self.numbers.join(other.numbers))

    def __call__(self, log_probs: Tensor, step: DecodingStep) -> Candidates:
        totals = step.state.log_probs[:, : log_probs.size(1)]
        numbers = self.numbers.values.gather(1, step.state.lengths[:, None])[:, 0]
        candidates = sample_tokens(log_probs, totals, numbers, self.settings)
        return end_at_max_length(candidates, log_probs, step)


def build_candidate_selector(settings: DecodeConfig) -> CandidateSelector:
    """Return the candidate selector of the decode settings."""
    if settings.is_sampling:
        return Sampler(settings)
    if settings.groups > 1:
        return DiverseGroups(settings.groups, settings.diversity)
    return TopCandidates()


def end_at_max_length(candidates: Candidates, log_probs: Tensor, step: DecodingStep) -> Candidates:
    """Replace all candidates by eos in searches that take their last step.

    Pads the candidates to K if the vocabulary is smaller than the beam.
    """
    missing = step.state.beam_size - candidates.log_probs.size(1)
    if missing > 0:
        candidates = Candidates(
            F.pad(candidates.log_probs, (0, missing), value=-math.inf),
            F.pad(candidates.origins, (0, missing)),
            F.pad(candidates.tokens, (0, missing)),
        )
    if not any(step.is_last_step):
        return candidates
    is_last_step = (step.state.max_lengths == step.state.lengths + 1)[:, None]
    totals = step.state.log_probs[:, : log_probs.size(1)]
    ended = (log_probs[:, :, step.eos] + totals).sort(1, descending=True)
    unused = candidates.log_probs.size(1) - log_probs.size(1)
    ended_scores = F.pad(ended.values, (0, unused), value=-math.inf)
    return Candidates(
        torch.where(is_last_step, ended_scores, candidates.log_probs),
        torch.where(is_last_step, F.pad(ended.indices, (0, unused)), candidates.origins),
        torch.where(is_last_step, step.eos, candidates.tokens),
    )


def most_probable(log_probs: Tensor, totals: Tensor, beam_size: int) -> Candidates:
    """Return the 2 K best sums of Q x R totals and Q x R x V log-probabilities.

    If K = 1, return only the best one of each search; R is 1 then.
    """
    if beam_size > 1:
        return top_candidates(log_probs, totals, 2 * beam_size)
    log_prob, token = log_probs[:, 0].max(-1, keepdim=True)
    return Candidates(log_prob + totals, torch.zeros_like(token), token)


def diverse_candidates(
    log_probs: Tensor, totals: Tensor, beam_size: int, groups: int, strength: float
) -> Candidates:
    """Return the candidates of consecutive groups, selected one group after another.

    A token costs a group `strength` for each of the first K candidates of earlier groups of its
    sentence that have this token. The returned log-probabilities do not include this penalty.
    """
    log_probs_by_group = log_probs.view(-1, groups, *log_probs.shape[1:])
    totals_by_group = totals.view(-1, groups, totals.size(1))
    counts = log_probs.new_zeros(len(log_probs_by_group), 1, log_probs.size(2))
    selected = []
    for group in range(groups):
        penalty = strength * counts
        candidates = most_probable(
            log_probs_by_group[:, group] - penalty, totals_by_group[:, group], beam_size
        )
        scores = candidates.log_probs
        without_penalty = scores + penalty[:, 0].gather(1, candidates.tokens)
        selected.append((without_penalty, candidates.origins, candidates.tokens))
        is_valid = (scores[:, None, :beam_size] > -math.inf).to(counts.dtype)
        counts = counts.scatter_add(2, candidates.tokens[:, None, :beam_size], is_valid)
    return Candidates(
        *(torch.stack(parts, 1).flatten(0, 1) for parts in zip(*selected, strict=True))
    )


def sample_tokens(
    log_probs: Tensor, totals: Tensor, numbers: Tensor, settings: DecodeConfig
) -> Candidates:
    """Return one sampled candidate per search, decided by Q random numbers from 0 to 1."""
    weights = truncate_distribution(log_probs[:, 0], settings).to(numbers.dtype).softmax(-1)
    cumulative = weights.cumsum(-1)
    token = torch.searchsorted(cumulative, numbers[:, None] * cumulative[:, -1:], right=True)
    # rounding must not select a token behind the last one with a probability above 0
    last = weights.size(1) - 1 - (weights > 0).flip(-1).int().argmax(-1, keepdim=True)
    token = torch.minimum(token, last)
    return Candidates(log_probs[:, 0].gather(1, token) + totals, torch.zeros_like(token), token)


def truncate_distribution(log_probs: Tensor, settings: DecodeConfig) -> Tensor:
    """Return Q x V log-probabilities after the temperature, -inf for tokens not to be sampled.

    top_k (Fan et al. 2018), top_p (Holtzman et al. 2020, section 3.1) and epsilon (Hewitt et al.
    2022, section 4) all apply to the probabilities after the temperature.
    """
    scores = (log_probs / settings.temperature).log_softmax(-1)
    keep = scores > -math.inf
    if settings.top_k:
        threshold = scores.topk(min(settings.top_k, scores.size(1)), -1).values[:, -1:]
        keep &= scores >= threshold
    if settings.top_p < 1:
        ordered, tokens = scores.sort(stable=True, dim=-1, descending=True)
        mass_before = ordered.exp().cumsum(-1) - ordered.exp()
        keep &= torch.zeros_like(keep).scatter(1, tokens, mass_before < settings.top_p)
    if settings.epsilon:
        is_highest = scores == scores.amax(-1, keepdim=True)
        keep &= (scores >= math.log(settings.epsilon)) | is_highest
    return scores.masked_fill(~keep, -math.inf)


def random_numbers(source: Sequence[int], seed: int, samples: int, length: int) -> Tensor:
    """Return samples x length numbers from 0 to 1, which depend only on source tokens and seed.

    The samples of a sentence therefore do not depend on its batch. The first of several samples
    is the same as a single sample.
    """
    words = np.array([seed, len(source), *source], np.uint64).tobytes()
    key = int.from_bytes(hashlib.sha256(words).digest()[:16])
    numbers = np.random.Generator(np.random.Philox(key=key)).random((samples, length))
    return torch.from_numpy(numbers)


def top_candidates(log_probs: Tensor, totals: Tensor, count: int) -> Candidates:
    """Return the `count` best sums of a row's total and a log-probability, best first.

    `log_probs` is Q x R x V, `totals` Q x R. Returns at most R V candidates per search.
    """
    rows, vocab_size = log_probs.shape[1:]
    blocks = vocab_size // BLOCK_SIZE
    if not is_launch_bound(log_probs.device.type) and rows * blocks > 2 * count:
        best, index = _top_of_blocks(log_probs, totals, count)
    else:
        sums = (log_probs + totals[:, :, None]).flatten(1)
        best, index = sums.topk(min(count, sums.size(1)), 1)
    return Candidates(best, index // vocab_size, index % vocab_size)


def _top_of_blocks(log_probs: Tensor, totals: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the sums of `top_candidates` and their indices among the R V of a search.

    The best sums lie in the `count` blocks with the largest maxima, so only these blocks and the
    tail behind the last block are sorted. On a CPU this takes a fifth of the time of a full sort.
    """
    searches, rows, vocab_size = log_probs.shape
    blocks, tail_size = divmod(vocab_size, BLOCK_SIZE)
    end = blocks * BLOCK_SIZE
    in_blocks = log_probs[:, :, :end].view(searches, rows, blocks, BLOCK_SIZE)
    maxima = in_blocks.amax(3) + totals[:, :, None]
    best_blocks = maxima.flatten(1).topk(count, 1).indices
    row = best_blocks // blocks
    begins = best_blocks * BLOCK_SIZE + row * tail_size
    indices = begins[:, :, None] + torch.arange(BLOCK_SIZE, device=begins.device)
    block_log_probs = log_probs.flatten(1).gather(1, indices.flatten(1)).view_as(indices)
    sums = (block_log_probs + totals.gather(1, row)[:, :, None]).flatten(1)
    indices = indices.flatten(1)
    if tail_size:
        tail_sums = log_probs[:, :, end:] + totals[:, :, None]
        tail = torch.arange(end, vocab_size, device=begins.device)
        tail_indices = torch.arange(rows, device=begins.device)[:, None] * vocab_size + tail
        sums = torch.cat([sums, tail_sums.flatten(1)], 1)
        indices = torch.cat([indices, tail_indices.flatten().expand(searches, -1)], 1)
    best, position = sums.topk(count, 1)
    return best, indices.gather(1, position)
