"""Key-value cache and decoder state of the Transformer.

A cache has slots. Each decoding step appends K slots per sentence, one for each hypothesis, and a
token's key and value stay in their slot. A mask marks, for each hypothesis, the slots of its own
tokens. To continue another hypothesis, the search copies a row of the mask and no keys. The mask is
a bias, 0 or -inf, that attention adds to its scores.

Shapes: B sentences, K hypotheses per sentence, N = B x K rows, R >= B allocated sentences,
C slots per sentence (the capacity), G key/value heads, d width of a head.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from nmt.models.interface import (
    BatchedTensors,
    DecoderState,
    RemainingRows,
    concat_values,
    pad_rows,
)
from nmt.models.kernels.selection import is_launch_bound
from nmt.models.kernels.static_sizes import static_sentences, static_slots
from nmt.models.recurrent_layers import SSRUState


class SlotRange(NamedTuple):
    """Consecutive slots [begin, end)."""

    begin: int
    end: int


@dataclass(frozen=True)
class KVCache(BatchedTensors):
    """Keys and values of one decoder layer's self-attention, updated in place.

    On a CPU, memory is uninitialized in unused slots and in the R - B spare rows for sentences that
    join. On a GPU it holds finite values, and all sizes repeat, because attention reads all slots.
    A product with few queries reads keys fastest in the order d x C on a CPU, and C x d on a GPU.
    """

    keys: Tensor
    """R x G x d x C."""
    values: Tensor
    """R x G x C x d."""
    batch_size: int
    """B."""
    projection: tuple[Tensor, Tensor] | None = None
    """Weight and bias of the projection to queries, keys and values, for a GPU: a single product
    starts fewer kernels."""

    @classmethod
    def allocate(cls, like: Tensor, rows: int, capacity: int, batch_size: int) -> KVCache:
        """Return an empty cache with the heads, width and type of `like`, ... x G x ... x d."""
        device_type = like.device.type
        rows, capacity = static_sentences(rows, device_type), static_slots(capacity, device_type)
        shape = rows, like.size(1), capacity, like.size(3)
        if is_launch_bound(device_type):
            return cls(like.new_zeros(shape).mT, like.new_zeros(shape), batch_size)
        values = like.new_empty(shape)
        return cls(like.new_empty(values.mT.shape), values, batch_size)

    def first_slots(self, end: int) -> tuple[Tensor, Tensor]:
        """Return views of the first slots: keys B x G x d x end and values B x G x end x d."""
        return self.keys[: self.batch_size, ..., :end], self.values[: self.batch_size, :, :end]

    def append(self, begin: int, keys: Tensor, values: Tensor, first_row: int = 0) -> None:
        """Write keys and values into slots from `begin` on and rows from `first_row` on."""
        rows, end = slice(first_row, first_row + len(keys)), begin + keys.size(3)
        self.keys[rows, ..., begin:end] = keys
        self.values[rows, :, begin:end] = values

    def append_newest(
        self, slots: SlotRange | Tensor, keys: Tensor, values: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Write keys and values of the newest tokens; return all that attention reads.

        It reads the slots before the end of a range. With K indices on the device, which a GPU can
        replay, it reads all slots.
        """
        if isinstance(slots, SlotRange):
            self.append(slots.begin, keys, values)
            return self.first_slots(slots.end)
        all_keys, all_values = self.keys, self.values
        if self.batch_size < len(all_keys):
            all_keys, all_values = all_keys[: self.batch_size], all_values[: self.batch_size]
        all_keys.index_copy_(3, slots, keys)
        all_values.index_copy_(2, slots, values)
        return all_keys, all_values

    def pad_for_compiled_step(self, sentences: int) -> KVCache:
        """Return the cache of this number of rows, which share memory with it."""
        cache = replace(
            self,
            keys=self.keys[:sentences],
            values=self.values[:sentences],
            batch_size=sentences,
        )
        if is_launch_bound(self.keys.device.type):
            # a CUDA graph then writes to the memory itself, not to a copy
            torch._dynamo.mark_static_address(cache.keys)
            torch._dynamo.mark_static_address(cache.values)
        return cache

    def reallocate(self, begin: int, end: int, capacity: int) -> KVCache:
        """Return a cache of this capacity that begins with a copy of the slots [begin, end)."""
        keys, values = self.first_slots(end)
        cache = self._resize(len(self.values), capacity, self.batch_size)
        cache.append(0, keys[..., begin:], values[:, :, begin:])
        return cache

    def keep_sentences(self, sentences: RemainingRows, length: int) -> KVCache:
        """Keep the remaining sentences, in place; copy the first `length` slots of moved rows."""
        for tensor in self.first_slots(length):
            sentences.move(tensor)
        return replace(self, batch_size=len(sentences.indices))

    def reorder(self, rows: Tensor) -> KVCache:
        """Return the cache itself: its slots do not depend on which hypothesis continues which."""
        return self

    def add_sentences(self, other: KVCache, length: int, other_length: int) -> KVCache:
        """Return the sentences of both batches, those of `other` last; in place if they fit.

        The lengths are the numbers of used slots. The newest slots of both batches become the same.
        If one batch has used more slots than the other, the other's keys and values in the first
        slots become 0, because uninitialized memory may hold NaN.
        """
        end = max(length, other_length)
        begin, other_begin = end - length, end - other_length
        batch_size, cache = self.batch_size + other.batch_size, self
        if batch_size > len(self.keys) or begin > 0:
            rows, capacity = max(batch_size, len(self.keys)), max(end, self.keys.size(3))
            cache = self._resize(rows, capacity, batch_size)
            cache.append(begin, *self.first_slots(length))
            cache._clear(slice(0, self.batch_size), begin)
        cache.append(other_begin, *other.first_slots(other_length), first_row=self.batch_size)
        cache._clear(slice(self.batch_size, batch_size), other_begin)
        return replace(cache, batch_size=batch_size)

    def _resize(self, rows: int, capacity: int, batch_size: int) -> KVCache:
        """Return an empty cache of another size for the same layer."""
        cache = KVCache.allocate(self.values, rows, capacity, batch_size)
        return replace(cache, projection=self.projection)

    def _clear(self, rows: slice, end: int) -> None:
        """Set the first slots of some rows to 0."""
        self.keys[rows, ..., :end] = 0.0
        self.values[rows, :, :end] = 0.0


@dataclass(frozen=True)
class TransformerState(DecoderState):
    """State of K hypotheses per sentence.

    All sentences append to the same slots at the same step, even if they began at different steps.
    """

    position: Tensor
    """B: number of tokens so far, which is the position of the next token."""
    self_attention_bias: Tensor
    """B x K x C: 0 for the slots of the hypothesis's own tokens, else -inf."""
    newest_bias: Tensor
    """K x K: the same for the slots of the newest tokens."""
    layers: tuple[KVCache | SSRUState, ...]
    """Cache of each decoder layer."""
    length: int
    """Number of used slots."""
    first_slots: tuple[int, ...]
    """B: index of the first slot of each sentence."""
    newest_slots: Tensor | None = None
    """K: indices of the slots of the newest tokens, on a GPU during a step."""

    @classmethod
    def start(cls, like: Tensor, layers: Any, rows: int, max_len: int) -> TransformerState:
        """Return the state before the first token, with `rows` hypotheses per sentence.

        `like` are values of the source, B x ..., with the type and device of the bias.
        """
        batch_size, capacity = len(like), static_slots(max_len * rows, like.device.type)
        return cls(
            position=torch.zeros(batch_size, dtype=torch.int64, device=like.device),
            self_attention_bias=like.new_full((batch_size, rows, capacity), -math.inf),
            newest_bias=_diagonal_bias(like, rows),
            layers=tuple(layers),
            length=0,
            first_slots=(0,) * batch_size,
        )

    def select(self, rows: Tensor, sentences: RemainingRows | None = None) -> TransformerState:
        """Return the state in which row i continues `rows[i]`; see `DecoderState.select`."""
        state, (_, k, capacity) = self, self.self_attention_bias.shape
        if sentences is not None:
            state = self._keep_sentences(sentences)
            indices = torch.arange(len(sentences.indices), device=rows.device)
            rows = (rows.view(len(indices), -1) % k + indices[:, None] * k).flatten()
        bias = state.self_attention_bias.flatten(0, 1).index_select(0, rows)
        bias = bias.view(len(state.first_slots), -1, capacity)
        newest_bias = state.newest_bias
        return replace(
            state,
            self_attention_bias=bias,
            newest_bias=newest_bias if bias.size(1) == k else _diagonal_bias(bias, bias.size(1)),
            layers=tuple(layer.reorder(rows) for layer in state.layers),
        )

    def _keep_sentences(self, sentences: RemainingRows) -> TransformerState:
        return replace(
            self,
            position=sentences.move(self.position),
            self_attention_bias=sentences.move(self.self_attention_bias),
            layers=tuple(layer.keep_sentences(sentences, self.length) for layer in self.layers),
            first_slots=tuple(self.first_slots[index] for index in sentences.indices),
        )

    def with_newest_slots(self) -> TransformerState:
        """Return the state with K more used slots, one for the newest token of each hypothesis.

        Drop the leading slots that belong to no sentence if all slots are used. If there are too
        few of them, double the capacity.
        """
        state = self
        k, capacity = self.self_attention_bias.shape[1:]
        if self.length + k > capacity:
            begin = min(self.first_slots)
            if self.length - begin + k > capacity:
                capacity = 2 * capacity  # enough, because k <= capacity
            state = self._drop_slots(begin, capacity)
        length = state.length + k
        state.self_attention_bias[:, :, state.length : length] = state.newest_bias
        newest_slots, device = None, self.position.device
        if is_launch_bound(device.type):
            newest_slots = torch.arange(state.length, length, device=device)
        return replace(state, length=length, newest_slots=newest_slots)

    def pad_for_compiled_step(self, sentences: int, rows: int) -> TransformerState:
        """Return the state for more sentences, which attend to all slots.

        Attention to no slot would write NaN to rows that sentences may join. With indices of the
        newest slots, the step does not depend on the length.
        """
        return replace(
            self,
            position=pad_rows(self.position, sentences),
            self_attention_bias=pad_rows(self.self_attention_bias, sentences),
            layers=tuple(layer.pad_for_compiled_step(sentences) for layer in self.layers),
            length=self.length if self.newest_slots is None else 0,
            first_slots=(),
        )

    def after_compiled_step(self, padded: TransformerState, rows: int) -> TransformerState:
        """Return the state after a step; the caches have changed in place."""
        sentences = len(self.position)
        layers = zip(self.layers, padded.layers, strict=True)
        return replace(
            self,
            position=padded.position[:sentences],
            layers=tuple(
                SSRUState(new.cell[:sentences]) if isinstance(new, SSRUState) else old
                for old, new in layers
            ),
        )

    def join(self, other: TransformerState) -> TransformerState:
        """Return the hypotheses of both states, those of `other` last.

        If most leading slots belong to no sentence, drop them first: attention reads all slots.
        """
        capacity = self.self_attention_bias.size(2)
        begin = min(self.first_slots)
        state = self._drop_slots(begin, capacity) if begin > self.length // 2 else self
        length = max(state.length, other.length)
        capacity = max(capacity, static_slots(length, self.position.device.type))
        pairs: Any = zip(state.layers, other.layers, strict=True)
        return replace(
            state,
            position=concat_values(state.position, other.position),
            self_attention_bias=concat_values(
                state._bias_of_slots(length, capacity), other._bias_of_slots(length, capacity)
            ),
            layers=tuple(
                layer.add_sentences(other_layer, state.length, other.length)
                for layer, other_layer in pairs
            ),
            length=length,
            first_slots=tuple(
                slot + length - part.length for part in (state, other) for slot in part.first_slots
            ),
        )

    def _drop_slots(self, begin: int, capacity: int) -> TransformerState:
        """Return the state without the slots before `begin`, with another capacity."""
        length = self.length - begin
        return replace(
            self,
            self_attention_bias=self._bias_of_slots(length, capacity),
            layers=tuple(layer.reallocate(begin, self.length, capacity) for layer in self.layers),
            length=length,
            first_slots=tuple(slot - begin for slot in self.first_slots),
        )

    def _bias_of_slots(self, length: int, capacity: int) -> Tensor:
        """Return the bias B x K x capacity in which the last used slot is slot `length` - 1."""
        bias = self.self_attention_bias[:, :, : self.length]
        return F.pad(bias, (length - self.length, capacity - length), value=-math.inf)


def _diagonal_bias(like: Tensor, k: int) -> Tensor:
    """Return K x K: 0 on the diagonal, else -inf."""
    is_other = torch.eye(k, dtype=torch.bool, device=like.device).logical_not()
    return like.new_zeros(k, k).masked_fill(is_other, -math.inf)
