"""Multi-head attention (Vaswani et al. 2017, section 3.2) with shared keys and a key-value cache.

Shapes: B sentences, Q queries per sentence, S keys per sentence, K hypotheses per sentence,
D = d_model, H heads, G key/value heads, d = D / H. Keys are stored transposed, B x G x d x S,
because the product with a few queries reads them so.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nmt.config.model_config import TransformerConfig
from nmt.models.kernels.dtypes import to_fp32
from nmt.models.kernels.selection import find_kernel, is_launch_bound, with_kernel
from nmt.models.kv_cache import KVCache, SlotRange
from nmt.models.layers import Rotation, apply_linears, concat_linears, dropout, make_linear


class MultiHeadOutput(NamedTuple):
    """Result of attention in H heads."""

    scores: Tensor
    """B x H x Q x S, -inf if masked."""
    weights: Tensor
    """B x H x Q x S: softmax of the scores."""
    context: Tensor
    """B x Q x D: contexts of all heads, concatenated."""


class MultiHeadAttention(nn.Module):
    """Attention in H heads; H / G heads share each key and value (Ainslie et al. 2023)."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        width = config.d_model
        self.heads, self.groups = config.num_heads, config.num_kv_heads or config.num_heads
        self.d_head = width // self.heads
        self.dropout_rate = config.attention_dropout
        self.query = make_linear(width, width)
        # no bias: it would add a constant to all scores of a query, which the softmax cancels
        self.key = make_linear(width, self.groups * self.d_head, bias=False)
        self.value = make_linear(width, self.groups * self.d_head)
        self.output = make_linear(width, width)

    def project_queries(self, states: Tensor) -> Tensor:
        """Return B x H x Q x d queries of B x Q x D states."""
        return split_heads(self.query(states), self.heads)

    def project_keys_values(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Return the keys, B x G x d x S, and values, B x G x S x d, of B x S x D states."""
        key, value = apply_linears(states, self.key, self.value)
        return split_heads(key, self.groups).mT, split_heads(value, self.groups)

    def forward(
        self,
        query: Tensor,
        keys: Tensor,
        values: Tensor,
        mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        """Return W_o context, B x Q x D, for B x H x Q x d queries.

        `keys`, `values` and `mask` are as in `attend`. torch's fused attention computes the
        context, except on a CPU with attention dropout, where it would not be fused.
        """
        dropout_rate = self.dropout_rate if self.training else 0.0
        if dropout_rate > 0 and find_kernel("dropout", query.device.type) is not None:
            if is_causal:
                mask = query.new_ones(query.size(2), keys.size(3), dtype=torch.bool).tril()
            return self.forward_unfused(query, keys, values, mask)
        groups = keys.mT, values
        if mask is not None and query.is_cuda:
            # CUDA has no fused attention with a mask and shared keys.
            groups = self.repeat_for_heads(groups[0]), self.repeat_for_heads(groups[1])
        context = fused_attention(query, *groups, mask, dropout_rate, is_causal)
        return self.output(merge_heads(context))  # type: ignore[no-any-return]

    def repeat_for_heads(self, groups: Tensor) -> Tensor:
        """Repeat B x G x S x d keys or values for each head, B x H x S x d."""
        repeats = self.heads // self.groups
        return groups if repeats == 1 else groups.repeat_interleave(repeats, 1)

    def forward_unfused(
        self, query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None
    ) -> Tensor:
        """Return the same as `forward`, computed by the plain products of `attend`."""
        dropout_rate = self.dropout_rate if self.training else 0.0
        context = self.attend(query, keys, values, mask, dropout_rate).context
        return self.output(context)  # type: ignore[no-any-return]

    def step_bias(self, bias: Tensor, queries: int) -> Tensor:
        """Return a bias of scores, B x Q x S or B x 1 x S, as `forward_few` reads it.

        All layers of a decoding step share it.
        """
        if is_launch_bound(bias.device.type):
            return bias[:, None]
        batch_size, _, length = bias.shape
        shape = (batch_size, self.groups, self.heads // self.groups, queries, length)
        return bias[:, None, None].expand(shape).reshape(batch_size * self.groups, -1, length)

    def forward_few(self, query: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
        """Return the same as `forward` for the few queries of a decoding step.

        `bias` is a result of `step_bias`. On a CPU, plain products take a third of the time of
        torch's fused attention (benchmarks/LOG.md).
        """
        if is_launch_bound(query.device.type):
            groups = self.repeat_for_heads(keys.mT), self.repeat_for_heads(values)
            context = F.scaled_dot_product_attention(query, *groups, bias)
            return self.output(merge_heads(context))  # type: ignore[no-any-return]
        grouped_query = query.reshape(len(bias), -1, self.d_head)
        scores = torch.baddbmm(bias, grouped_query, keys.flatten(0, 1), alpha=self.d_head**-0.5)
        weights = to_fp32(scores).softmax(-1).to(values.dtype)
        context = torch.bmm(weights, values.flatten(0, 1)).view(query.shape)
        return self.output(merge_heads(context))  # type: ignore[no-any-return]

    def attend(
        self,
        query: Tensor,
        keys: Tensor,
        values: Tensor,
        mask: Tensor | None,
        dropout_rate: float = 0.0,
    ) -> MultiHeadOutput:
        """Return softmax(q k^T / sqrt(d)) v and its intermediate results (eq. 1).

        `query` is B x H x Q x d, `keys` B x G x d x S, `values` B x G x S x d. `mask` broadcasts to
        B x H x Q x S and is true where a query may attend. Dropout changes the context, not the
        weights that are returned.
        """
        scores = to_fp32(self.scores(query, keys, mask))  # bf16 is too coarse for the softmax
        weights = scores.softmax(-1)
        dropped_weights = weights.to(values.dtype)
        if dropout_rate > 0:
            dropped_weights = dropout(dropped_weights, dropout_rate)
        context = merge_heads(self.weighted_sum(dropped_weights, values))
        return MultiHeadOutput(scores, weights, context)

    def scores(self, query: Tensor, keys: Tensor, mask: Tensor | None) -> Tensor:
        """Return q k^T / sqrt(d), B x H x Q x S; -inf if masked."""
        batch_size, heads, queries, d_head = query.shape
        # The H / G heads of a group share keys, so their queries become rows of one product.
        grouped_query = (query * d_head**-0.5).reshape(batch_size, self.groups, -1, d_head)
        scores: Tensor = (grouped_query @ keys).view(batch_size, heads, queries, -1)
        return scores if mask is None else scores.masked_fill(~mask, -math.inf)

    def weighted_sum(self, weights: Tensor, values: Tensor) -> Tensor:
        """Return the B x H x Q x d sums of B x G x S x d values with B x H x Q x S weights."""
        grouped_weights = weights.reshape(weights.size(0), self.groups, -1, weights.size(3))
        return (grouped_weights @ values).view(*weights.shape[:3], -1)

    def scaled_by_deep_norm(self) -> list[nn.Linear]:
        """Return the linear maps with initial weights that DeepNorm scales."""
        return [self.value, self.output]


@with_kernel
def fused_attention(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    mask: Tensor | None,
    dropout_rate: float,
    is_causal: bool,
) -> Tensor:
    """Return the contexts, B x H x Q x d, by torch's fused attention; keys are B x G x S x d."""
    return F.scaled_dot_product_attention(
        query,
        keys,
        values,
        attn_mask=mask,
        dropout_p=dropout_rate,
        is_causal=is_causal,
        enable_gqa=keys.size(1) < query.size(1),
    )


def split_heads(states: Tensor, heads: int) -> Tensor:
    """View B x Q x (H d) as B x H x Q x d."""
    return states.view(*states.shape[:-1], heads, -1).transpose(1, 2)


def merge_heads(heads: Tensor) -> Tensor:
    """Concatenate the heads of B x H x Q x d to B x Q x (H d)."""
    return heads.transpose(1, 2).flatten(2)


class DecoderStep(NamedTuple):
    """Position of the newest tokens of K hypotheses per sentence, and what they attend to."""

    rotation: Rotation | None
    """Rotary positions of the tokens, if configured."""
    slots: SlotRange | Tensor
    """Their K slots in the key-value cache; see `KVCache.append_newest`."""
    self_attention_bias: Tensor
    """-inf for all slots but a hypothesis's own tokens; see `MultiHeadAttention.step_bias`."""
    source_bias: Tensor
    """-inf for padding of the source; see `MultiHeadAttention.step_bias`."""


class SelfAttention(MultiHeadAttention):
    """Multi-head attention of a sequence over itself, with rotary positions if configured."""

    def project(self, states: Tensor, rotation: Rotation | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values of B x Q x D states."""
        query, key, value = apply_linears(states, self.query, self.key, self.value)
        return self._split(query, key, value, rotation)

    def _split(
        self, query: Tensor, key: Tensor, value: Tensor, rotation: Rotation | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return projected queries, keys and values in heads, and rotate them if configured."""
        query, keys = split_heads(query, self.heads), split_heads(key, self.groups)
        values = split_heads(value, self.groups)
        if rotation is not None:
            query, keys = rotation.rotate(query), rotation.rotate(keys)
        return query, keys.mT, values

    def forward_bidirectional(
        self, states: Tensor, rotation: Rotation | None, mask: Tensor
    ) -> Tensor:
        """Attend from all B x S x D states to all; `mask` broadcasts to B x H x S x S."""
        return self(*self.project(states, rotation), mask)  # type: ignore[no-any-return]

    def forward_parallel(self, states: Tensor, rotation: Rotation | None) -> Tensor:
        """Attend from each of B x T x D states to itself and those before it."""
        return self(*self.project(states, rotation), is_causal=True)  # type: ignore[no-any-return]

    def initial_state(self, keys: Tensor, rows: int, max_len: int) -> KVCache:
        """Return an empty cache for `rows` hypotheses per sentence.

        `keys` are those of the source, B x G x d x S, of which it takes type and device.
        """
        cache = KVCache.allocate(keys.mT, len(keys), max_len * rows, len(keys))
        if not is_launch_bound(keys.device.type):
            return cache
        return replace(cache, projection=concat_linears(self.query, self.key, self.value))

    def forward_step(
        self, states: Tensor, cache: KVCache, step: DecoderStep
    ) -> tuple[Tensor, KVCache]:
        """Append the newest tokens, B x K x D, to the cache; attend to their hypotheses."""
        if cache.projection is None:
            query, keys, values = self.project(states, step.rotation)
        else:
            sizes = [linear.out_features for linear in (self.query, self.key, self.value)]
            query, key, value = torch.split(F.linear(states, *cache.projection), sizes, -1)
            query, keys, values = self._split(query, key, value, step.rotation)
        keys, values = cache.append_newest(step.slots, keys, values)
        return self.forward_few(query, keys, values, step.self_attention_bias), cache
