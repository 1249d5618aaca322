"""The interface of all models.

Search, training, scoring and explanation use only this interface, not an architecture.

Shapes: B sentences, S/T source/target length, N = B x K rows of K hypotheses per sentence, D width,
H heads, L layers, V vocabulary. Masks are bool; True marks a real token.

Row n of a decoder state belongs to sentence n // K. Attention of the K rows over one sentence is
the same product as attention of T target positions, so keys are not copied for each hypothesis.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any, Generic, NamedTuple, Self, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nmt.models.layers import OutputProjection


@dataclass(frozen=True)
class BatchedTensors:
    """A dataclass of tensors that share their first dimension: one row per sentence or hypothesis.

    Fields may also be tuples of tensors, nested BatchedTensors, numbers or None.
    """

    def _map(self, function: Callable[[Tensor], Tensor]) -> Self:
        return replace(
            self,
            **{
                field.name: _map_tensors(getattr(self, field.name), function)
                for field in fields(self)
            },
        )

    def select(self, rows: Tensor) -> Self:
        """Return copies of these rows, in this order; rows may repeat."""
        return self._map(lambda tensor: tensor.index_select(0, rows))

    def keep(self, remaining: RemainingRows) -> Self:
        """Return the remaining rows in the memory of this object, which becomes invalid.

        Only rows that change their index are copied.
        """
        return self._map(remaining.move)

    def join(self, other: Self) -> Self:
        """Return the rows of both, those of `other` last; pad narrower tensors with zeros."""
        return replace(
            self,
            **{
                field.name: concat_values(getattr(self, field.name), getattr(other, field.name))
                for field in fields(self)
            },
        )

    def clone(self) -> Self:
        """Return a copy that later decoding steps do not change."""
        return self._map(lambda tensor: tensor.clone())

    def pad(self, rows: int) -> Self:
        """Return the object with zeros in additional rows, up to this number of rows."""
        return self._map(lambda tensor: pad_rows(tensor, rows))


class RemainingRows(NamedTuple):
    """The rows that stay in a batch, in their new order."""

    indices: tuple[int, ...]
    """Index of each row before."""
    on_device: Tensor
    """The same as a tensor."""
    targets: Tensor
    """Indices that rows move to."""
    origins: Tensor
    """Indices that these rows come from."""

    @classmethod
    def of(cls, indices: Sequence[int], device: torch.device) -> RemainingRows:
        """Return the rows with these indices.

        A row may move only from an index of at least `len(indices)` to that of a removed row.
        """
        targets = [target for target, origin in enumerate(indices) if target != origin]
        origins = [indices[target] for target in targets]
        lists = (indices, targets, origins)
        tensors = (torch.tensor(rows, dtype=torch.int64) for rows in lists)
        return cls(tuple(indices), *(t.to(device, non_blocking=True) for t in tensors))

    def move(self, tensor: Tensor) -> Tensor:
        """Move rows within a tensor and return a view of the remaining rows."""
        if len(self.targets):
            tensor.index_copy_(0, self.targets, tensor.index_select(0, self.origins))
        return tensor[: len(self.indices)]


def _map_tensors(value: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """Apply a function to every tensor in a field's value."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, tuple):
        return tuple(_map_tensors(item, function) for item in value)
    return value._map(function) if isinstance(value, BatchedTensors) else value


def concat_values(first: Any, second: Any) -> Any:
    """Concatenate the values of one field of two batches; of two numbers, return the larger."""
    if isinstance(first, Tensor):
        shape = list(map(max, first.shape[1:], second.shape[1:]))
        return torch.cat([_pad_to(first, shape), _pad_to(second, shape)])
    if isinstance(first, tuple):
        return tuple(concat_values(*pair) for pair in zip(first, second, strict=True))
    if isinstance(first, BatchedTensors):
        return first.join(second)
    return first if first is None else max(first, second)


def pad_rows(tensor: Tensor, rows: int) -> Tensor:
    """Pad a tensor with rows of zeros."""
    missing = rows - tensor.size(0)
    return tensor if missing == 0 else F.pad(tensor, [0, 0] * (tensor.dim() - 1) + [0, missing])


def _pad_to(tensor: Tensor, row_shape: list[int]) -> Tensor:
    """Pad the rows of a tensor with zeros to this shape."""
    missing = [size - old_size for size, old_size in zip(row_shape, tensor.shape[1:], strict=True)]
    if not any(missing):
        return tensor
    return F.pad(tensor, [n for size in reversed(missing) for n in (0, size)])


@dataclass(frozen=True)
class Memory(BatchedTensors):
    """Encoder output that the decoder attends to: one row per sentence."""

    mask: Tensor
    """B x S."""

    def pad_for_compiled_step(self, sentences: int) -> Self:
        """Return the memory in sizes that repeat, with zeros for additional sentences.

        All tensors are contiguous, as a step would be compiled again for another layout.
        """
        return self._map(lambda tensor: pad_rows(tensor, sentences).contiguous())


@dataclass(frozen=True)
class DecoderState(BatchedTensors):
    """State of the decoder between two steps: one row per hypothesis.

    `step` and `select` may overwrite the state that they receive, so it is invalid afterwards.
    """

    def select(self, rows: Tensor, sentences: RemainingRows | None = None) -> Self:
        """Return the state in which row i continues `rows[i]`, a row of the same sentence.

        The number of rows per sentence may grow. `sentences` are the remaining sentences; None
        keeps all.
        """
        return super().select(rows)

    def pad_for_compiled_step(self, sentences: int, rows: int) -> Self:
        """Return the state of `rows` rows, with arbitrary values for additional sentences.

        It has no numbers that a compiled step would depend on.
        """
        return self.pad(rows)

    def after_compiled_step(self, padded: Self, rows: int) -> Self:
        """Return the first rows of `padded`, the padded state of this one after a step."""
        return padded._map(lambda tensor: tensor[:rows])


@dataclass(frozen=True)
class Trace:
    """Attention in full detail, computed only on request."""

    scores: Tensor
    """L x H x N x T x S, before the softmax; -inf on padding and outside a window."""
    softmax: Tensor
    """L x H x N x T x S; each row sums to one."""
    weights: Tensor
    """L x H x N x T x S: factors of the context, the softmax times local_p's Gaussian."""
    context: Tensor
    """L x N x T x D."""
    layer: int
    """Index of the layer with the best word alignment."""

    @property
    def alignment(self) -> Tensor:
        """N x T x S: the weights of `layer`, averaged over heads."""
        return self.weights[self.layer].mean(0)

    @property
    def log_alignment(self) -> Tensor:
        """N x T x S: logarithm of `alignment`, with a gradient even if a weight underflows to 0.

        Below MIN_LOG_WEIGHT on padding and outside a window.
        """
        scores = self.scores[self.layer]
        softmax, weights = self.softmax[self.layer], self.weights[self.layer]
        tiny = torch.finfo(torch.float32).tiny
        log_gaussian = weights.clamp_min(tiny).log() - softmax.clamp_min(tiny).log()
        by_head = (scores.log_softmax(-1) + log_gaussian).clamp_min(2 * MIN_LOG_WEIGHT)
        return by_head.logsumexp(0) - math.log(len(by_head))


MIN_LOG_WEIGHT = -1e4
"""Lower bound of the log-weight of source positions that are not masked."""

M = TypeVar("M", bound=Memory)
S = TypeVar("S", bound=DecoderState)


class Model(nn.Module, ABC, Generic[M, S]):
    """An encoder-decoder model. `output` turns its hidden vectors into logits or a loss."""

    output: OutputProjection
    activation_checkpointing = False
    """Whether the backward pass recomputes layers to save memory, in models that support it."""
    compiled_parts: list[nn.Module] | None = None
    """The modules that torch.compile compiles in training; None for the whole model.

    Other parts run without compilation, such as a recurrence that cuDNN computes."""

    def source_modules(self) -> list[nn.Module]:
        """Return the modules that process each source token once; the FLOP count uses them."""
        return []

    def sentence_modules(self) -> list[nn.Module]:
        """Return the modules that process one vector per sentence; the FLOP count ignores them."""
        return []

    def components(self) -> dict[str, list[nn.Module]]:
        """Return the modules of encoder, decoder, embeddings and attention, for `train.freeze`.

        The source embedding is the first of the embeddings. Components may overlap: the decoder
        contains the attention over the source, and tied embeddings are also the output projection.
        """
        return {}

    @abstractmethod
    def encode(self, src: Tensor, src_len: Tensor, cut: Tensor | None = None) -> M:
        """Encode B x S token ids of lengths `src_len` (B, on the CPU).

        The embeddings of tokens are zero where the B x S mask `cut` is True.
        """

    @abstractmethod
    def decode(
        self, memory: M, tgt_in: Tensor, trace: bool = False, cut: Tensor | None = None
    ) -> tuple[Tensor, Trace | None]:
        """Return B x T x D hidden vectors with teacher forcing, and the trace on request.

        `tgt_in` are B x T target ids that begin with bos. Position t depends on the tokens up to
        and including `tgt_in[:, t]`. Their embeddings are zero where the B x T mask `cut` is True.
        """

    @abstractmethod
    def start(self, memory: M, rows: int, max_len: int) -> S:
        """Return the state before the first token, with `rows` hypotheses per sentence.

        `max_len` is the maximum number of steps.
        """

    def step(
        self, tokens: Tensor, state: S, memory: M, trace: bool = False
    ) -> tuple[Tensor, S, Trace | None]:
        """Append N tokens; return N x D hidden vectors, the state, and the trace on request."""
        return self.advance(tokens, self.prepare_step(state), memory, trace)

    def prepare_step(self, state: S) -> S:
        """Return the state with memory for another token."""
        return state

    @abstractmethod
    def advance(
        self, tokens: Tensor, state: S, memory: M, trace: bool = False
    ) -> tuple[Tensor, S, Trace | None]:
        """Compute a step of `step` in a prepared state. `decode.compile` compiles this part."""


def token_mask(tokens: Tensor, lengths: Tensor) -> Tensor:
    """Return the B x S mask of the real tokens of B x S token ids.

    `lengths` are on the CPU. From pinned memory, their copy does not block the CPU.
    """
    position = torch.arange(tokens.size(1), device=tokens.device)
    return position < lengths.to(tokens.device, non_blocking=True)[:, None]


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Run the block with dropout off and without gradients, then restore the training mode."""
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(was_training)
