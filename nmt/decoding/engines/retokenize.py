"""One source for models with tokenizers of their own."""

from __future__ import annotations

import torch
from torch import Tensor

from nmt.data.batching.loader import pad_rows
from nmt.data.tokenizer.tokenizer import Tokenizer
from nmt.models.ensemble import SourceConverter


def retokenizer(first: Tokenizer, its: Tokenizer) -> SourceConverter | None:
    """Return what turns B x S tokens of the first model into another's; None if they are the same.

    It goes by their text, which tokenizers keep, and puts the other's own tags before it. The text
    is normalized already, as members of an ensemble share their normalization.
    """
    if first.model == its.model and first.tags == its.tags:
        return None

    plain = its.with_normalizer(None)

    def reread(src: Tensor, src_len: Tensor) -> tuple[Tensor, Tensor]:
        lengths = (src_len - 1).tolist()  # without eos
        lines = [
            first.decode(row[:length]) for row, length in zip(src.tolist(), lengths, strict=True)
        ]
        rows = [[*tokens, its.eos] for tokens in plain.encode(lines)]
        sizes = torch.tensor([len(row) for row in rows])
        return pad_rows(rows, int(sizes.max()), its.pad).to(src.device), sizes

    return reread
