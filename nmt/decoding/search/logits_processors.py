"""Logits processors: they change which token may come next in every hypothesis.

A search applies a list of processors to the log-probabilities of each step, in order. To add one,
derive from LogitsProcessor, implement `__call__`, and put it into `build_logits_processors`. To add
one without changing nmt, append it to the list of a loaded engine (`TorchEngine.processors`).

The processors in this module set forbidden tokens to -inf and keep the other log-probabilities.
The score of a hypothesis is therefore its score in forced decoding.

Shapes: see beam_search.py. Q searches, R hypotheses per search (1 at the first step, then K),
V vocabulary size, T maximum target length, P prefix length.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor

from nmt.config.sections.decode import DecodeConfig
from nmt.data.batching.loader import pad_rows
from nmt.data.tokenizer.tokenizer import Tokenizer
from nmt.decoding.search.beam_state import BeamState
from nmt.decoding.search.request_queue import Request
from nmt.errors import ConfigError, did_you_mean
from nmt.models.interface import BatchedTensors


@dataclass(frozen=True)
class DecodingStep:
    """Inputs of a decoding step that all processors and the candidate selector can read."""

    state: BeamState
    """Hypotheses before the step."""
    log_probs: Tensor
    """Q x R x V log-probabilities of the model, before any processor."""
    eos: int
    """Index of eos in the last dimension of the log-probabilities."""
    is_last_step: Sequence[bool]
    """B: whether the hypotheses of each sentence reach their maximum length."""


class SearchComponent:
    """Base of logits processors and candidate selectors.

    A component with values per search overrides all three methods.
    """

    def start(self, requests: Sequence[Request], groups: int, device: torch.device) -> Self:
        """Return the component for new sentences, each with `groups` consecutive searches."""
        return self

    def select(self, rows: Tensor) -> Self:
        """Return the component for the searches with these indices, in this order."""
        return self

    def join(self, other: Self) -> Self:
        """Return the component for the searches of two batches, those of `other` last."""
        return self


class LogitsProcessor(SearchComponent, ABC):
    """Changes the log-probabilities of the next token."""

    @abstractmethod
    def __call__(self, log_probs: Tensor, step: DecodingStep) -> Tensor:
        """Return changed Q x R x V log-probabilities.

        `log_probs` is the result of the processor before; this method may overwrite it.
        """


class ForbiddenTokens(LogitsProcessor):
    """Forbids tokens anywhere in a translation (`decode.forbid`)."""

    def __init__(self, tokens: Sequence[int] | Tensor) -> None:
        self.tokens = torch.as_tensor(tokens, dtype=torch.int64)

    def start(
        self, requests: Sequence[Request], groups: int, device: torch.device
    ) -> ForbiddenTokens:
        return ForbiddenTokens(self.tokens.to(device, non_blocking=True))

    def __call__(self, log_probs: Tensor, step: DecodingStep) -> Tensor:
        return log_probs.index_fill_(2, self.tokens, -math.inf)


class MinimumLength(LogitsProcessor):
    """Forbids eos until a hypothesis has `length` tokens (`decode.min_length`)."""

    def __init__(self, length: int) -> None:
        self.length = length

    def __call__(self, log_probs: Tensor, step: DecodingStep) -> Tensor:
        is_short = (step.state.lengths < self.length)[:, None].expand(-1, log_probs.size(1))
        log_probs[:, :, step.eos] = log_probs[:, :, step.eos].masked_fill(is_short, -math.inf)
        return log_probs


class NoRepeatNgram(LogitsProcessor):
    """Forbids tokens that complete an n-gram for the second time (`decode.no_repeat_ngram`)."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __call__(self, log_probs: Tensor, step: DecodingStep) -> Tensor:
        tokens = step.state.tokens[:, : log_probs.size(1)]
        repeats = repeated_ngram_ends(tokens, step.state.lengths, self.n)
        upper_bounds = torch.where(repeats < 0, math.inf, -math.inf)  # inf changes nothing
        return log_probs.scatter_reduce_(2, repeats.clamp_min(0), upper_bounds, "amin")


def repeated_ngram_ends(tokens: Tensor, lengths: Tensor, n: int) -> Tensor:
    """Return the tokens that would repeat an n-gram of a hypothesis; -1 for none.

    `tokens` is Q x R x T, of which the first `lengths` (Q) are set. The result is
    Q x R x (T - n + 1): the last token of each n-gram that begins with the newest n - 1 tokens.
    """
    if n > tokens.size(2):
        return tokens.new_full((*tokens.shape[:2], 1), -1)
    ngrams = tokens.unfold(2, n, 1)
    newest = (lengths[:, None] - (n - 1) + torch.arange(n - 1, device=lengths.device)).clamp_min(0)
    context = tokens.gather(2, newest[:, None].expand(-1, tokens.size(1), -1))
    matches = (ngrams[..., :-1] == context[:, :, None]).all(-1)
    begins = torch.arange(ngrams.size(2), device=lengths.device)
    is_complete = (begins + n <= lengths[:, None]) & (lengths[:, None] >= n)
    return torch.where(matches & is_complete[:, None], ngrams[..., -1], -1)


@dataclass(frozen=True)
class ForcedPrefix(BatchedTensors, LogitsProcessor):
    """Forces each hypothesis to begin with the prefix of its request.

    The forced token keeps the log-probability of the model, even if another processor forbids it.
    """

    tokens: Tensor = field(default_factory=lambda: torch.empty(0, 1, dtype=torch.int64))
    """Q x P, padded with any token."""
    lengths: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))
    """Q: number of tokens of each prefix."""

    def start(self, requests: Sequence[Request], groups: int, device: torch.device) -> ForcedPrefix:
        """Return the prefixes of the requests, one row per search."""
        prefixes = [list(r.constraints.prefix) for r in requests for _ in range(groups)]
        longest = max(1, *(len(prefix) for prefix in prefixes))
        lengths = torch.tensor([len(prefix) for prefix in prefixes], device=device)
        return ForcedPrefix(pad_rows(prefixes, longest, 0).to(device), lengths)

    def __call__(self, log_probs: Tensor, step: DecodingStep) -> Tensor:
        position = torch.minimum(step.state.lengths, self.lengths - 1).clamp_min(0)
        token = self.tokens.gather(1, position[:, None])[:, :, None]
        token = token.expand(-1, log_probs.size(1), 1)
        in_prefix = (step.state.lengths < self.lengths)[:, None, None]
        forced = torch.where(in_prefix, step.log_probs.gather(2, token), log_probs.gather(2, token))
        return log_probs.masked_fill_(in_prefix, -math.inf).scatter_(2, token, forced)


class ForcedTags(LogitsProcessor):
    """Forces each hypothesis to begin with the target tags, which get the probability 1."""

    def __init__(self, tags: Sequence[int]) -> None:
        self.tags = tags

    def __call__(self, log_probs: Tensor, step: DecodingStep) -> Tensor:
        for position, tag in enumerate(self.tags):
            is_here = (step.state.lengths == position)[:, None, None]
            log_probs = log_probs.masked_fill_(is_here, -math.inf)
            log_probs[:, :, tag : tag + 1].masked_fill_(is_here, 0.0)
        return log_probs


def build_logits_processors(settings: DecodeConfig, tgt: Tokenizer) -> list[LogitsProcessor]:
    """Return the processors of the decode settings.

    TorchEngine adds ForcedPrefix and ForcedTags behind them. Raises ConfigError if a
    piece of `decode.forbid` is eos or not in the target vocabulary.
    """
    processors: list[LogitsProcessor] = []
    if settings.forbid:
        processors.append(ForbiddenTokens(forbidden_token_ids(settings.forbid, tgt)))
    if settings.min_length:
        processors.append(MinimumLength(settings.min_length))
    if settings.no_repeat_ngram:
        processors.append(NoRepeatNgram(settings.no_repeat_ngram))
    return processors


def forbidden_token_ids(forbidden: Sequence[str], tgt: Tokenizer) -> list[int]:
    """Return the ids of the pieces of `decode.forbid`.

    Raises ConfigError if a piece is eos or not in the target vocabulary.
    """
    pieces = tgt.pieces(range(tgt.vocab_size))
    for piece in forbidden:
        if piece not in pieces:
            raise ConfigError(
                [
                    f"decode.forbid: expected pieces of the target vocabulary, got {piece!r}"
                    f"{did_you_mean(piece, pieces)}"
                ]
            )
    token_ids = [pieces.index(piece) for piece in forbidden]
    if tgt.eos in token_ids:
        raise ConfigError(
            [
                f"decode.forbid: expected pieces other than the end of the sentence, "
                f"got {pieces[tgt.eos]!r}"
            ]
        )
    return token_ids
