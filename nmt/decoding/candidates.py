"""How hypotheses go on: with the best tokens, with those other groups did not take, or by chance.

Every choice returns, for each of B sentences (or groups), C candidates, best first: their
log-probabilities, the rows they go on from, and their tokens. Shapes: R rows a sentence,
K beam size, V vocabulary.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from nmt.config.sections.decode import DecodeConfig

Candidates = tuple[Tensor, Tensor, Tensor]
"""B x C log-probabilities, rows and tokens."""
BLOCK = 64
"""Logits whose maximum is looked at first."""


def best(log_probs: Tensor, totals: Tensor, k: int) -> Candidates:
    """Return the 2 K best sums of B x R totals and B x R x V log-probabilities; the best, if K = 1.

    The rows of K = 1 are one a sentence.
    """
    if k > 1:
        return best_of(log_probs, totals, 2 * k)
    score, token = log_probs[:, 0].max(-1, keepdim=True)
    return score + totals, torch.zeros_like(token), token


def diverse(log_probs: Tensor, totals: Tensor, k: int, groups: int, strength: float) -> Candidates:
    """Return the candidates of consecutive groups, as `best` does for each, taken in turn.

    A token costs a group `strength` for each of the first K candidates of earlier groups of its
    sentence that have it (diverse beam search with Hamming diversity: Vijayakumar et al. 2018,
    section 4). The scores returned are without that.
    """
    by_group = log_probs.view(-1, groups, *log_probs.shape[1:])
    its_totals = totals.view(-1, groups, totals.size(1))
    taken = log_probs.new_zeros(len(by_group), 1, log_probs.size(2))
    found = []
    for group in range(groups):
        cost = strength * taken
        scores, origin, token = best(by_group[:, group] - cost, its_totals[:, group], k)
        found.append((scores + cost[:, 0].gather(1, token), origin, token))
        first = token[:, None, :k]
        living = (scores[:, None, :k] > -math.inf).to(taken.dtype)
        taken = taken.scatter_add(2, first, living)
    scores, origin, token = (
        torch.stack(parts, 1).flatten(0, 1) for parts in zip(*found, strict=True)
    )
    return scores, origin, token


def sampled(log_probs: Tensor, totals: Tensor, draws: Tensor, settings: DecodeConfig) -> Candidates:
    """Return one candidate for each of B rows, by the B random numbers from 0 to 1 in `draws`."""
    weights = truncated(log_probs[:, 0], settings).to(draws.dtype).softmax(-1)
    until = weights.cumsum(-1)
    token = torch.searchsorted(until, draws[:, None] * until[:, -1:], right=True)
    # a draw of nearly 1 must not fall behind the last token that may be drawn
    last = weights.size(1) - 1 - (weights > 0).flip(-1).int().argmax(-1, keepdim=True)
    token = torch.minimum(token, last)
    return log_probs[:, 0].gather(1, token) + totals, torch.zeros_like(token), token


def truncated(log_probs: Tensor, settings: DecodeConfig) -> Tensor:
    """Return B x V log-probabilities over the temperature, -inf where none is to be drawn.

    top_k (Fan et al. 2018), top_p (Holtzman et al. 2020, section 3.1) and epsilon (Hewitt et al.
    2022, section 4) each look at the probabilities that the temperature gives.
    """
    scores = (log_probs / settings.temperature).log_softmax(-1)
    keep = scores > -math.inf
    if settings.top_k:
        least = scores.topk(min(settings.top_k, scores.size(1)), -1).values[:, -1:]
        keep &= scores >= least
    if settings.top_p < 1:
        ordered, places = scores.sort(stable=True, dim=-1, descending=True)
        above = ordered.exp().cumsum(-1) - ordered.exp()  # what the more probable ones have
        keep &= torch.zeros_like(keep).scatter(1, places, above < settings.top_p)
    if settings.epsilon:
        highest = scores == scores.amax(-1, keepdim=True)
        keep &= (scores >= math.log(settings.epsilon)) | highest
    return scores.masked_fill(~keep, -math.inf)


def random_numbers(source: Sequence[int], seed: int, samples: int, length: int) -> Tensor:
    """Return samples x length numbers from 0 to 1 that the source's tokens and the seed decide.

    So a line's samples hang neither on its batch nor on its place, and the first of several is the
    sample that is drawn alone.
    """
    words = np.array([seed, len(source), *source], np.uint64).tobytes()
    key = int.from_bytes(hashlib.sha256(words).digest()[:16])
    numbers = np.random.Generator(np.random.Philox(key=key)).random((samples, length))
    return torch.from_numpy(numbers)


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
