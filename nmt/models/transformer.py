"""The Transformer (Vaswani et al. 2017), and the SSRU decoder of Kim et al. 2019.

A layer is two or three sublayers, each added to its input: self-attention (in the decoder perhaps
an SSRU in its place), attention over the encoder's states, and a feed-forward net. The norm stands
before each sublayer and once at the end (`norm_place: pre`; Xiong et al. 2020), or after each
sum (`post`, as in the paper).

A decoder state keeps the keys and values of all its hypotheses where they were made, in the slots
of their sentence, and for each living hypothesis the slots of its own tokens. So going on from
another hypothesis moves a row of bits and no keys, and a beam's rows look at one sentence's slots
as target positions look at a source.

Shapes: B sentences, S/T source/target length, Q queries a sentence, N = B x K rows of K hypotheses
each, D = d_model, F = d_ff, H heads, G key/value heads, d = D / H, P positions, L layers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from nmt.config.model_config import TransformerConfig, layer_counts
from nmt.models.interface import (
    BatchedTensors,
    DecoderState,
    Memory,
    Model,
    Moves,
    Trace,
    joined,
    kept,
    moves,
)
from nmt.models.kernels.gradients import for_products, precise
from nmt.models.layers import (
    Dropout,
    OutputProjection,
    dropout,
    dropped_relu,
    jointly,
    make_embedding,
    make_linear,
)

ROTARY_BASE = 10_000.0
"""Longest wavelength of rotary and sinusoidal positions, over 2 pi."""


@dataclass(frozen=True)
class TransformerMemory(Memory):
    """The encoder's states as each decoder layer looks at them."""

    keys: tuple[Tensor, ...]
    """B x G x d x S for each layer: in columns, as a product with a few queries reads them."""
    values: tuple[Tensor, ...]
    """B x G x S x d for each layer."""


@dataclass(frozen=True)
class Slots(BatchedTensors):
    """Keys and values of all tokens of K hypotheses a sentence, where they were made.

    Slots that were never in use hold anything, as do the R - B rows left for sentences to join.
    """

    keys: Tensor
    """R x G x d x P K."""
    values: Tensor
    """R x G x P K x d."""
    count: int
    """B, sentences."""

    @classmethod
    def empty(cls, like: Tensor, rows: int, slots: int, count: int) -> Slots:
        """Return rows of so many slots, with values like these, ... x G x ... x d."""
        values = like.new_empty(rows, like.size(1), slots, like.size(3))
        return cls(like.new_empty(values.mT.shape), values, count)

    def seen(self, end: int) -> tuple[Tensor, Tensor]:
        """View the first slots' keys, B x G x d x end, and values, B x G x end x d."""
        return self.keys[: self.count, ..., :end], self.values[: self.count, :, :end]

    def put(self, begin: int, keys: Tensor, values: Tensor, first: int = 0) -> None:
        """Write keys and values of sentences from the `first` on into the slots from `begin` on."""
        rows, end = slice(first, first + len(keys)), begin + keys.size(3)
        self.keys[rows, ..., begin:end] = keys
        self.values[rows, :, begin:end] = values

    def moved(self, begin: int, end: int, slots: int) -> Slots:
        """Return so many slots, of which the first are these."""
        keys, values = self.seen(end)
        new = Slots.empty(self.values, len(self.values), slots, self.count)
        new.put(0, keys[..., begin:], values[:, :, begin:])
        return new

    def of(self, moved: Moves, count: int, used: int) -> Slots:
        """Keep `count` sentences, in place; of those that move, the first `used` slots do."""
        for part in self.seen(used):
            kept(part, moved, count)
        return replace(self, count=count)

    def reorder(self, origin: Tensor) -> Slots:
        """Hypotheses go on from others: their slots stay where they are."""
        return self

    def take_in(self, other: Slots, used: int, its_used: int) -> Slots:
        """Return the slots of other sentences below these, in place where there are rows for them.

        A sentence's weight on slots that only others use is 0, so these must not hold NaN. Of
        keys the scores are masked, whatever they are.
        """
        count, slots, new = self.count + other.count, self.keys.size(3), self
        if count > len(self.keys) or its_used > slots:
            new = Slots.empty(self.values, count, max(slots, its_used), count)
            new.put(0, *self.seen(used))
            new.values[: self.count, :, used:its_used] = 0.0
        new.put(0, *other.seen(its_used), first=self.count)
        new.values[self.count : count, :, its_used:used] = 0.0
        return replace(new, count=count)


@dataclass(frozen=True)
class Cell(BatchedTensors):
    """What an SSRU knows of K hypotheses a sentence."""

    cell: Tensor
    """B x K x D."""

    def of(self, moved: Moves, count: int, used: int) -> Cell:
        """Keep `count` sentences, in place."""
        return Cell(kept(self.cell, moved, count))

    def moved(self, begin: int, end: int, slots: int) -> Cell:
        """There are no slots to move."""
        return self

    def reorder(self, origin: Tensor) -> Cell:
        """Each hypothesis goes on from the one at its B x K `origin`."""
        return Cell(self.cell.gather(1, origin[:, :, None].expand(-1, -1, self.cell.size(2))))

    def take_in(self, other: Cell, used: int, its_used: int) -> Cell:
        """Return the cells of other sentences below these."""
        return self.join(other)


@dataclass(frozen=True)
class TransformerState(DecoderState):
    """What K hypotheses a sentence have behind them.

    All take each step together, so its K tokens are in the same slots of every sentence, wherever
    its own first token stands.
    """

    position: Tensor
    """B, the number of tokens taken in."""
    past: Tensor
    """B x K x P K, which slots hold a hypothesis's own tokens."""
    layers: tuple[Slots | Cell, ...]
    """What each decoder layer keeps."""
    used: int
    """Slots that are in use."""

    def select(self, rows: Tensor, sentences: Tensor | None = None) -> TransformerState:
        """Go on from `rows`; the slots stay where they are, but for sentences that leave."""
        state = self if sentences is None else self._of(sentences)
        count, k, room = state.past.shape
        origin = (rows % k).view(count, -1)
        moved = origin[:, :, None].expand(-1, -1, room)
        layers = tuple(layer.reorder(origin) for layer in state.layers)
        return replace(state, past=state.past.gather(1, moved), layers=layers)

    def _of(self, sentences: Tensor) -> TransformerState:
        moved, count = moves(sentences), len(sentences)
        return replace(
            self,
            position=kept(self.position, moved, count),
            past=kept(self.past, moved, count),
            layers=tuple(layer.of(moved, count, self.used) for layer in self.layers),
        )

    def with_room(self) -> TransformerState:
        """Return the state with room for one more step.

        Slots of sentences that have left go; where there are none, there will be twice as many.
        """
        k, room = self.past.shape[1:]
        if self.used + k <= room:
            return self
        begin = int(self.past.any(1).any(0).int().argmax())
        slots = room if self.used - begin + k <= room else 2 * room
        return replace(
            self,
            past=F.pad(self.past[:, :, begin : self.used], (0, slots - (self.used - begin))),
            layers=tuple(layer.moved(begin, self.used, slots) for layer in self.layers),
            used=self.used - begin,
        )

    def join(self, other: TransformerState) -> TransformerState:
        """Take other sentences in."""
        pairs: Any = zip(self.layers, other.layers, strict=True)
        room = max(self.past.size(2), other.used)
        return replace(
            self,
            position=joined(self.position, other.position),
            past=joined(self.past, other.past[:, :, :room]),
            layers=tuple(mine.take_in(its, self.used, other.used) for mine, its in pairs),
            used=max(self.used, other.used),
        )


class Looked(NamedTuple):
    """What attention over the source gave in one layer, for Q queries of each of B sentences."""

    scores: Tensor
    """B x H x Q x S, -inf on padding."""
    weights: Tensor
    """B x H x Q x S."""
    context: Tensor
    """B x Q x D, the heads' contexts side by side."""


def angles(position: Tensor, width: int) -> Tensor:
    """Return ... x width / 2 angles of positions: p / 10000^(2 i / width)  (section 3.5)."""
    exponent = torch.arange(0, width, 2, device=position.device, dtype=torch.float32) / width
    return position[..., None].float() * ROTARY_BASE**-exponent


def sinusoidal_positions(position: Tensor, width: int) -> Tensor:
    """Return ... x width position vectors, sines in the first half and cosines in the second."""
    angle = angles(position, width)
    return torch.cat([angle.sin(), angle.cos()], -1)


def rotate(heads: Tensor, position: Tensor) -> Tensor:
    """Rotate B x H x Q x d queries or keys by their positions, B x Q or Q  (Su et al. 2021).

    Entry i and entry i + d / 2 are turned together.
    """
    angle = angles(position, heads.size(-1))
    if angle.dim() == 3:
        angle = angle[:, None]
    cos, sin = angle.cos().to(heads.dtype), angle.sin().to(heads.dtype)
    one, other = heads.chunk(2, -1)
    return torch.cat([one * cos - other * sin, other * cos + one * sin], -1)


class MultiHeadAttention(nn.Module):
    """Attention in H heads, of which H / G share keys and values (Ainslie et al. 2023)."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        width = config.d_model
        self.heads, self.groups = config.num_heads, config.num_kv_heads or config.num_heads
        self.d_head = width // self.heads
        self.rate = config.attention_dropout
        self.query = make_linear(width, width)
        # no bias: it would add the same to all scores of a query, which the softmax is blind to
        self.key = make_linear(width, self.groups * self.d_head, bias=False)
        self.value = make_linear(width, self.groups * self.d_head)
        self.output = make_linear(width, width)

    def queries(self, states: Tensor) -> Tensor:
        """Return B x H x Q x d queries of B x Q x D states."""
        return split(self.query(states), self.heads)

    def project(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Return the keys, B x G x d x S, and values, B x G x S x d, of B x S x D states."""
        key, value = jointly(states, self.key, self.value)
        return split(key, self.groups).mT, split(value, self.groups)

    def forward(
        self,
        query: Tensor,
        keys: Tensor,
        values: Tensor,
        mask: Tensor | None = None,
        causal: bool = False,
    ) -> Tensor:
        """Return what B x H x Q x d queries see, B x Q x D; `mask` broadcasts to B x H x Q x S."""
        if self.training and self.rate > 0:
            if causal:
                mask = query.new_ones(query.size(2), keys.size(3), dtype=torch.bool).tril()
            return self.few(query, keys, values, mask)
        seen = F.scaled_dot_product_attention(
            query, keys.mT, values, mask, is_causal=causal, enable_gqa=self.groups < self.heads
        )
        return self.output(join(seen))  # type: ignore[no-any-return]

    def few(self, query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
        """Return the same by two plain products: for a step's few queries, or with dropout.

        On a CPU a step's attention takes a third of the time so (benchmarks/LOG.md).
        """
        weights = precise(self.score(query, keys, mask)).softmax(-1).to(query.dtype)
        if self.training and self.rate > 0:
            weights = dropout(weights, self.rate)
        return self.output(join(self.mix(weights, values)))  # type: ignore[no-any-return]

    def look(self, query: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Looked:
        """Return the same laid open: scores, weights and contexts, without dropout."""
        scores = precise(self.score(query, keys, mask))
        weights = scores.softmax(-1)
        return Looked(scores, weights, join(self.mix(weights.to(values.dtype), values)))

    def score(self, query: Tensor, keys: Tensor, mask: Tensor | None) -> Tensor:
        """Return q . k / sqrt(d), B x H x Q x S  (section 3.2.1); -inf where the mask is False."""
        count, heads, queries, width = query.shape
        grouped = (query * width**-0.5).reshape(count, self.groups, -1, width)
        scores: Tensor = (grouped @ keys).view(count, heads, queries, -1)
        return scores if mask is None else scores.masked_fill(~mask, -math.inf)

    def mix(self, weights: Tensor, values: Tensor) -> Tensor:
        """Return the B x H x Q x d sums of values, B x G x S x d, by B x H x Q x S weights."""
        grouped = weights.reshape(weights.size(0), self.groups, -1, weights.size(3))
        return (grouped @ values).view(*weights.shape[:3], -1)


def split(states: Tensor, heads: int) -> Tensor:
    """View B x Q x (H d) as B x H x Q x d."""
    return states.view(*states.shape[:-1], heads, -1).transpose(1, 2)


def join(heads: Tensor) -> Tensor:
    """Turn B x H x Q x d into B x Q x (H d)."""
    return heads.transpose(1, 2).flatten(2)


class Place(NamedTuple):
    """Where the newest tokens of K hypotheses a sentence stand."""

    position: Tensor
    """B x K, counted from 0."""
    slot: int
    """The first of their K slots."""
    past: Tensor
    """B x 1 x K x slots in use: which hold a hypothesis's own tokens, the newest too."""


class SelfAttention(MultiHeadAttention):
    """A decoder layer's past as keys and values of all its tokens."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__(config)
        self.rotary = config.positions == "rotary"

    def heads_of(self, states: Tensor, position: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values of B x Q x D states at positions, B x Q or Q."""
        query, key, value = jointly(states, self.query, self.key, self.value)
        query, keys = split(query, self.heads), split(key, self.groups).mT
        values = split(value, self.groups)
        if self.rotary:
            query, keys = rotate(query, position), rotate(keys.mT, position).mT
        return query, keys, values

    def within(
        self, states: Tensor, position: Tensor, mask: Tensor | None = None, causal: bool = False
    ) -> Tensor:
        """Return what each of B x Q x D states sees among them all; see `forward` for the mask."""
        return self(*self.heads_of(states, position), mask, causal)  # type: ignore[no-any-return]

    def whole(self, states: Tensor) -> Tensor:
        """Return what each of B x T x D states sees among those up to itself."""
        return self.within(states, torch.arange(states.size(1), device=states.device), causal=True)

    def start(self, keys: Tensor, rows: int, max_len: int) -> Slots:
        """Return the empty slots of `rows` hypotheses a sentence, like B x G x d x S `keys`."""
        return Slots.empty(keys.mT, len(keys), max_len * rows, len(keys))

    def step(self, states: Tensor, slots: Slots, place: Place) -> tuple[Tensor, Slots]:
        """Take the newest tokens in, B x K x D; return what they see, and the slots with them."""
        query, keys, values = self.heads_of(states, place.position)
        slots.put(place.slot, keys, values)
        return self.few(query, *slots.seen(place.past.size(-1)), place.past), slots


class SSRU(nn.Module):
    """Simpler simple recurrent unit: a decoder layer's past in one vector.

    f_t = sigmoid(W_f x_t + b),  c_t = f_t c_{t-1} + (1 - f_t) W x_t,  o_t = relu(c_t)
    (Kim et al. 2019, section 3.1).
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.width = config.d_model
        self.forget = make_linear(config.d_model, config.d_model)
        self.value = make_linear(config.d_model, config.d_model, bias=False)

    def whole(self, states: Tensor) -> Tensor:
        """Return the outputs of B x T x D states, each from those up to itself."""
        forget, new = self._gates(states)
        cell = torch.zeros_like(new[:, 0])
        cells = []
        for forget_t, new_t in zip(forget.unbind(1), new.unbind(1), strict=True):
            cell = torch.addcmul(new_t, forget_t, cell)
            cells.append(cell)
        return torch.stack(cells, 1).relu().to(states.dtype)

    def start(self, keys: Tensor, rows: int, max_len: int) -> Cell:
        """Return the first c of `rows` hypotheses a sentence, in fp32."""
        return Cell(keys.new_zeros(keys.size(0), rows, self.width, dtype=torch.float32))

    def step(self, states: Tensor, before: Cell, place: Place) -> tuple[Tensor, Cell]:
        """Take the newest tokens in, B x K x D; return their outputs and the next c."""
        forget, new = self._gates(states)
        cell = torch.addcmul(new, forget, before.cell)
        return cell.relu().to(states.dtype), Cell(cell)

    def _gates(self, states: Tensor) -> tuple[Tensor, Tensor]:
        forget = precise(self.forget(states)).sigmoid()
        return forget, (1 - forget) * precise(self.value(states))


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "swiglu": F.silu,
}


class FeedForward(nn.Module):
    """W_2 a(W_1 x), or with swiglu W_2 (silu(W_1 x) * W_3 x)  (Shazeer 2020, eq. 6)."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.into = make_linear(config.d_model, config.d_ff)
        gated = config.activation == "swiglu"
        self.gate = make_linear(config.d_model, config.d_ff) if gated else None
        self.out = make_linear(config.d_ff, config.d_model)
        self.activate = ACTIVATIONS[config.activation]
        self.dropout = Dropout(config.activation_dropout)

    def forward(self, states: Tensor) -> Tensor:
        """Return ... x D for ... x D."""
        if self.activate is F.relu and self.training and self.dropout.rate > 0:
            return self.out(dropped_relu(self.into(states), self.dropout.rate))  # type: ignore[no-any-return]
        inner = self.activate(self.into(states))
        if self.gate is not None:
            inner = inner * self.gate(states)
        return self.out(self.dropout(inner))  # type: ignore[no-any-return]


def make_norm(config: TransformerConfig) -> nn.Module:
    """Layer norm (Ba et al. 2016) or RMSNorm (Zhang & Sennrich 2019)."""
    if config.norm == "rms":
        return nn.RMSNorm(config.d_model, eps=1e-6)
    return nn.LayerNorm(config.d_model)


class ResidualConnection(nn.Module):
    """The norm, dropout and sum around a sublayer f.

    pre: x + f(norm(x));  post: norm(alpha x + f(x)), where alpha is 1, or DeepNorm's.
    """

    def __init__(self, config: TransformerConfig, alpha: float) -> None:
        super().__init__()
        self.norm = make_norm(config)
        self.pre = config.norm_place == "pre"
        self.alpha = alpha
        self.dropout = Dropout(config.dropout)

    def enter(self, states: Tensor) -> Tensor:
        """Return what f is given."""
        return for_products(self.norm(states) if self.pre else states)

    def leave(self, states: Tensor, change: Tensor) -> Tensor:
        """Return the sum of the sublayer's input and what f made."""
        change = self.dropout(change)
        if self.pre:
            return states + change
        return self.norm(torch.add(change, states, alpha=self.alpha))  # type: ignore[no-any-return]


class DeepNorm(NamedTuple):
    """Factors that keep deep post-norm models stable (Wang et al. 2022, table 1)."""

    alpha: float
    """Of a sublayer's input, in the sum."""
    beta: float
    """Of the first weights of values, outputs and feed-forward nets."""


def deep_norm(config: TransformerConfig) -> tuple[DeepNorm, DeepNorm]:
    """Return the factors of encoder and decoder, for N and M layers; all 1 without deepnorm."""
    if not config.deepnorm:
        return DeepNorm(1.0, 1.0), DeepNorm(1.0, 1.0)
    n, m = layer_counts(config)
    return (
        DeepNorm(0.81 * (n**4 * m) ** (1 / 16), 0.87 * (n**4 * m) ** (-1 / 16)),
        DeepNorm((3 * m) ** (1 / 4), (12 * m) ** (-1 / 4)),
    )


def scale_down(layer: nn.Module, beta: float) -> None:
    """Scale the first weights of values, outputs and feed-forward nets by DeepNorm's beta."""
    scaled = (".value.", ".output.", ".into.", ".gate.", ".out.")
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            if name.endswith("weight") and any(part in f".{name}" for part in scaled):
                parameter.mul_(beta)


class EncoderLayer(nn.Module):
    """Self-attention, then the feed-forward net."""

    def __init__(self, config: TransformerConfig, factors: DeepNorm) -> None:
        super().__init__()
        self.attention = SelfAttention(config)
        self.attention_sum = ResidualConnection(config, factors.alpha)
        self.feed_forward = FeedForward(config)
        self.feed_forward_sum = ResidualConnection(config, factors.alpha)
        scale_down(self, factors.beta)

    def forward(self, states: Tensor, position: Tensor, mask: Tensor) -> Tensor:
        """Return B x S x D for B x S x D; `mask` is B x 1 x 1 x S."""
        seen = self.attention.within(self.attention_sum.enter(states), position, mask)
        states = self.attention_sum.leave(states, seen)
        inner = self.feed_forward(self.feed_forward_sum.enter(states))
        return self.feed_forward_sum.leave(states, inner)


class DecoderLayer(nn.Module):
    """Self-attention or SSRU, attention over the source, then the feed-forward net."""

    def __init__(self, config: TransformerConfig, factors: DeepNorm) -> None:
        super().__init__()
        self.past = SSRU(config) if config.decoder == "ssru" else SelfAttention(config)
        self.past_sum = ResidualConnection(config, factors.alpha)
        self.cross = MultiHeadAttention(config)
        self.cross_sum = ResidualConnection(config, factors.alpha)
        self.feed_forward = FeedForward(config)
        self.feed_forward_sum = ResidualConnection(config, factors.alpha)
        scale_down(self, factors.beta)

    def forward(self, states: Tensor, source: Source, trace: bool) -> tuple[Tensor, Looked | None]:
        """Take all T target positions in at once: B x T x D to B x T x D."""
        seen = self.past.whole(self.past_sum.enter(states))
        return self._rest(self.past_sum.leave(states, seen), source, trace)

    def step(
        self, states: Tensor, before: Any, place: Place, source: Source, trace: bool
    ) -> tuple[Tensor, Any, Looked | None]:
        """Take the newest tokens of all rows in, B x K x D; return B x K x D and what is kept."""
        seen, after = self.past.step(self.past_sum.enter(states), before, place)
        states, looked = self._rest(self.past_sum.leave(states, seen), source, trace, few=True)
        return states, after, looked

    def self_attention(self) -> SelfAttention:
        """Return the self-attention of a layer that knows its past by it."""
        assert isinstance(self.past, SelfAttention)
        return self.past

    def _rest(
        self, states: Tensor, source: Source, trace: bool, few: bool = False
    ) -> tuple[Tensor, Looked | None]:
        """Look at the source and feed forward, for B x Q x D; lay attention open on demand."""
        query = self.cross.queries(self.cross_sum.enter(states))
        looked = self.cross.look(query, *source) if trace else None
        if looked is not None:
            found = self.cross.output(looked.context)
        else:
            found = self.cross.few(query, *source) if few else self.cross(query, *source)
        states = self.cross_sum.leave(states, found)
        inner = self.feed_forward(self.feed_forward_sum.enter(states))
        return self.feed_forward_sum.leave(states, inner), looked


class Source(NamedTuple):
    """The source as one decoder layer looks at it."""

    keys: Tensor
    """B x G x d x S."""
    values: Tensor
    """B x G x S x d."""
    mask: Tensor
    """B x 1 x 1 x S."""


class TokenEmbedding(nn.Module):
    """Token vectors, scaled by sqrt(D), plus position vectors (sections 3.4 and 3.5)."""

    def __init__(self, config: TransformerConfig, embedding: nn.Embedding) -> None:
        super().__init__()
        self.embedding = embedding
        self.width = config.d_model
        self.positions = config.positions
        self.dropout = Dropout(config.dropout)
        self.longest = config.max_positions
        if self.positions == "learned":
            self.position = nn.Embedding(self.longest, self.width)
            nn.init.normal_(self.position.weight, std=self.width**-0.5)

    def forward(self, tokens: Tensor, position: Tensor) -> Tensor:
        """Return ... x D for token ids at positions; learned ones are shared beyond the last."""
        states = self.embedding(tokens) * math.sqrt(self.width)
        if self.positions == "sinusoidal":
            states = states + sinusoidal_positions(position, self.width).to(states.dtype)
        elif self.positions == "learned":
            states = states + self.position(position.clamp_max(self.longest - 1))
        return self.dropout(states)  # type: ignore[no-any-return]


class TransformerModel(Model[TransformerMemory, TransformerState]):
    """Encoder, decoder and output behind the verbs of `Model`."""

    def __init__(self, config: TransformerConfig, src_vocab: int, tgt_vocab: int, pad: int) -> None:
        super().__init__()
        width = config.d_model
        tgt_embedding = make_embedding(tgt_vocab, width, pad)
        shared = config.tie == "all"
        src_embedding = tgt_embedding if shared else make_embedding(src_vocab, width, pad)
        into, out = deep_norm(config)
        n, m = layer_counts(config)
        pre = config.norm_place == "pre"
        self.src = TokenEmbedding(config, src_embedding)
        self.encoder = nn.ModuleList(EncoderLayer(config, into) for _ in range(n))
        self.encoder_norm = make_norm(config) if pre else nn.Identity()
        self.tgt = TokenEmbedding(config, tgt_embedding)
        self.decoder = nn.ModuleList(DecoderLayer(config, out) for _ in range(m))
        self.decoder_norm = make_norm(config) if pre else nn.Identity()
        self.output = OutputProjection(
            width, tgt_vocab, tgt_embedding if config.tie != "none" else None
        )

    def source_modules(self) -> list[nn.Module]:
        cross = [layer.cross for layer in self.decoder_layers()]
        return [*self.encoder, *(part for module in cross for part in (module.key, module.value))]

    def encode(self, src: Tensor, src_len: Tensor) -> TransformerMemory:
        mask = (torch.arange(src.size(1)) < src_len[:, None]).to(src.device)
        position = torch.arange(src.size(1), device=src.device)
        states = self.src(src, position)
        for layer in self.encoder_layers():
            states = self._run(layer, states, position, mask[:, None, None])
        states = for_products(self.encoder_norm(states))
        projected = [layer.cross.project(states) for layer in self.decoder_layers()]
        keys, values = zip(*projected, strict=True)
        if not self.training:
            keys = tuple(each.contiguous() for each in keys)  # columns, for the steps to come
        return TransformerMemory(mask, keys, values)

    def decode(
        self, memory: TransformerMemory, tgt_in: Tensor, trace: bool = False
    ) -> tuple[Tensor, Trace | None]:
        states = self.tgt(tgt_in, torch.arange(tgt_in.size(1), device=tgt_in.device))
        looked: list[Looked | None] = []
        for layer, source in zip(self.decoder_layers(), sources(memory), strict=True):
            states, seen = self._run(layer, states, source, trace)
            looked.append(seen)
        return self.decoder_norm(states), make_trace(looked)

    def _run(self, layer: nn.Module, *inputs: Any) -> Any:
        if self.recompute and self.training:
            return checkpoint(layer, *inputs, use_reentrant=False)
        return layer(*inputs)

    def encoder_layers(self) -> list[EncoderLayer]:
        """Return the layers of the encoder, lowest first."""
        return list(self.encoder)  # type: ignore[arg-type]

    def decoder_layers(self) -> list[DecoderLayer]:
        """Return the layers of the decoder, lowest first."""
        return list(self.decoder)  # type: ignore[arg-type]

    def start(self, memory: TransformerMemory, rows: int, max_len: int) -> TransformerState:
        count, device = memory.mask.size(0), memory.mask.device
        return TransformerState(
            position=torch.zeros(count, dtype=torch.int64, device=device),
            past=torch.zeros(count, rows, max_len * rows, dtype=torch.bool, device=device),
            layers=tuple(
                layer.past.start(keys, rows, max_len)
                for layer, keys in zip(self.decoder_layers(), memory.keys, strict=True)
            ),
            used=0,
        )

    def step(
        self,
        tokens: Tensor,
        state: TransformerState,
        memory: TransformerMemory,
        trace: bool = False,
    ) -> tuple[Tensor, TransformerState, Trace | None]:
        state = state.with_room()
        count, k = state.past.shape[:2]
        position = state.position[:, None].expand(-1, k)
        used = state.used + k
        state.past[:, :, state.used : used] = torch.eye(k, dtype=torch.bool, device=tokens.device)
        place = Place(position, state.used, state.past[:, None, :, :used])
        states = self.tgt(tokens.view(count, k), position)
        after: list[Any] = []
        looked: list[Looked | None] = []
        steps = zip(self.decoder_layers(), state.layers, sources(memory), strict=True)
        for layer, before, source in steps:
            states, held, seen = layer.step(states, before, place, source, trace)
            after.append(held)
            looked.append(seen)
        moved = TransformerState(state.position + 1, state.past, tuple(after), used)
        return self.decoder_norm(states).flatten(0, 1), moved, make_trace(looked, rows=True)


def sources(memory: TransformerMemory) -> list[Source]:
    """Return the source as each decoder layer looks at it."""
    mask = memory.mask[:, None, None]
    return [Source(k, v, mask) for k, v in zip(memory.keys, memory.values, strict=True)]


def make_trace(looked: list[Looked | None], rows: bool = False) -> Trace | None:
    """Lay the layers side by side; with `rows`, the queries are rows of one position each.

    The last layer aligns best, by measured AER (docs/attention.md).
    """
    seen = [each for each in looked if each is not None]
    if not seen:
        return None
    scores, weights, context = (torch.stack(parts) for parts in zip(*seen, strict=True))
    scores, weights = scores.transpose(1, 2), weights.transpose(1, 2)
    if rows:
        scores, weights = (part.flatten(2, 3).unsqueeze(3) for part in (scores, weights))
        context = context.flatten(1, 2).unsqueeze(2)
    return Trace(scores, weights, weights, context, layer=len(seen) - 1)
