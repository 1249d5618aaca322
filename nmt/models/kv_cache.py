"""Key-value cache and decoder state of the Transformer.

A cache has slots. Each decoding step appends K slots per sentence, one for each hypothesis, and a
token's key and value stay in their slot. A mask marks, for each hypothesis, the slots of its own
tokens. To continue another hypothesis, the search copies a row of the mask and no keys.

Shapes: B sentences, K hypotheses per sentence, N = B x K rows, R >= B allocated sentences,
C slots per sentence (the capacity), G key/value heads, d width of a head.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from nmt.models.interface import (
    BatchedTensors,
    DecoderState,
    RowMoves,
    concat_values,
    find_row_moves,
    move_rows,
)
from nmt.models.recurrent_layers import SSRUState


@dataclass(frozen=True)
class KVCache(BatchedTensors):
    """Keys and values of one decoder layer's self-attention, updated in place.

    Memory is uninitialized in unused slots and in the R - B spare rows for sentences that join.
    """

    keys: Tensor
    """R x G x d x C."""
    values: Tensor
    """R x G x C x d."""
    batch_size: int
    """B."""

    @classmethod
    def allocate(cls, like: Tensor, rows: int, capacity: int, batch_size: int) -> KVCache:
        """Return an empty cache with the heads, width and type of `like`, ... x G x ... x d."""
        values = like.new_empty(rows, like.size(1), capacity, like.size(3))
        return cls(like.new_empty(values.mT.shape), values, batch_size)

    def first_slots(self, end: int) -> tuple[Tensor, Tensor]:
        """Return views of the first slots: keys B x G x d x end and values B x G x end x d."""
        return self.keys[: self.batch_size, ..., :end], self.values[: self.batch_size, :, :end]

    def append(self, begin: int, keys: Tensor, values: Tensor, first_row: int = 0) -> None:
        """Write keys and values into slots from `begin` on and rows from `first_row` on."""
        rows, end = slice(first_row, first_row + len(keys)), begin + keys.size(3)
        self.keys[rows, ..., begin:end] = keys
        self.values[rows, :, begin:end] = values

    def reallocate(self, begin: int, end: int, capacity: int) -> KVCache:
        """Return a cache of this capacity that begins with a copy of the slots [begin, end)."""
        keys, values = self.first_slots(end)
        cache = KVCache.allocate(self.values, len(self.values), capacity, self.batch_size)
        cache.append(0, keys[..., begin:], values[:, :, begin:])
        return cache

    def keep_sentences(self, moves: RowMoves, batch_size: int, length: int) -> KVCache:
        """Keep `batch_size` sentences, in place; copy the first `length` slots of moved rows."""
        for tensor in self.first_slots(length):
            move_rows(tensor, moves, batch_size)
        return replace(self, batch_size=batch_size)

    def reorder(self, origin: Tensor) -> KVCache:
        """Return the cache itself: its slots do not depend on which hypothesis continues which."""
        return self

    def add_sentences(self, other: KVCache, length: int, other_length: int) -> KVCache:
        """Return the sentences of both batches, those of `other` last; in place if they fit.

        The lengths are the numbers of used slots. The newest slots of both batches become the same.
        If one batch has used more slots than the other, the other's values in the first slots
        become 0: their attention weight is 0, but 0 x NaN would be NaN. Keys may hold any number,
        because their scores are masked.
        """
        end = max(length, other_length)
        begin, other_begin = end - length, end - other_length
        batch_size, cache = self.batch_size + other.batch_size, self
        if batch_size > len(self.keys) or begin > 0:
            rows, capacity = max(batch_size, len(self.keys)), max(end, self.keys.size(3))
            cache = KVCache.allocate(self.values, rows, capacity, batch_size)
            cache.append(begin, *self.first_slots(length))
            cache.values[: self.batch_size, :, :begin] = 0.0
        cache.append(other_begin, *other.first_slots(other_length), first_row=self.batch_size)
        cache.values[self.batch_size : batch_size, :, :other_begin] = 0.0
        return replace(cache, batch_size=batch_size)


@dataclass(frozen=True)
class TransformerState(DecoderState):
    """State of K hypotheses per sentence.

    All sentences append to the same slots at the same step, even if they began at different steps.
    """

    position: Tensor
    """B: number of tokens so far, which is the position of the next token."""
    self_attention_mask: Tensor
    """B x K x C: which slots hold the hypothesis's own tokens."""
    layers: tuple[KVCache | SSRUState, ...]
    """Cache of each decoder layer."""
    length: int
    """Number of used slots."""

    def select(self, rows: Tensor, sentences: Tensor | None = None) -> TransformerState:
        """Return the state in which row i continues `rows[i]`; see `DecoderState.select`."""
        state = self if sentences is None else self._keep_sentences(sentences)
        batch_size, k, capacity = state.self_attention_mask.shape
        origin = (rows % k).view(batch_size, -1)
        index = origin[:, :, None].expand(-1, -1, capacity)
        return replace(
            state,
            self_attention_mask=state.self_attention_mask.gather(1, index),
            layers=tuple(layer.reorder(origin) for layer in state.layers),
        )

    def _keep_sentences(self, sentences: Tensor) -> TransformerState:
        moves, batch_size = find_row_moves(sentences), len(sentences)
        return replace(
            self,
            position=move_rows(self.position, moves, batch_size),
            self_attention_mask=move_rows(self.self_attention_mask, moves, batch_size),
            layers=tuple(
                layer.keep_sentences(moves, batch_size, self.length) for layer in self.layers
            ),
        )

    def with_free_slots(self) -> TransformerState:
        """Return the state with at least K free slots, for one more step.

        Drop the leading slots that no hypothesis attends to. If there are too few, double the
        capacity.
        """
        k, capacity = self.self_attention_mask.shape[1:]
        if self.length + k <= capacity:
            return self
        is_attended = self.self_attention_mask.any(1).any(0)
        begin = int(is_attended.int().argmax())  # the first True
        if self.length - begin + k > capacity:
            capacity = 2 * capacity  # enough, because k <= capacity
        return self._drop_slots(begin, capacity)

    def join(self, other: TransformerState) -> TransformerState:
        """Return the hypotheses of both states, those of `other` last.

        If most leading slots belong to no sentence, drop them first: attention reads all slots.
        """
        k, capacity = self.self_attention_mask.shape[1:]
        begin = self.length - k * int(self.position.max())
        state = self._drop_slots(begin, capacity) if begin > self.length // 2 else self
        length = max(state.length, other.length)
        capacity = max(capacity, length)
        pairs: Any = zip(state.layers, other.layers, strict=True)
        return replace(
            state,
            position=concat_values(state.position, other.position),
            self_attention_mask=concat_values(
                state._mask_of_slots(length, capacity), other._mask_of_slots(length, capacity)
            ),
            layers=tuple(
                layer.add_sentences(other_layer, state.length, other.length)
                for layer, other_layer in pairs
            ),
            length=length,
        )

    def _drop_slots(self, begin: int, capacity: int) -> TransformerState:
        """Return the state without the slots before `begin`, with another capacity."""
        length = self.length - begin
        return replace(
            self,
            self_attention_mask=self._mask_of_slots(length, capacity),
            layers=tuple(layer.reallocate(begin, self.length, capacity) for layer in self.layers),
            length=length,
        )

    def _mask_of_slots(self, length: int, capacity: int) -> Tensor:
        """Return the mask B x K x capacity in which the last used slot is slot `length` - 1."""
        mask = self.self_attention_mask[:, :, : self.length]
        return F.pad(mask, (length - self.length, capacity - length))
