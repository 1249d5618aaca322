"""Recurrent encoder-decoder (Sutskever et al. 2014; Bahdanau et al. 2015; Luong et al. 2015).

Attention is wiring x score x window (nmt/models/attention.py); the wiring says where the context
enters (its settings: `RNNConfig`):

    none      s_0 from the encoder's final states, the one fixed vector; s_t = f(s_{t-1}, y_{t-1});
              the readout is s_t                                       (Sutskever et al. 2014)
    bahdanau  c_t = attend(s_{t-1});  s_t = f(s_{t-1}, [y_{t-1}; c_t]);
              the readout is maxout(U s_{t-1} + V y_{t-1} + C c_t)      (appendix A.2.2)
    luong     s_t = f(s_{t-1}, y_{t-1} or, with input feeding, [y_{t-1}; r_{t-1}]);
              c_t = attend(s_t);  the readout is r_t = tanh(W [c_t; s_t])  (eq. 5, section 3.3)

The query is the top layer's; with three layers or more, s_t of luong and none is that layer's
output with the residual, and bahdanau's query its bare state. Context and feed enter layer 1.

Shapes: B sentences, S/T source/target length, N = B x beam rows, D = d_hidden, E = d_embed,
R = readout width (E where the output is tied, else D), G = gates x D.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from nmt.config.model_config import RNNConfig, layer_counts
from nmt.models.attention import Attended, Attention, AttentionState, Source, join_queries
from nmt.models.interface import DecoderState, Memory, Model, Trace
from nmt.models.layers import (
    CELLS,
    Cell,
    Dropout,
    LoopLinear,
    OutputProjection,
    RecurrentLayer,
    State,
    fused_lstm_runs,
    init_recurrent,
    looping,
    make_embedding,
    make_linear,
    run_over,
    sequence_mask,
)

FIRST_RESIDUAL = 2
"""Index of the first layer that adds its input to its output: the third."""


@dataclass(frozen=True)
class RNNMemory(Memory):
    """All encoder states, as attention wants them, and the decoder's first state."""

    source: Source | None
    """None without attention."""
    first: tuple[Tensor, ...]
    """B x D each: h, and c of an LSTM, for each decoder layer in turn."""


@dataclass(frozen=True)
class RNNState(DecoderState):
    """The recurrent state, what attention carries and, with input feeding, the last readout."""

    layers: tuple[Tensor, ...]
    """N x D each: h, and c of an LSTM, for each decoder layer in turn."""
    feed: Tensor | None
    """N x R, with input feeding."""
    attention: AttentionState | None
    """None without attention."""


class Encoder(nn.Module):
    """Reads the source into one state a token; a sentence never sees padding."""

    def __init__(self, config: RNNConfig, embedding: nn.Embedding) -> None:
        super().__init__()
        self.embedding = embedding
        self.reverse = config.reverse_source
        self.is_lstm = config.cell == "lstm"
        self.dropout = Dropout(config.dropout)
        directions = 2 if config.bidirectional else 1
        self.layers = nn.ModuleList(
            CELLS[config.cell](
                config.d_embed if i == 0 else config.d_hidden,
                config.d_hidden // directions,
                batch_first=True,
                bidirectional=config.bidirectional,
            )
            for i in range(layer_counts(config)[0])
        )
        for layer in self.layers:
            init_recurrent(layer)  # type: ignore[arg-type]

    def forward(self, src: Tensor, src_len: Tensor) -> tuple[Tensor, list[State]]:
        """Return B x S x D states in the order of `src`, and each layer's final (h[, c]).

        A final state is B x directions x D / directions, forward direction first.
        """
        if self.reverse:
            src = reverse_rows(src, src_len)
        states = self.dropout(self.embedding(src))
        finals: list[State] = []
        for i, rnn in enumerate(self.layers):
            trained = torch.is_grad_enabled() and states.device.type == "cpu"
            stepwise = trained or (self.is_lstm and not fused_lstm_runs(states.device.type))
            run = run_padded if stepwise else run_packed
            new, final = run(rnn, states, src_len)  # type: ignore[arg-type]
            new = self.dropout(new)
            states = states + new if i >= FIRST_RESIDUAL else new
            finals.append(final)
        return reverse_rows(states, src_len) if self.reverse else states, finals


def run_packed(rnn: nn.GRU | nn.LSTM, inputs: Tensor, lengths: Tensor) -> tuple[Tensor, State]:
    """Run a layer over rows of B x S x I; return states, B x S x D, and those after each row.

    The latter are B x directions x D / directions.
    """
    packed = pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False)
    states, final = rnn(packed)
    padded, _ = pad_packed_sequence(states, batch_first=True, total_length=inputs.size(1))
    parts = final if isinstance(final, tuple) else (final,)
    return padded, tuple(part.transpose(0, 1) for part in parts)


def run_padded(rnn: nn.GRU | nn.LSTM, inputs: Tensor, lengths: Tensor) -> tuple[Tensor, State]:
    """Return the same, trained faster on a CPU (benchmarks/LOG.md); padding's states are anything.

    A row's tokens stand before its padding, in the backward direction because rows are turned.
    """
    found, finals = [], []
    for suffix in ("", "_reverse") if rnn.bidirectional else ("",):
        states = run_over(rnn, suffix, reverse_rows(inputs, lengths) if suffix else inputs)
        last = (lengths - 1)[:, None, None].expand(-1, 1, rnn.hidden_size)
        finals.append([part.gather(1, last) for part in states])
        found.append(reverse_rows(states[0], lengths) if suffix else states[0])
    return torch.cat(found, 2), tuple(torch.cat(parts, 1) for parts in zip(*finals, strict=True))


def reverse_rows(rows: Tensor, lengths: Tensor) -> Tensor:
    """Turn the first `lengths[b]` entries of each row of B x S (x D) round; padding stays."""
    position = torch.arange(rows.size(1))
    turned = torch.where(position < lengths[:, None], lengths[:, None] - 1 - position, position).to(
        rows.device
    )
    if rows.dim() == 3:
        turned = turned[:, :, None].expand_as(rows)
    return rows.gather(1, turned)


class Bridge(nn.Module):
    """Decoder layer i begins at tanh(W final_i) (an LSTM's c at W final_i) of encoder layer i.

    Where the decoder is deeper, its upper layers take the encoder's top layer. Bahdanau's wiring
    looks at the backward direction only, as the paper does (appendix A.2.2).
    """

    def __init__(self, config: RNNConfig, decoder_layers: int) -> None:
        super().__init__()
        self.backward_only = config.wiring == "bahdanau" and config.bidirectional
        width = config.d_hidden // 2 if self.backward_only else config.d_hidden
        parts = 2 if config.cell == "lstm" else 1
        self.maps = nn.ModuleList(
            nn.ModuleList(make_linear(width, config.d_hidden) for _ in range(parts))
            for _ in range(decoder_layers)
        )

    def forward(self, finals: list[State]) -> tuple[Tensor, ...]:
        """Return the first state of each decoder layer in turn, B x D each."""
        first = []
        for i, maps in enumerate(self.maps):
            final = finals[min(i, len(finals) - 1)]
            for part, (linear, value) in enumerate(zip(maps, final, strict=True)):  # type: ignore[call-overload]
                summary = value[:, -1] if self.backward_only else value.flatten(1)
                mapped = linear(summary)
                first.append(mapped.tanh() if part == 0 else mapped)
        return tuple(first)


class Decoder(nn.Module):
    """The recurrence and the readout, for all three wirings."""

    def __init__(self, config: RNNConfig, embedding: nn.Embedding, d_readout: int) -> None:
        super().__init__()
        width, embed = config.d_hidden, config.d_embed
        self.wiring = config.wiring
        self.feeds = config.input_feeding
        self.embedding = embedding
        self.rate = config.dropout
        self.dropout = Dropout(config.dropout)
        self.d_feed = width if self.wiring == "bahdanau" else d_readout if self.feeds else 0
        self.carries = self.d_feed > 0 or config.coverage
        self.layers = nn.ModuleList(
            RecurrentLayer(
                config.cell, embed if i == 0 else width, self.d_feed if i == 0 else 0, width
            )
            for i in range(layer_counts(config)[1])
        )
        if self.wiring != "none":
            self.attention = Attention(config)
        if self.wiring == "bahdanau":
            inputs = width + embed + width
            self.readout: nn.Module = make_linear(inputs, 2 * d_readout)
        elif self.wiring == "luong":
            self.readout = make_linear(width + width, d_readout, bias=False, kind=LoopLinear)
        else:
            self.readout = make_linear(width, d_readout) if d_readout != width else nn.Identity()
        self.d_readout = d_readout

    def project(self, states: Tensor, mask: Tensor) -> Source | None:
        """Return the encoder's states as attention wants them."""
        return None if self.wiring == "none" else self.attention.project(states, mask)

    def cell(
        self,
        gates: Tensor,
        embedded: Tensor,
        state: RNNState,
        memory: RNNMemory,
        cells: Sequence[Cell],
        mask: Tensor | None = None,
    ) -> tuple[Tensor, RNNState, Attended | None]:
        """One step of the recurrence for N rows; both `decode` and `step` go through here.

        `gates` is N x G, the hoisted input part of layer 1; `embedded` N x E; `cells` come from
        `self.cells()`; `mask` is a dropout mask for what is fed back, fixed over the sequence.
        Returns what the N x R readout is made of; where it is fed back, the state holds it.
        """
        found = attention = None
        feed = state.feed
        query = self._top(state)
        if self.wiring == "bahdanau":
            found, attention = self._look(query, memory, state)
            feed = found.context[:, 0]
        if feed is not None and mask is not None:
            feed = feed * mask
        top, layers = self._update(gates, feed, state.layers, cells)
        if found is not None:
            parts = torch.cat([query, embedded, found.context[:, 0]], -1)
            return parts, RNNState(layers, None, attention), found
        if self.wiring == "none":
            return top, RNNState(layers, None, None), None
        found, attention = self._look(top, memory, state)
        parts = torch.cat([found.context[:, 0], top], -1)
        return parts, RNNState(layers, self.read(parts) if self.feeds else None, attention), found

    def _look(
        self, query: Tensor, memory: RNNMemory, state: RNNState
    ) -> tuple[Attended, AttentionState]:
        assert memory.source is not None
        assert state.attention is not None
        return self.attention.look(query, memory.source, state.attention)

    def cells(self) -> list[Cell]:
        """Return the step function of each layer."""
        return [layer.cell() for layer in self.layers]  # type: ignore[operator]

    def _top(self, state: RNNState) -> Tensor:
        return state.layers[-2 if self.layers[0].is_lstm else -1]

    def _update(
        self,
        gates: Tensor,
        feed: Tensor | None,
        layers: tuple[Tensor, ...],
        cells: Sequence[Cell],
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the N x D output of the top layer and all layers' new states."""
        parts = 2 if self.layers[0].is_lstm else 1
        after: list[Tensor] = []
        below = gates
        for i, layer in enumerate(self.layers):
            old = layers[i * parts : (i + 1) * parts]
            if i == 0:
                new = cells[i](gates, feed, old)
                below = new[0]
            else:
                entering = self.dropout(below)
                new = cells[i](layer.project(entering), None, old)  # type: ignore[operator]
                below = below + new[0] if i >= FIRST_RESIDUAL else new[0]
            after += new
        return below, tuple(after)

    def read(self, parts: Tensor) -> Tensor:
        """Return the ... x R readout.

        bahdanau: t_j = max(u_{2j-1}, u_{2j}),  u = U s_{t-1} + V y_{t-1} + C c_t  (A.2.2);
        luong: r_t = tanh(W [c_t; s_t])  (eq. 5).
        """
        made: Tensor = self.readout(parts)
        if self.wiring == "bahdanau":
            # not amax, whose gradient counts ties
            return torch.maximum(made[..., 0::2], made[..., 1::2])
        return made.tanh() if self.wiring == "luong" else made

    def whole(self, embedded: Tensor, memory: RNNMemory) -> tuple[Tensor, list[Attended]]:
        """Run over B x T x E at once, where nothing is fed back: one product for all attention."""
        parts = 2 if self.layers[0].is_lstm else 1
        below = embedded
        for i, layer in enumerate(self.layers):
            first = memory.first[i * parts : (i + 1) * parts]
            entering = below if i == 0 else self.dropout(below)
            new = layer(entering, first)
            below = below + new if i >= FIRST_RESIDUAL else new
        if self.wiring == "none":
            return self.read(below), []
        assert memory.source is not None
        position = torch.arange(below.size(1), device=below.device).expand(below.size(0), -1)
        found = self.attention(below, memory.source, position)
        return self.read(torch.cat([found.context, below], -1)), [found]

    def looped(self, embedded: Tensor, memory: RNNMemory) -> tuple[Tensor, list[Attended]]:
        """Run over B x T x E a step at a time, all that is not fed back hoisted out of the loop."""
        first, gates = self.layers[0].hoist(embedded.transpose(0, 1))  # type: ignore[operator]
        cells = [first, *self.cells()[1:]]
        if memory.source is not None:
            memory = replace(memory, source=self.attention.looping(memory.source))
        state = self.first_state(memory, rows=1)
        mask = None
        if self.training and self.rate > 0 and self.d_feed > 0:
            mask = sequence_mask(gates[0].new_ones(len(embedded), self.d_feed), self.rate)
        made: list[Tensor] = []
        found: list[Attended] = []
        # unbind, not [:, t]: the gradient of each index would be a whole B x T x G of zeros
        with looping(self):
            for gates_t, embedded_t in zip(gates, embedded.unbind(1), strict=True):
                parts, state, seen = self.cell(gates_t, embedded_t, state, memory, cells, mask)
                made.append(parts if state.feed is None else state.feed)
                if seen is not None:
                    found.append(seen)
        whole = torch.stack(made, 1)
        return whole if self.feeds else self.read(whole), found

    def first_state(self, memory: RNNMemory, rows: int) -> RNNState:
        """Return the state before the first token, `rows` copies of each sentence's."""
        layers = tuple(part.repeat_interleave(rows, 0) for part in memory.first)
        feed = layers[0].new_zeros(layers[0].size(0), self.d_readout) if self.feeds else None
        source = memory.source
        attention = None if source is None else self.attention.start(source, rows)
        return RNNState(layers, feed, attention)


class RNNModel(Model[RNNMemory, RNNState]):
    """Encoder, bridge, decoder and output behind the verbs of `Model`."""

    def __init__(self, config: RNNConfig, src_vocab: int, tgt_vocab: int, pad: int) -> None:
        super().__init__()
        tgt_embedding = make_embedding(tgt_vocab, config.d_embed, pad)
        shared = config.tie == "all"
        src_embedding = tgt_embedding if shared else make_embedding(src_vocab, config.d_embed, pad)
        tied = config.tie != "none"
        d_readout = config.d_embed if tied else config.d_hidden
        self.encoder = Encoder(config, src_embedding)
        self.bridge = Bridge(config, layer_counts(config)[1])
        self.decoder = Decoder(config, tgt_embedding, d_readout)
        self.dropout = Dropout(config.dropout)
        self.output = OutputProjection(d_readout, tgt_vocab, tgt_embedding if tied else None)

    def source_modules(self) -> list[nn.Module]:
        if self.decoder.wiring == "none":
            return [self.encoder]
        return [self.encoder, *self.decoder.attention.source_modules()]

    def sentence_modules(self) -> list[nn.Module]:
        return [self.bridge]

    def encode(self, src: Tensor, src_len: Tensor) -> RNNMemory:
        values, finals = self.encoder(src, src_len)
        mask = (torch.arange(src.size(1)) < src_len[:, None]).to(src.device)
        return RNNMemory(
            mask=mask,
            source=self.decoder.project(values, mask),
            first=self.bridge(finals),
        )

    def decode(
        self, memory: RNNMemory, tgt_in: Tensor, trace: bool = False
    ) -> tuple[Tensor, Trace | None]:
        decoder = self.decoder
        embedded = self.dropout(decoder.embedding(tgt_in))
        run = decoder.looped if decoder.carries else decoder.whole
        readout, found = run(embedded, memory)
        return self.dropout(readout), make_trace(found, memory) if trace else None

    def start(self, memory: RNNMemory, rows: int, max_len: int) -> RNNState:
        return self.decoder.first_state(memory, rows)

    def step(
        self, tokens: Tensor, state: RNNState, memory: RNNMemory, trace: bool = False
    ) -> tuple[Tensor, RNNState, Trace | None]:
        decoder = self.decoder
        embedded = decoder.embedding(tokens)
        gates = decoder.layers[0].project(embedded)  # type: ignore[operator]
        parts, after, found = decoder.cell(gates, embedded, state, memory, decoder.cells())
        readout = decoder.read(parts) if after.feed is None else after.feed
        return readout, after, make_trace([found] if found else [], memory) if trace else None


def make_trace(found: list[Attended], memory: RNNMemory) -> Trace | None:
    """Lay the attention of consecutive positions out as one layer; None without attention."""
    if not found:
        return None
    seen, length = join_queries(found), memory.mask.size(1)
    return Trace(
        scores=seen.over_source(seen.scores, length, elsewhere=-math.inf).transpose(0, 1)[None],
        softmax=seen.over_source(seen.softmax, length).transpose(0, 1)[None],
        weights=seen.over_source(seen.weights, length).transpose(0, 1)[None],
        context=seen.context[None],
        layer=0,
    )
