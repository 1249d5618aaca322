"""Fused attention of a CPU, computed in fp32 for training.

The backward pass of torch's fused attention takes up to ten times as long in bf16 as in fp32
(benchmarks/LOG.md).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from nmt.models.kernels.dtypes import to_fp32


def fused_attention(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    mask: Tensor | None,
    dropout_rate: float,
    is_causal: bool,
) -> Tensor:
    """Return the contexts, B x H x Q x d; keys are B x G x S x d. Training attends in fp32."""
    tensors = query, keys, values
    if torch.is_grad_enabled():
        tensors = to_fp32(query), to_fp32(keys), to_fp32(values)
    with torch.autocast("cpu", enabled=False):
        context = F.scaled_dot_product_attention(
            *tensors,
            attn_mask=mask,
            dropout_p=dropout_rate,
            is_causal=is_causal,
            enable_gqa=keys.size(1) < query.size(1),
        )
    return context.to(query.dtype)
