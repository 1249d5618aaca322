"""What search, training, scoring and explaining know of a model: a few verbs, no architecture.

Shapes: B sentences, S/T source/target length, N = B x beam rows, D width, H heads, L layers,
V vocabulary. Masks are bool, True = real token.

The N rows of a decoder state stand in B groups of equal size, in the order of the memory's rows, so
row n belongs to sentence n // (N / B). Then attention of a beam's rows over one sentence is the
same product as attention of T target positions, and keys are never copied a beam wide.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any, Generic, Self, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nmt.models.layers import OutputProjection


@dataclass(frozen=True)
class BatchedTensors:
    """A bundle of tensors, tuples or bundles of them, whose first dimension is one row each."""

    def _map(self, change: Callable[[Tensor], Tensor]) -> Self:
        return replace(
            self,
            **{field.name: _changed(getattr(self, field.name), change) for field in fields(self)},
        )

    def select(self, rows: Tensor) -> Self:
        """Return the bundle of these rows, in this order (repeats allowed)."""
        return self._map(lambda tensor: tensor.index_select(0, rows))

    def keep(self, rows: Tensor) -> Self:
        """Return what `select` returns, in the place of this bundle, which is dead afterwards.

        Rows that move must come from beyond the last that is kept, into the place of one that is
        not. Costs little where most stay where they are.
        """
        moved = moves(rows)
        return self._map(lambda tensor: kept(tensor, moved, len(rows)))

    def join(self, other: Self) -> Self:
        """Return the rows of both, those of `other` last; the narrower are padded with zeros."""
        both = {
            field.name: (getattr(self, field.name), getattr(other, field.name))
            for field in fields(self)
        }
        return replace(self, **{name: joined(*pair) for name, pair in both.items()})

    def clone(self) -> Self:
        """Return a copy that later steps do not touch."""
        return self._map(lambda tensor: tensor.clone())


Moves = tuple[Tensor, Tensor]
"""Where rows go to and where they come from."""


def moves(rows: Tensor) -> Moves:
    """Return the places of `rows` that do not hold their row yet, and those rows."""
    places = (rows != torch.arange(len(rows), device=rows.device)).nonzero()[:, 0]
    return places, rows[places]


def kept(tensor: Tensor, moved: Moves, count: int) -> Tensor:
    """Move rows within a tensor and return a view of the first `count`."""
    places, rows = moved
    tensor[places] = tensor[rows]
    return tensor[:count]


def _changed(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Change every tensor in `value`; what holds none stays."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, tuple):
        return tuple(_changed(part, change) for part in value)
    return value._map(change) if isinstance(value, BatchedTensors) else value


def joined(one: Any, other: Any) -> Any:
    """Stack two values of like kind; of two numbers the larger stands for both."""
    if isinstance(one, Tensor):
        shape = list(map(max, one.shape[1:], other.shape[1:]))
        return torch.cat([_widened(one, shape), _widened(other, shape)])
    if isinstance(one, tuple):
        return tuple(joined(*parts) for parts in zip(one, other, strict=True))
    if isinstance(one, BatchedTensors):
        return one.join(other)
    return one if one is None else max(one, other)


def _widened(tensor: Tensor, shape: list[int]) -> Tensor:
    """Pad a tensor with zeros to this shape of a row."""
    missing = [wanted - size for wanted, size in zip(shape, tensor.shape[1:], strict=True)]
    if not any(missing):
        return tensor
    return F.pad(tensor, [n for size in reversed(missing) for n in (0, size)])


@dataclass(frozen=True)
class Memory(BatchedTensors):
    """What the decoder may look at: one row a sentence."""

    mask: Tensor
    """B x S."""


@dataclass(frozen=True)
class DecoderState(BatchedTensors):
    """What the decoder knows between two steps: one row a hypothesis.

    A state is owned: `step` and `select` may overwrite it; the one passed in is dead afterwards.
    """

    def select(self, rows: Tensor, sentences: Tensor | None = None) -> Self:
        """Return the state that goes on from these rows, each from one of its own sentence's.

        They may be more than before, as many for each sentence.

        `sentences` are those that remain, in this order; None for all of them.
        """
        return super().select(rows)


@dataclass(frozen=True)
class Trace:
    """Attention laid open; made only when asked for."""

    scores: Tensor
    """L x H x N x T x S, before the softmax; -inf on padding and outside a window."""
    softmax: Tensor
    """L x H x N x T x S, each row sums to one."""
    weights: Tensor
    """L x H x N x T x S, what forms the context: the softmax, or that times local_p's Gaussian."""
    context: Tensor
    """L x N x T x D."""
    layer: int
    """The layer that aligns best, counted from 0."""

    @property
    def alignment(self) -> Tensor:
        """N x T x S: the weights of `layer`, the mean of its heads."""
        return self.weights[self.layer].mean(0)

    @property
    def log_alignment(self) -> Tensor:
        """N x T x S: its logarithm, with a gradient however small a weight is.

        Below UNSEEN where a head sees nothing (padding, or outside a window).
        """
        layer = self.layer
        scores, softmax, weights = self.scores[layer], self.softmax[layer], self.weights[layer]
        tiny = torch.finfo(torch.float32).tiny
        gaussian = weights.clamp_min(tiny).log() - softmax.clamp_min(tiny).log()
        by_head = (scores.log_softmax(-1) + gaussian).clamp_min(2 * MIN_LOG_WEIGHT)
        return by_head.logsumexp(0) - math.log(len(by_head))


MIN_LOG_WEIGHT = -1e4
"""A log-weight that nothing in sight has."""

M = TypeVar("M", bound=Memory)
S = TypeVar("S", bound=DecoderState)


class Model(nn.Module, ABC, Generic[M, S]):
    """An encoder-decoder. `output` turns its hidden vectors into logits or a loss."""

    output: OutputProjection
    recompute = False
    """Whether layers run again in the backward pass, to keep less until then, if they can."""

    def source_modules(self) -> list[nn.Module]:
        """Return the modules that process each source token once; the FLOP count uses them."""
        return []

    def sentence_modules(self) -> list[nn.Module]:
        """Return the modules that process one vector per sentence; the FLOP count ignores them."""
        return []

    @abstractmethod
    def encode(self, src: Tensor, src_len: Tensor) -> M:
        """Encode B x S token ids whose true lengths are `src_len` (B, on the CPU)."""

    @abstractmethod
    def decode(self, memory: M, tgt_in: Tensor, trace: bool = False) -> tuple[Tensor, Trace | None]:
        """Teacher forcing: B x T target ids, bos first, to B x T x D_out hidden vectors.

        Position t sees target tokens up to and including `tgt_in[:, t]`.
        """

    @abstractmethod
    def start(self, memory: M, rows: int, max_len: int) -> S:
        """Return the state before the first token, `rows` hypotheses a sentence, N = B x rows.

        `max_len` is the largest number of steps that will follow.
        """

    @abstractmethod
    def step(
        self, tokens: Tensor, state: S, memory: M, trace: bool = False
    ) -> tuple[Tensor, S, Trace | None]:
        """Take the N newest tokens in; return N x D_out hidden vectors and the next state."""


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
