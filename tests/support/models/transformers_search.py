"""Search of transformers with the rules of nmt, to compare translations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch

transformers = pytest.importorskip("transformers", reason="needs nmt[export]")

MAX_LENGTH = 40
SEARCH = ["decode.stop=exact", f"decode.max_length={MAX_LENGTH}", "decode.max_length_ratio=1000"]
"""Settings of nmt for the search of `generate`."""


class BanAndNormalize(transformers.LogitsProcessor):  # type: ignore[misc]
    """Ban tokens, then normalize: bad_words_ids with renormalize_logits, but before EndAtLimit."""

    def __init__(self, banned: Sequence[int]) -> None:
        self.banned = list(banned)

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        scores[:, self.banned] = -torch.inf
        return scores.log_softmax(-1)


class EndAtLimit(transformers.LogitsProcessor):  # type: ignore[misc]
    """Force eos at the maximum length, with its own probability.

    The forced_eos_token_id of transformers gives it the probability 1 instead.
    """

    def __init__(self, eos: int) -> None:
        self.eos = eos

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        if input_ids.size(1) <= MAX_LENGTH:
            return scores
        eos_scores = scores[:, self.eos].clone()
        scores = scores.fill_(-torch.inf)
        scores[:, self.eos] = eos_scores
        return scores


def generate(
    model: Any,
    rows: Sequence[Sequence[int]],
    beam_size: int,
    banned: Sequence[int] = (),
    first_token: int | None = None,
) -> tuple[Any, Any]:
    """Return the token ids of transformers without start, end and padding, and their scores."""
    longest = max(map(len, rows))
    pad, eos = model.config.pad_token_id, model.config.eos_token_id
    padded = torch.tensor([[*row, *[pad] * (longest - len(row))] for row in rows])
    lengths = torch.tensor([[len(row)] for row in rows])
    processors = [BanAndNormalize(banned)] if banned else []
    with torch.inference_mode():
        output = model.generate(
            padded,
            attention_mask=(torch.arange(longest) < lengths).long(),
            num_beams=beam_size,
            early_stopping="never" if beam_size > 1 else False,
            max_length=MAX_LENGTH + 2,
            renormalize_logits=False,
            forced_bos_token_id=first_token,
            logits_processor=transformers.LogitsProcessorList([*processors, EndAtLimit(eos)]),
            output_scores=True,
            return_dict_in_generate=True,
        )
    tokens = [row[1:].tolist() for row in output.sequences]
    scores = output.sequences_scores.tolist() if beam_size > 1 else []
    return [row[: row.index(eos)] for row in tokens], scores
