"""Source tokens for the members of an ensemble that have different source tokenizers."""

from __future__ import annotations

import torch
from torch import Tensor

from nmt.data.batching.loader import pad_rows
from nmt.data.tokenizer.tokenizer import Tokenizer
from nmt.models.ensemble import SourceConverter


def retokenizer(first: Tokenizer, member: Tokenizer) -> SourceConverter | None:
    """Return a function from source tokens of the first model to those of another member.

    The function decodes B x S token ids to text, encodes the text again, and adds the tags of the
    member. It does not normalize, as all members share the normalization of the first. Returns
    None if both tokenizers and their tags are the same.
    """
    if first.model == member.model and first.tags == member.tags:
        return None

    without_normalizer = member.with_normalizer(None)

    def convert(src: Tensor, src_len: Tensor) -> tuple[Tensor, Tensor]:
        lengths = (src_len - 1).tolist()  # without eos
        lines = [
            first.decode(row[:length]) for row, length in zip(src.tolist(), lengths, strict=True)
        ]
        rows = [[*tokens, member.eos] for tokens in without_normalizer.encode(lines)]
        new_lengths = torch.tensor([len(row) for row in rows])
        return pad_rows(rows, int(new_lengths.max()), member.pad).to(src.device), new_lengths

    return convert
