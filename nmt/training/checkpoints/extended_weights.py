"""Copy the weights of a model into one with a larger vocabulary."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nmt.models.build import AnyModel, weights_of

NEW_BIAS_MARGIN = 10.0
"""Difference between the lowest output bias of the old model and the bias of new pieces.

New pieces compete in the softmax with those of the old model. Before training, the scores of old
translations must not change; training raises the bias (benchmarks/fine-tuning.md).
"""


def copy_extended_weights(
    old: AnyModel, new: AnyModel, src_ids: Sequence[list[int]], tgt_ids: Sequence[list[int]]
) -> None:
    """Copy all weights of `old` into `new`, whose vocabularies have additional tokens at the end.

    `src_ids` and `tgt_ids` have, for each additional token, old token ids of the same text. Its
    embedding is the mean of theirs.
    """
    source_weights = {id(parameter) for parameter in _source_embedding_parameters(new)}
    old_weights = weights_of(old)
    with torch.no_grad():
        for name, parameter in new.named_parameters():
            weight = old_weights[name]
            if weight.shape != parameter.shape:
                ids = src_ids if id(parameter) in source_weights else tgt_ids
                weight = torch.cat([weight, _new_rows(weight, ids)])
            parameter.copy_(weight)


def _source_embedding_parameters(model: AnyModel) -> list[torch.nn.Parameter]:
    source_embedding = model.components()["embeddings"][0]
    return list(source_embedding.parameters())


def _new_rows(weight: Tensor, token_ids: Sequence[list[int]]) -> Tensor:
    """Return the mean rows of an embedding, or low values of the output bias."""
    if weight.dim() == 1:
        return (weight.min() - NEW_BIAS_MARGIN).expand(len(token_ids))
    return torch.stack([weight[ids].mean(0) for ids in token_ids])
