"""What a hypothesis may not say next, whatever the model thinks of it.

A filter takes tokens away and leaves the probabilities of the others as they are, so a hypothesis
scores what forcing it scores. Shapes: B sentences (or groups), R rows each, V vocabulary, L limit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from nmt.config.sections.decode import DecodeConfig
from nmt.data.tokenizer.tokenizer import Tokenizer
from nmt.decoding.beam_state import Hypotheses, Prefix
from nmt.errors import ConfigError, did_you_mean


class Filters:
    """The filters of `decode.forbid`, `decode.min_length` and `decode.no_repeat_ngram`."""

    def __init__(self, settings: DecodeConfig, tgt: Tokenizer) -> None:
        """Look up what is forbidden; ConfigError where a piece is none of the target's."""
        forbidden = forbidden_tokens(settings.forbid, tgt) if settings.forbid else []
        self.forbidden = torch.tensor(forbidden, dtype=torch.int64)
        self.least, self.n, self.eos = settings.min_length, settings.no_repeat_ngram, tgt.eos
        self.active = bool(forbidden or self.least or self.n)

    def __call__(self, log_probs: Tensor, before: Hypotheses) -> Tensor:
        """Return the B x R x V log-probabilities with -inf for what may not come next."""
        if not self.active:
            return log_probs
        rows = log_probs.size(1)
        filtered = log_probs.index_fill(2, self.forbidden.to(log_probs.device), -math.inf)
        short = (before.length < self.least)[:, None].expand(-1, rows)
        filtered[:, :, self.eos] = filtered[:, :, self.eos].masked_fill(short, -math.inf)
        if self.n:
            again = repeated(before.tokens[:, :rows], before.length, self.n)
            # a token that nothing forbids goes to a place of its own, which is cut off again
            again = again.masked_fill(again < 0, log_probs.size(2))
            wide = torch.nn.functional.pad(filtered, (0, 1))
            filtered = wide.scatter(2, again, -math.inf)[:, :, :-1]
        return filtered


def forbidden_tokens(forbidden: Sequence[str], tgt: Tokenizer) -> list[int]:
    """Return the ids of the pieces of `decode.forbid`; ConfigError where one is none."""
    pieces = tgt.pieces(range(tgt.vocab_size))
    for piece in forbidden:
        if piece not in pieces:
            raise ConfigError(
                [
                    f"decode.forbid: expected pieces of the target vocabulary, got {piece!r}"
                    f"{did_you_mean(piece, pieces)}"
                ]
            )
    found = [pieces.index(piece) for piece in forbidden]
    if tgt.eos in found:
        raise ConfigError(
            [
                f"decode.forbid: expected pieces other than the end of the sentence, "
                f"got {pieces[tgt.eos]!r}"
            ]
        )
    return found


def repeated(tokens: Tensor, length: Tensor, n: int) -> Tensor:
    """Return the tokens that would make the last n of a hypothesis occur twice, -1 for none.

    `tokens` are B x R x L, of which `length` (B) are said; returns B x R x (L - n + 1).
    """
    if n > tokens.size(2):
        return tokens.new_full((*tokens.shape[:2], 1), -1)
    windows = tokens.unfold(2, n, 1)
    places = (length[:, None] - (n - 1) + torch.arange(n - 1, device=length.device)).clamp_min(0)
    last = tokens.gather(2, places[:, None].expand(-1, tokens.size(1), -1))
    same = (windows[..., :-1] == last[:, :, None]).all(-1)
    begins = torch.arange(windows.size(2), device=length.device)
    said = (begins + n <= length[:, None]) & (length[:, None] >= n)
    return torch.where(same & said[:, None], windows[..., -1], -1)


def begun(filtered: Tensor, log_probs: Tensor, prefix: Prefix, length: Tensor) -> Tensor:
    """Return B x R x V filtered log-probabilities with a prefix's next token as the only one.

    It keeps the log-probability that it had before the filters. Rows whose prefix has been said,
    which have `length` tokens (B), are left as they are.
    """
    place = torch.minimum(length, prefix.length - 1).clamp_min(0)
    token = prefix.tokens.gather(1, place[:, None])[:, :, None].expand(-1, log_probs.size(1), 1)
    only = torch.full_like(log_probs, -math.inf).scatter(2, token, log_probs.gather(2, token))
    return torch.where((length < prefix.length)[:, None, None], only, filtered)
