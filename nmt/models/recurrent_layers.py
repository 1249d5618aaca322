"""Recurrent layers: GRU, LSTM, the bridge between encoder and decoder, and the SSRU.

The gates of a GRU or LSTM depend on three parts: the inputs, known for all positions before the
loop; the feed, such as a context vector, known only at its step; and the state before.
`input_gates` computes the first part for all positions in one product. A `RecurrentStep` adds the
others.

Shapes: B sentences or rows, T length, I input width, D width, G = 4 D for an LSTM, 3 D for a GRU.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from nmt.config.model_config import RNNConfig, TransformerConfig
from nmt.models.interface import BatchedTensors, RemainingRows
from nmt.models.kernels.dtypes import to_fp32
from nmt.models.kernels.selection import is_fused_lstm_available, step_loop
from nmt.models.kernels.ssru import ssru_cells
from nmt.models.layers import make_linear, step_product

LayerState = tuple[Tensor, ...]
"""State of one recurrent layer: (h,) of a GRU, (h, c) of an LSTM; each B x D."""

RecurrentStep = Callable[[Tensor, Tensor | None, LayerState], LayerState]
"""From B x G input gates, B x d_feed feed or None, and the state before, to the state after."""

RNN_CLASSES: dict[str, type[nn.GRU] | type[nn.LSTM]] = {"gru": nn.GRU, "lstm": nn.LSTM}


def gru_step(input_gates: Tensor, recurrent_gates: Tensor, state: LayerState) -> LayerState:
    """Return h' = (1 - z) n + z h with n = tanh(W x + r (U h))  (Cho et al. 2014, eq. 5 to 8).

    Gates come before their activation, in torch's order r, z, n. The reset gate applies after the
    recurrent product, as in cuDNN, not before it as in the paper.
    """
    width = state[0].size(-1)
    input_rz, input_n = torch.split(input_gates, [2 * width, width], -1)
    recurrent_rz, recurrent_n = torch.split(recurrent_gates, [2 * width, width], -1)
    reset, update = (input_rz + recurrent_rz).sigmoid().chunk(2, -1)
    candidate = torch.addcmul(input_n, reset, recurrent_n).tanh()
    return (torch.lerp(candidate, state[0], update),)


def lstm_step(gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """Return h' = o tanh(c') and c' = f c + i g  (Hochreiter & Schmidhuber 1997; Gers et al. 2000).

    Gates come before their activation, in torch's order i, f, g, o.
    """
    input_gate, forget_gate, candidate, output_gate = gates.chunk(4, -1)
    new_cell = forget_gate.sigmoid() * cell + input_gate.sigmoid() * candidate.tanh()
    return output_gate.sigmoid() * new_cell.tanh(), new_cell


class RecurrentLayer(nn.Module):
    """One GRU or LSTM layer, run over a sequence or one step at a time with the same weights.

    The input weights have `d_input` columns for the inputs and `d_feed` columns for the feed.
    """

    def __init__(self, cell: Literal["gru", "lstm"], d_input: int, d_feed: int, width: int) -> None:
        super().__init__()
        self.is_lstm = cell == "lstm"
        self.d_input, self.d_feed = d_input, d_feed
        self.rnn = RNN_CLASSES[cell](d_input + d_feed, width, batch_first=True)
        init_rnn_weights(self.rnn)

    def forward(self, inputs: Tensor, state: LayerState) -> Tensor:
        """Return B x T x D states for B x T x I inputs; requires a layer without feed."""
        if self.is_lstm and not is_fused_lstm_available(inputs.device.type):
            return run_stepwise(self.rnn, "", inputs, state)[0]
        initial = tuple(part[None].contiguous() for part in state)
        states, _ = self.rnn(inputs, initial if self.is_lstm else initial[0])
        return states  # type: ignore[no-any-return]

    def input_gates(self, inputs: Tensor) -> Tensor:
        """Return the input part of the gates, ... x G, for ... x I inputs."""
        return input_gates(self.rnn, "", inputs)

    def make_step(self) -> RecurrentStep:
        """Return the function of one step. It slices the weights once, for all later steps."""
        return make_step(self.rnn, "", self._feed_weight())

    def make_input_step(self) -> RecurrentStep:
        """Return the function of one step that takes B x I inputs in place of their gates."""
        step = make_step(self.rnn, "")
        weight, bias = input_weights(self.rnn, "", self.d_input)

        def input_step(inputs: Tensor, feed: Tensor | None, state: LayerState) -> LayerState:
            return step(F.linear(inputs, weight, bias), feed, state)

        return input_step

    def _feed_weight(self) -> Tensor:
        return cast(Tensor, self.rnn.weight_ih_l0)[:, self.d_input :]


def input_gates(rnn: nn.GRU | nn.LSTM, direction: str, inputs: Tensor) -> Tensor:
    """Return the input part of the gates, ... x G, for ... x I inputs; see `input_weights`."""
    return F.linear(inputs, *input_weights(rnn, direction, inputs.size(-1)))


def input_weights(rnn: nn.GRU | nn.LSTM, direction: str, d_input: int) -> tuple[Tensor, Tensor]:
    """Return weight and bias of the gates for inputs of width `d_input`.

    The bias includes those that no gate multiplies: both of an LSTM, one of a GRU.
    `direction` is the suffix of torch's parameter names: "" for forward, or "_reverse".
    """
    weight: Tensor = getattr(rnn, f"weight_ih_l0{direction}")
    bias: Tensor = getattr(rnn, f"bias_ih_l0{direction}")
    if isinstance(rnn, nn.LSTM):
        bias = bias + getattr(rnn, f"bias_hh_l0{direction}")
    # A slice, which autocast does not cache: gradients of its steps are summed in fp32.
    return weight[:, :d_input], bias


def make_step(
    rnn: nn.GRU | nn.LSTM, direction: str, feed_weight: Tensor | None = None
) -> RecurrentStep:
    """Return the function of one step in one direction of a layer.

    `direction` is "" or "_reverse", as in `input_weights`; `feed_weight` is G x d_feed. In an LSTM
    all parts of the gates add up, and the input gates include both biases. In a GRU the reset gate
    multiplies the state's part with its bias, so this part stays separate.
    """
    is_lstm = isinstance(rnn, nn.LSTM)
    weight = getattr(rnn, f"weight_hh_l0{direction}")
    bias = getattr(rnn, f"bias_hh_l0{direction}")
    # In training, one product serves state and feed. In search, too few steps share the copy.
    joint_weight: Tensor | None = None
    if is_lstm and feed_weight is not None and feed_weight.numel() and torch.is_grad_enabled():
        joint_weight = torch.cat([weight, feed_weight], 1)

    def step(gates: Tensor, feed: Tensor | None, state: LayerState) -> LayerState:
        if feed is not None and joint_weight is not None:
            inputs = torch.cat([state[0], feed], -1)
            return lstm_step(step_product(inputs, joint_weight, gates), state[1])
        if feed is not None and feed_weight is not None:
            gates = step_product(feed, feed_weight, gates)
        if is_lstm:
            return lstm_step(step_product(state[0], weight, gates), state[1])
        return gru_step(gates, step_product(state[0], weight, bias), state)

    return step


def run_stepwise(
    rnn: nn.GRU | nn.LSTM, direction: str, inputs: Tensor, state: LayerState | None = None
) -> LayerState:
    """Return h, and c of an LSTM, after each of B x T x I inputs, B x T x D each.

    `state` is the state before the first input; None means zeros.
    """
    step, gates = make_step(rnn, direction), input_gates(rnn, direction, inputs.transpose(0, 1))
    if state is None:
        zeros = gates.new_zeros(len(inputs), rnn.hidden_size)
        state = (zeros, zeros) if isinstance(rnn, nn.LSTM) else (zeros,)
    states = []
    with step_loop(inputs.device.type):
        for gates_t in gates.unbind(0):
            state = step(gates_t, None, state)
            states.append(state)
    return tuple(torch.stack(parts, 1) for parts in zip(*states, strict=True))


class RowLengths(NamedTuple):
    """Lengths of B padded rows, and their order by length, which all layers share.

    torch orders the rows of each packed sequence itself, for which the host waits twice per layer.
    """

    lengths: Tensor
    """B, on the CPU."""
    sorted_lengths: Tensor
    """B, longest first, on the CPU."""
    order: Tensor
    """B: index of each sorted row before sorting."""
    inverse: Tensor
    """B: index of each row after sorting."""

    @classmethod
    def of(cls, lengths: Tensor, device: torch.device) -> RowLengths:
        """Return the lengths, B on the CPU, with their order on `device`."""
        sorted_lengths, order = lengths.sort(descending=True)
        indices = (part.to(device, non_blocking=True) for part in (order, order.argsort()))
        return cls(lengths, sorted_lengths, *indices)


def run_packed(
    rnn: nn.GRU | nn.LSTM, inputs: Tensor, rows: RowLengths
) -> tuple[Tensor, LayerState]:
    """Run a layer over padded B x S x I inputs with torch's fused layer.

    Return the states, B x S x D, and each row's final state, B x directions x D / directions.
    """
    sorted_inputs = inputs.index_select(0, rows.order)
    packed = pack_padded_sequence(sorted_inputs, rows.sorted_lengths, batch_first=True)
    states, final_state = rnn(packed)
    padded, _ = pad_packed_sequence(states, batch_first=True, total_length=inputs.size(1))
    parts = final_state if isinstance(final_state, tuple) else (final_state,)
    final_parts = (part.index_select(1, rows.inverse).transpose(0, 1) for part in parts)
    return padded.index_select(0, rows.inverse), tuple(final_parts)


def run_unrolled(
    rnn: nn.GRU | nn.LSTM, inputs: Tensor, rows: RowLengths
) -> tuple[Tensor, LayerState]:
    """Return the same as `run_packed`, step by step; states of padding are arbitrary.

    The backward direction runs forward over reversed rows. So in both directions padding comes
    after the tokens and does not influence them, and the final state is that of the last token.
    """
    lengths = rows.lengths
    outputs, final_states = [], []
    for direction in ("", "_reverse") if rnn.bidirectional else ("",):
        is_backward = direction == "_reverse"
        directed_inputs = reverse_rows(inputs, lengths) if is_backward else inputs
        states = run_stepwise(rnn, direction, directed_inputs)
        hidden = states[0]
        last_token = (lengths - 1)[:, None, None].expand(-1, 1, rnn.hidden_size)
        final_states.append([part.gather(1, last_token) for part in states])
        outputs.append(reverse_rows(hidden, lengths) if is_backward else hidden)
    final_state = tuple(torch.cat(parts, 1) for parts in zip(*final_states, strict=True))
    return torch.cat(outputs, 2), final_state


def reverse_rows(rows: Tensor, lengths: Tensor) -> Tensor:
    """Reverse the first `lengths[b]` entries of each row of B x S (x D); padding stays.

    `lengths` are on the CPU.
    """
    position = torch.arange(rows.size(1), device=rows.device)
    last = lengths.to(rows.device, non_blocking=True)[:, None] - 1
    index = torch.where(position <= last, last - position, position)
    if rows.dim() == 3:
        index = index[:, :, None].expand_as(rows)
    return rows.gather(1, index)


def init_rnn_weights(rnn: nn.GRU | nn.LSTM) -> None:
    """Initialize all weights and biases of a GRU or LSTM in place.

    The recurrent matrix of each gate becomes orthogonal, its input matrix uniform (Glorot & Bengio
    2010), its bias 0. The forget bias of an LSTM becomes 1 (Jozefowicz et al. 2015).
    """
    width = rnn.hidden_size
    for name, parameter in rnn.named_parameters():
        if "bias" in name:
            nn.init.zeros_(parameter)
            # torch adds bias_ih and bias_hh, so only one of the two is set. Gate order: i, f, g, o.
            if isinstance(rnn, nn.LSTM) and "bias_ih" in name:
                nn.init.ones_(parameter[width : 2 * width])
        else:
            init = nn.init.orthogonal_ if "weight_hh" in name else nn.init.xavier_uniform_
            for gate_matrix in parameter.chunk(parameter.size(0) // width):
                init(gate_matrix)


class Bridge(nn.Module):
    """Initial decoder states: h = tanh(W final_h) and c = W final_c of the same encoder layer.

    If the decoder is deeper than the encoder, its upper layers use the encoder's top layer.
    Bahdanau's attention uses the backward direction only (appendix A.2.2).
    """

    def __init__(self, config: RNNConfig, decoder_layers: int) -> None:
        super().__init__()
        self.backward_only = config.attention == "bahdanau" and config.bidirectional
        width = config.d_hidden // 2 if self.backward_only else config.d_hidden
        parts = 2 if config.cell == "lstm" else 1
        self.maps = nn.ModuleList(
            nn.ModuleList(make_linear(width, config.d_hidden) for _ in range(parts))
            for _ in range(decoder_layers)
        )

    def forward(self, final_states: list[LayerState]) -> tuple[Tensor, ...]:
        """Return h, and c of an LSTM, for one decoder layer after another, B x D each."""
        initial_states = []
        for i, maps in enumerate(self.maps):
            final_state = final_states[min(i, len(final_states) - 1)]
            for part, (linear, value) in enumerate(zip(maps, final_state, strict=True)):  # type: ignore[call-overload]
                summary = value[:, -1] if self.backward_only else value.flatten(1)
                mapped = linear(summary)
                initial_states.append(mapped.tanh() if part == 0 else mapped)
        return tuple(initial_states)


@dataclass(frozen=True)
class SSRUState(BatchedTensors):
    """State of an SSRU for K hypotheses per sentence; it has the interface of a `KVCache`."""

    cell: Tensor
    """B x K x D, in fp32."""

    def keep_sentences(self, sentences: RemainingRows, length: int) -> SSRUState:
        """Keep the remaining sentences, in place."""
        return self.keep(sentences)

    def pad_for_compiled_step(self, sentences: int) -> SSRUState:
        """Return the state of more sentences, with zeros."""
        return self.pad(sentences)

    def reallocate(self, begin: int, end: int, capacity: int) -> SSRUState:
        """Return the state itself, which has no slots."""
        return self

    def reorder(self, rows: Tensor) -> SSRUState:
        """Return the state in which row i of all hypotheses continues `rows[i]`."""
        batch_size, _, width = self.cell.shape
        return SSRUState(self.cell.flatten(0, 1).index_select(0, rows).view(batch_size, -1, width))

    def add_sentences(self, other: SSRUState, length: int, other_length: int) -> SSRUState:
        """Return the states of both batches, those of `other` last."""
        return self.join(other)


class SSRU(nn.Module):
    """Simpler simple recurrent unit, in place of a decoder layer's self-attention.

    f_t = sigmoid(W_f x_t + b);  c_t = f_t c_{t-1} + (1 - f_t) W x_t;  o_t = relu(c_t)
    (Kim et al. 2019, section 3.1).
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.width = config.d_model
        self.forget = make_linear(config.d_model, config.d_model)
        self.value = make_linear(config.d_model, config.d_model, bias=False)

    def forward_parallel(self, states: Tensor, rotation: object = None) -> Tensor:
        """Return the outputs o of B x T x D states x, B x T x D.

        Only self-attention depends on the rotary positions.
        """
        forget, candidate = self._gates(states)
        if torch.compiler.is_compiling():
            return ssru_cells(forget, candidate).relu().to(states.dtype)
        cell = torch.zeros_like(candidate[:, 0])
        cells = []
        for forget_t, candidate_t in zip(forget.unbind(1), candidate.unbind(1), strict=True):
            cell = torch.addcmul(candidate_t, forget_t, cell)
            cells.append(cell)
        return torch.stack(cells, 1).relu().to(states.dtype)

    def initial_state(self, keys: Tensor, rows: int, max_len: int) -> SSRUState:
        """Return c_0 = 0 of `rows` hypotheses per sentence, on the device of the source `keys`."""
        return SSRUState(keys.new_zeros(keys.size(0), rows, self.width, dtype=torch.float32))

    def forward_step(
        self, states: Tensor, state: SSRUState, step: object
    ) -> tuple[Tensor, SSRUState]:
        """Return the outputs of the newest tokens, B x K x D, and the state after them.

        `step` is the position of the tokens, which only self-attention depends on.
        """
        forget, candidate = self._gates(states)
        cell = torch.addcmul(candidate, forget, state.cell)
        return cell.relu().to(states.dtype), SSRUState(cell)

    def scaled_by_deep_norm(self) -> list[nn.Linear]:
        """Return the linear maps with initial weights that DeepNorm scales."""
        return [self.value]

    def _gates(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Return f_t and (1 - f_t) W x_t."""
        forget = to_fp32(self.forget(states)).sigmoid()
        return forget, (1 - forget) * to_fp32(self.value(states))
