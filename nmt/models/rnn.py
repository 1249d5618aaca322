"""Recurrent encoder-decoder (Sutskever et al. 2014; Bahdanau et al. 2015; Luong et al. 2015).

Attention has three settings: score, window (both in nmt/models/attention.py) and its type, which
says where the context enters (`RNNConfig.attention`):

    none      s_0 from the encoder's final states, the only fixed vector; s_t = f(s_{t-1}, y_{t-1});
              the readout is s_t                                       (Sutskever et al. 2014)
    bahdanau  c_t = attend(s_{t-1});  s_t = f(s_{t-1}, [y_{t-1}; c_t]);
              the readout is maxout(U s_{t-1} + V y_{t-1} + C c_t)      (appendix A.2.2)
    luong     s_t = f(s_{t-1}, y_{t-1} or, with input feeding, [y_{t-1}; r_{t-1}]);
              c_t = attend(s_t);  the readout is r_t = tanh(W [c_t; s_t])  (eq. 5, section 3.3)

The query is the state of the top layer. From the third layer on, a layer adds its input to its
output: the query of luong is that sum, the query of bahdanau the state alone. The context of
bahdanau and the fed-back readout of luong enter layer 1.

Shapes: B sentences, S/T source/target length, N = B x K rows of K hypotheses each, D = d_hidden,
E = d_embed, R = readout width (E if the output is tied, else D), G = gates x D.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nmt.config.model_config import RNNConfig, layer_counts
from nmt.models.attention import (
    Attention,
    AttentionOutput,
    AttentionState,
    EncodedSource,
    concat_queries,
)
from nmt.models.interface import DecoderState, Memory, Model, Trace, token_mask
from nmt.models.kernels.selection import (
    find_kernel,
    is_fused_lstm_available,
    is_launch_bound,
    step_loop,
)
from nmt.models.layers import (
    Dropout,
    OutputProjection,
    StepLinear,
    cut_vectors,
    make_embedding,
    make_linear,
    variational_dropout_mask,
)
from nmt.models.recurrent_layers import (
    RNN_CLASSES,
    Bridge,
    LayerState,
    RecurrentLayer,
    RecurrentStep,
    RowLengths,
    init_rnn_weights,
    reverse_rows,
    run_packed,
    run_unrolled,
)

FIRST_RESIDUAL_LAYER = 2
"""Index of the first layer that adds its input to its output."""


@dataclass(frozen=True)
class RNNMemory(Memory):
    """Encoder states, prepared for attention, and the initial state of the decoder."""

    source: EncodedSource | None
    """None without attention."""
    initial_states: tuple[Tensor, ...]
    """B x D each: h, and c of an LSTM, for one decoder layer after another."""


@dataclass(frozen=True)
class RNNState(DecoderState):
    """State of the layers and the attention and, with input feeding, the last readout."""

    layers: tuple[Tensor, ...]
    """N x D each: h, and c of an LSTM, for one decoder layer after another."""
    feed: Tensor | None
    """N x R; None without input feeding."""
    attention: AttentionState | None
    """None without attention."""


class Encoder(nn.Module):
    """Recurrent encoder with one state per token. Padding does not influence other states."""

    def __init__(self, config: RNNConfig, embedding: nn.Embedding) -> None:
        super().__init__()
        self.embedding = embedding
        self.reverses_source = config.reverse_source
        self.is_lstm = config.cell == "lstm"
        self.dropout = Dropout(config.dropout)
        directions = 2 if config.bidirectional else 1
        self.layers = nn.ModuleList(
            RNN_CLASSES[config.cell](
                config.d_embed if i == 0 else config.d_hidden,
                config.d_hidden // directions,
                batch_first=True,
                bidirectional=config.bidirectional,
            )
            for i in range(layer_counts(config)[0])
        )
        for layer in self.layers:
            init_rnn_weights(layer)  # type: ignore[arg-type]

    def forward(
        self, src: Tensor, src_len: Tensor, cut: Tensor | None = None
    ) -> tuple[Tensor, list[LayerState]]:
        """Return B x S x D states in the order of `src`, and each layer's final (h[, c]).

        The embeddings of tokens are zero where the B x S mask `cut` is True.

        A final state is B x directions x D / directions, forward direction first.
        """
        if self.reverses_source:
            src = reverse_rows(src, src_len)
            cut = None if cut is None else reverse_rows(cut, src_len)
        rows = RowLengths.of(src_len, src.device)
        states = self.dropout(cut_vectors(self.embedding(src), cut))
        final_states: list[LayerState] = []
        for i, rnn in enumerate(self.layers):
            run = run_unrolled if self._should_unroll(states.device.type) else run_packed
            output, final_state = run(rnn, states, rows)  # type: ignore[arg-type]
            output = self.dropout(output)
            states = states + output if i >= FIRST_RESIDUAL_LAYER else output
            final_states.append(final_state)
        return reverse_rows(states, src_len) if self.reverses_source else states, final_states

    def _should_unroll(self, device_type: str) -> bool:
        """Return whether to run a layer step by step instead of with torch's own layer.

        With the kernel of `step_product`, a GRU trains faster step by step on a CPU
        (benchmarks/kernels.md).
        """
        if self.is_lstm:
            return not is_fused_lstm_available(device_type)
        if is_launch_bound(device_type):
            return False
        return torch.is_grad_enabled() and find_kernel("step_product", device_type) is not None


class StepOutput(NamedTuple):
    """Result of one step of the recurrence."""

    features: Tensor
    """N x (input width of the readout): concatenated inputs of `Decoder.readout_of`."""
    state: RNNState
    attention: AttentionOutput | None
    """None without attention."""


class Decoder(nn.Module):
    """Recurrence and readout of all three types of attention."""

    def __init__(self, config: RNNConfig, embedding: nn.Embedding, d_readout: int) -> None:
        """Build the layers, the attention and the readout; `d_readout` is R."""
        super().__init__()
        d_hidden, d_embed = config.d_hidden, config.d_embed
        self.attention_type = config.attention
        self.has_input_feeding = config.input_feeding
        self.embedding = embedding
        self.dropout_rate = config.dropout
        self.dropout = Dropout(config.dropout)
        self.d_feed = 0
        """Width of the feed: of the context (bahdanau) or of the last readout (input feeding)."""
        if self.attention_type == "bahdanau":
            self.d_feed = d_hidden
        elif self.has_input_feeding:
            self.d_feed = d_readout
        self.is_sequential = self.d_feed > 0 or config.coverage
        """Whether a step depends on the attention of earlier steps."""
        _, decoder_layers = layer_counts(config)
        self.layers = nn.ModuleList(
            RecurrentLayer(config.cell, d_embed, self.d_feed, d_hidden)
            if i == 0
            else RecurrentLayer(config.cell, d_hidden, 0, d_hidden)
            for i in range(decoder_layers)
        )
        if self.attention_type != "none":
            self.attention = Attention(config)
        # The linear map of `readout_of`, for the features of `step`.
        if self.attention_type == "bahdanau":
            d_features = d_hidden + d_embed + d_hidden  # query, embedded token, context
            self.readout: nn.Module = make_linear(d_features, 2 * d_readout)  # pairs for maxout
        elif self.attention_type == "luong":
            d_features = d_hidden + d_hidden  # context, state
            # StepLinear, because input feeding computes the readout inside the loop
            self.readout = make_linear(d_features, d_readout, bias=False, kind=StepLinear)
        elif d_readout != d_hidden:
            self.readout = make_linear(d_hidden, d_readout)
        else:
            self.readout = nn.Identity()
        self.d_readout = d_readout

    def project(self, states: Tensor, mask: Tensor) -> EncodedSource | None:
        """Return the encoder states prepared for attention; None without attention."""
        return None if self.attention_type == "none" else self.attention.project(states, mask)

    def step(
        self,
        gates: Tensor,
        embedded: Tensor,
        state: RNNState,
        memory: RNNMemory,
        layer_steps: Sequence[RecurrentStep],
        feed_mask: Tensor | None = None,
    ) -> StepOutput:
        """Compute one step of the recurrence for N rows; training and search call it.

        `gates` is N x G, the input gates of layer 1; `embedded` is N x E; `layer_steps` has the
        step function of each layer; `feed_mask` is a dropout mask for the feed. With input feeding,
        the state contains the readout.
        """
        if self.attention_type == "none":
            top, layers = self._update_layers(gates, None, state.layers, layer_steps)
            return StepOutput(top, RNNState(layers, None, None), None)
        if self.attention_type == "bahdanau":
            query = self._top_state(state)
            attention, attention_state = self._attend(query, memory, state)
            context = attention.context[:, 0]
            masked_context = context if feed_mask is None else context * feed_mask
            _, layers = self._update_layers(gates, masked_context, state.layers, layer_steps)
            features = torch.cat([query, embedded, context], -1)
            return StepOutput(features, RNNState(layers, None, attention_state), attention)
        feed = state.feed
        if feed is not None and feed_mask is not None:
            feed = feed * feed_mask
        top, layers = self._update_layers(gates, feed, state.layers, layer_steps)
        attention, attention_state = self._attend(top, memory, state)
        features = torch.cat([attention.context[:, 0], top], -1)
        readout = self.readout_of(features) if self.has_input_feeding else None
        return StepOutput(features, RNNState(layers, readout, attention_state), attention)

    def readout_of(self, features: Tensor) -> Tensor:
        """Return the ... x R readout.

        bahdanau: t_j = max(u_{2j-1}, u_{2j}),  u = U s_{t-1} + V y_{t-1} + C c_t  (A.2.2);
        luong: r_t = tanh(W [c_t; s_t])  (eq. 5).
        """
        units: Tensor = self.readout(features)
        if self.attention_type == "bahdanau":
            # not amax, which splits the gradient between ties
            return torch.maximum(units[..., 0::2], units[..., 1::2])
        return units.tanh() if self.attention_type == "luong" else units

    def _attend(
        self, query: Tensor, memory: RNNMemory, state: RNNState
    ) -> tuple[AttentionOutput, AttentionState]:
        assert memory.source is not None
        assert state.attention is not None
        return self.attention.attend(query, memory.source, state.attention)

    def _top_state(self, state: RNNState) -> Tensor:
        """Return h of the top layer."""
        return state.layers[-2 if self.layers[0].is_lstm else -1]

    def _update_layers(
        self,
        gates: Tensor,
        feed: Tensor | None,
        layers: tuple[Tensor, ...],
        layer_steps: Sequence[RecurrentStep],
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the N x D output of the top layer and the new states of all layers."""
        parts = 2 if self.layers[0].is_lstm else 1
        new_states: list[Tensor] = []
        output = gates
        for i, step in enumerate(layer_steps):
            old_state = layers[i * parts : (i + 1) * parts]
            if i == 0:
                new_state = step(gates, feed, old_state)
                output = new_state[0]
            else:
                new_state = step(self.dropout(output), None, old_state)
                is_residual = i >= FIRST_RESIDUAL_LAYER
                output = output + new_state[0] if is_residual else new_state[0]
            new_states += new_state
        return output, tuple(new_states)

    def forward_parallel(
        self, embedded: Tensor, memory: RNNMemory
    ) -> tuple[Tensor, list[AttentionOutput]]:
        """Return B x T x R readouts of B x T x E, with one product for all attention.

        Requires `is_sequential` to be False.
        """
        parts = 2 if self.layers[0].is_lstm else 1
        states = embedded
        for i, layer in enumerate(self.layers):
            initial_state = memory.initial_states[i * parts : (i + 1) * parts]
            output = layer(states if i == 0 else self.dropout(states), initial_state)
            states = states + output if i >= FIRST_RESIDUAL_LAYER else output
        if memory.source is None:
            return self.readout_of(states), []
        position = torch.arange(states.size(1), device=states.device).expand(states.size(0), -1)
        attention = self.attention(states, memory.source, position)
        return self.readout_of(torch.cat([attention.context, states], -1)), [attention]

    def forward_stepwise(
        self, embedded: Tensor, memory: RNNMemory
    ) -> tuple[Tensor, list[AttentionOutput]]:
        """Return B x T x R readouts of B x T x E, one step at a time.

        Compute the input gates before the loop and, without input feeding, the readouts after it.
        """
        gates: Tensor = self.layers[0].input_gates(embedded.transpose(0, 1))  # type: ignore[operator]
        layer_steps = self.layer_steps()
        state = self.initial_state(memory, rows=1)
        feed_mask = None
        if self.training and self.dropout_rate > 0 and self.d_feed > 0:
            like = gates[0].new_ones(len(embedded), self.d_feed)
            feed_mask = variational_dropout_mask(like, self.dropout_rate)
        outputs: list[Tensor] = []
        attentions: list[AttentionOutput] = []
        # unbind, not [:, t]: the gradient of each index would be B x T x G, mostly zeros
        with step_loop(embedded.device.type):
            for gates_t, embedded_t in zip(gates.unbind(0), embedded.unbind(1), strict=True):
                step = self.step(gates_t, embedded_t, state, memory, layer_steps, feed_mask)
                state = step.state
                outputs.append(step.features if state.feed is None else state.feed)
                if step.attention is not None:
                    attentions.append(step.attention)
        stacked = torch.stack(outputs, 1)
        return stacked if self.has_input_feeding else self.readout_of(stacked), attentions

    def layer_steps(self) -> list[RecurrentStep]:
        """Return the step function of each layer; the first takes gates, the others inputs."""
        first, *upper = self.layers
        return [first.make_step(), *(layer.make_input_step() for layer in upper)]  # type: ignore[operator]

    def initial_state(self, memory: RNNMemory, rows: int) -> RNNState:
        """Return the state before the first token, with `rows` copies for each sentence."""
        layers = tuple(part.repeat_interleave(rows, 0) for part in memory.initial_states)
        feed = None
        if self.has_input_feeding:
            feed = layers[0].new_zeros(layers[0].size(0), self.d_readout)
        source = memory.source
        attention = None if source is None else self.attention.initial_state(source, rows)
        return RNNState(layers, feed, attention)


class RNNModel(Model[RNNMemory, RNNState]):
    """Recurrent encoder, bridge, decoder and output projection."""

    def __init__(self, config: RNNConfig, src_vocab: int, tgt_vocab: int, pad: int) -> None:
        super().__init__()
        tgt_embedding = make_embedding(tgt_vocab, config.d_embed, pad)
        is_joint = config.tie == "all"
        src_embedding = (
            tgt_embedding if is_joint else make_embedding(src_vocab, config.d_embed, pad)
        )
        is_tied = config.tie != "none"
        d_readout = config.d_embed if is_tied else config.d_hidden
        self.encoder = Encoder(config, src_embedding)
        self.bridge = Bridge(config, layer_counts(config)[1])
        self.decoder = Decoder(config, tgt_embedding, d_readout)
        self.dropout = Dropout(config.dropout)
        self.compiled_parts = [] if self.decoder.is_sequential else self.components()["attention"]
        self.output = OutputProjection(d_readout, tgt_vocab, tgt_embedding if is_tied else None)

    def source_modules(self) -> list[nn.Module]:
        has_attention = self.decoder.attention_type != "none"
        return [self.encoder, *(self.decoder.attention.source_modules() if has_attention else ())]

    def sentence_modules(self) -> list[nn.Module]:
        return [self.bridge]

    def components(self) -> dict[str, list[nn.Module]]:
        attention = [self.decoder.attention] if self.decoder.attention_type != "none" else []
        return {
            "encoder": [self.encoder.layers],
            "decoder": [self.bridge, self.decoder.layers, self.decoder.readout, *attention],
            "embeddings": [self.encoder.embedding, self.decoder.embedding],
            "attention": [*attention],
        }

    def encode(self, src: Tensor, src_len: Tensor, cut: Tensor | None = None) -> RNNMemory:
        states, final_states = self.encoder(src, src_len, cut)
        mask = token_mask(src, src_len)
        return RNNMemory(
            mask=mask,
            source=self.decoder.project(states, mask),
            initial_states=self.bridge(final_states),
        )

    def decode(
        self, memory: RNNMemory, tgt_in: Tensor, trace: bool = False, cut: Tensor | None = None
    ) -> tuple[Tensor, Trace | None]:
        decoder = self.decoder
        embedded = self.dropout(cut_vectors(decoder.embedding(tgt_in), cut))
        run = decoder.forward_stepwise if decoder.is_sequential else decoder.forward_parallel
        readout, attentions = run(embedded, memory)
        return self.dropout(readout), make_trace(attentions, memory) if trace else None

    def start(self, memory: RNNMemory, rows: int, max_len: int) -> RNNState:
        return self.decoder.initial_state(memory, rows)

    def advance(
        self, tokens: Tensor, state: RNNState, memory: RNNMemory, trace: bool = False
    ) -> tuple[Tensor, RNNState, Trace | None]:
        decoder = self.decoder
        embedded = decoder.embedding(tokens)
        gates = decoder.layers[0].input_gates(embedded)  # type: ignore[operator]
        step = decoder.step(gates, embedded, state, memory, decoder.layer_steps())
        feed = step.state.feed
        readout = decoder.readout_of(step.features) if feed is None else feed
        attentions = [] if step.attention is None else [step.attention]
        return readout, step.state, make_trace(attentions, memory) if trace else None


def make_trace(attentions: list[AttentionOutput], memory: RNNMemory) -> Trace | None:
    """Return the attention of consecutive positions as one layer; None without attention."""
    if not attentions:
        return None
    attention, length = concat_queries(attentions), memory.mask.size(1)

    def over_source(values: Tensor, fill_value: float = 0.0) -> Tensor:
        """Return 1 x H x N x T x S values of all source positions."""
        return attention.over_source(values, length, fill_value).transpose(0, 1)[None]

    return Trace(
        scores=over_source(attention.scores, fill_value=-math.inf),
        softmax=over_source(attention.softmax),
        weights=over_source(attention.weights),
        context=attention.context[None],
        layer=0,
    )
