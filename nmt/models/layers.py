"""Building blocks that architectures share.

Shapes: B rows, T length, I input width, D width, G = gates x D, V vocabulary, M real tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nmt.models.kernels.gradients import (
    ROWS_AT_A_TIME,
    ROWS_TOGETHER,
    LoopProduct,
    chunked_loss,
    for_products,
    lstm_gates,
    masked_relu,
    precise,
)

State = tuple[Tensor, ...]
"""State of one recurrent layer: (h,) of a GRU, (h, c) of an LSTM; each B x D."""

Cell = Callable[[Tensor, Tensor | None, State], State]
"""One step: B x G from `project`, B x d_feed to feed back or None, and the state before."""

CELLS: dict[str, type[nn.GRU] | type[nn.LSTM]] = {"gru": nn.GRU, "lstm": nn.LSTM}


class OutputProjection(nn.Module):
    """The vocabulary matrix: W h + b. Its weight may be an embedding's (Press & Wolf 2017)."""

    def __init__(self, width: int, vocab_size: int, tied: nn.Embedding | None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(vocab_size, width)) if tied is None else tied.weight
        self.bias = nn.Parameter(torch.zeros(vocab_size))
        if tied is None:
            nn.init.xavier_uniform_(self.weight)
        self._rooms: dict[tuple[int, torch.dtype], Tensor] = {}

    def logits(self, hidden: Tensor) -> Tensor:
        """Return ... x V logits of ... x D hidden vectors."""
        return F.linear(hidden, self.weight, self.bias)

    def restricted_to(self, tokens: Tensor) -> Callable[[Tensor], Tensor]:
        """Return the function from B x K x D hidden vectors to B x K x W logits of own tokens.

        `tokens` are B x W ids, each row's own.
        """
        every, places = union(tokens, len(self.weight))
        weight, bias = self.weight[every], self.bias[tokens][:, None]

        def logits(hidden: Tensor) -> Tensor:
            return own_columns(F.linear(hidden, weight), places) + bias

        return logits

    def loss(self, hidden: Tensor, tgt: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Return the summed cross entropy of M x D hidden vectors against M target ids, in nats.

        With smoothing e the target distribution is (1 - e) one-hot + e uniform over V
        (Szegedy et al. 2016, section 7). Computed in fp32 whatever the precision of the logits.
        """
        if hidden.device.type == "cpu":
            hidden = for_products(hidden)
            sums = precise(hidden[:0]).dtype
            rooms = self._room(ROWS_TOGETHER, hidden.dtype), self._room(ROWS_AT_A_TIME, sums)
            return chunked_loss(hidden, self.weight, self.bias, tgt, label_smoothing, rooms)
        logits = precise(self.logits(hidden))
        return F.cross_entropy(logits, tgt, label_smoothing=label_smoothing, reduction="sum")

    def _room(self, rows: int, kind: torch.dtype) -> Tensor:
        """Return memory for rows of logits, kept from call to call: fresh pages cost much."""
        if (rows, kind) not in self._rooms:
            with torch.inference_mode(False):
                self._rooms[rows, kind] = torch.empty(rows, len(self.weight), dtype=kind)
        return self._rooms[rows, kind]


def union(tokens: Tensor, vocab_size: int) -> tuple[Tensor, Tensor]:
    """Return the U ids that stand in `tokens`, ascending, and where each of `tokens` is there."""
    named = torch.zeros(vocab_size, dtype=torch.bool, device=tokens.device)
    named[tokens] = True
    return named.nonzero()[:, 0], (named.cumsum(0) - 1)[tokens]


def own_columns(products: Tensor, places: Tensor) -> Tensor:
    """Return of B x K x U products those at B x W places, B x K x W."""
    return products.gather(2, places[:, None].expand(-1, products.size(1), -1))


class LoopLinear(nn.Linear):
    """A linear map that a loop applies at every step; see `looping`."""

    loop: LoopProduct | None = None

    def forward(self, inputs: Tensor) -> Tensor:
        if self.loop is None:
            return super().forward(inputs)
        return self.loop(inputs.flatten(0, -2)).view(*inputs.shape[:-1], -1)


@contextmanager
def looping(module: nn.Module) -> Iterator[None]:
    """Let the linear maps of a loop gather their weights' gradients over the steps of the block."""
    maps = [each for each in module.modules() if isinstance(each, LoopLinear)]
    for each in maps:
        each.loop = LoopProduct(each.weight, each.bias)
    try:
        yield
    finally:
        for each in maps:
            each.loop = None


class RecurrentLayer(nn.Module):
    """One GRU or LSTM layer, run over a whole sequence or a step at a time with the same weights.

    The input weights are split in two: `d_input` columns for what is known for all positions
    beforehand (`project`, one product), `d_feed` columns for what the recurrence feeds back.
    The GRU applies its reset gate after the recurrent product, as cuDNN does, not before it as
    Cho et al. 2014 do.
    """

    def __init__(self, cell: Literal["gru", "lstm"], d_input: int, d_feed: int, width: int) -> None:
        super().__init__()
        self.is_lstm = cell == "lstm"
        self.d_input, self.d_feed = d_input, d_feed
        self.rnn = CELLS[cell](d_input + d_feed, width, batch_first=True)
        init_recurrent(self.rnn)

    def forward(self, inputs: Tensor, state: State) -> Tensor:
        """Return B x T x D states for B x T x I inputs; for layers without a feed."""
        if self.is_lstm and not fused_lstm_runs(inputs.device.type):
            return run_over(self.rnn, "", inputs, state)[0]
        first = tuple(part[None].contiguous() for part in state)
        states, _ = self.rnn(inputs, first if self.is_lstm else first[0])
        return states  # type: ignore[no-any-return]

    def project(self, inputs: Tensor) -> Tensor:
        """Return the input part of the gates, ... x G, for ... x I inputs."""
        return input_gates(self.rnn, "", inputs)

    def cell(self) -> Cell:
        """Return the function of one step; its weights are sliced once, for all steps to come."""
        return make_cell(self.rnn, "", self._feed_weight())

    def hoist(self, inputs: Tensor) -> tuple[Cell, Sequence[Tensor]]:
        """Return the function of one step, and the gates for each, for T x B x I inputs."""
        return hoist(self.rnn, "", inputs, self._feed_weight() if self.d_feed else None)

    def _feed_weight(self) -> Tensor:
        return cast(Tensor, self.rnn.weight_ih_l0)[:, self.d_input :]


def make_cell(rnn: nn.GRU | nn.LSTM, suffix: str, feed_weight: Tensor | None = None) -> Cell:
    """Return one step of a direction of a layer, for gates that hold the input part."""
    is_lstm = isinstance(rnn, nn.LSTM)
    from_feed = None if feed_weight is None else LoopProduct(feed_weight)
    bias = None if is_lstm else getattr(rnn, f"bias_hh_l0{suffix}")
    recurrent = LoopProduct(getattr(rnn, f"weight_hh_l0{suffix}"), bias)

    def step(gates: Tensor, feed: Tensor | None, state: State) -> State:
        if feed is not None and from_feed is not None:
            gates = from_feed(feed, gates)
        if is_lstm:
            return lstm_gates(recurrent(state[0], gates), state[1])
        return gru_gates(gates, recurrent(state[0]), state)

    return step


def input_gates(rnn: nn.GRU | nn.LSTM, suffix: str, inputs: Tensor) -> Tensor:
    """Return what ... x I inputs add to the gates, ... x G, with the biases that only add."""
    weight, bias = (getattr(rnn, f"{kind}_ih_l0{suffix}") for kind in ("weight", "bias"))
    if isinstance(rnn, nn.LSTM):
        bias = bias + getattr(rnn, f"bias_hh_l0{suffix}")
    return F.linear(inputs, weight[:, : inputs.size(-1)], bias)


def hoist(
    rnn: nn.GRU | nn.LSTM, suffix: str, inputs: Tensor, feed_weight: Tensor | None = None
) -> tuple[Cell, Sequence[Tensor]]:
    """Return one step of a direction of a layer and the gates for each, for T x B x I inputs.

    All that an LSTM's state and feed add to its gates comes of one product a step.
    """
    gates = input_gates(rnn, suffix, inputs)
    if not isinstance(rnn, nn.LSTM):
        return make_cell(rnn, suffix, feed_weight), gates.unbind(0)
    weight = getattr(rnn, f"weight_hh_l0{suffix}")
    if feed_weight is not None:
        weight = torch.cat([weight, feed_weight], 1)
    recurrent = LoopProduct(weight, known=gates)

    def step(gates: Tensor, feed: Tensor | None, state: State) -> State:
        hidden = state[0] if feed is None else torch.cat([state[0], feed], -1)
        return lstm_gates(recurrent(hidden, gates), state[1])

    assert recurrent.known is not None
    return step, recurrent.known.unbind(0)


def fused_lstm_runs(device: str) -> bool:
    """Return whether `nn.LSTM` runs on a device type under the autocast that is active, if any.

    oneDNN has no LSTM in bf16 without AVX-512, and torch asks it for one under autocast.
    """
    if device != "cpu" or not torch.is_autocast_enabled(device):
        return True
    return _onednn_lstm_runs(torch.get_autocast_dtype(device))


@cache
def _onednn_lstm_runs(dtype: torch.dtype) -> bool:
    """Run a tiny LSTM under autocast; return whether that succeeds."""
    try:
        with torch.inference_mode(False), torch.enable_grad(), torch.autocast("cpu", dtype):
            inputs, weight, bias = torch.zeros(1, 1, 8), torch.zeros(32, 8), torch.zeros(32)
            weights = [weight.requires_grad_(), weight, bias, bias]
            torch.lstm(inputs, (inputs, inputs), weights, True, 1, 0.0, True, False, True)
    except RuntimeError:
        return False
    return True


def run_over(
    rnn: nn.GRU | nn.LSTM, suffix: str, inputs: Tensor, state: State | None = None
) -> State:
    """Return h, and c of an LSTM, after each of B x T x I inputs, B x T x D each.

    `state` is the state before the first input; None for zeros.
    """
    step, gates = hoist(rnn, suffix, inputs.transpose(0, 1))
    if state is None:
        zeros = gates[0].new_zeros(len(inputs), rnn.hidden_size)
        state = (zeros, zeros) if isinstance(rnn, nn.LSTM) else (zeros,)
    states = []
    for gates_t in gates:
        state = step(gates_t, None, state)
        states.append(state)
    return tuple(torch.stack(parts, 1) for parts in zip(*states, strict=True))


def gru_gates(gates: Tensor, recurrent: Tensor, state: State) -> State:
    """Return h' = (1 - z) n + z h, n = tanh(W x + r (U h)), gates in torch's order r, z, n."""
    width = state[0].size(-1)
    both_in, new_in = torch.split(gates, [2 * width, width], -1)
    both_h, new_h = torch.split(recurrent, [2 * width, width], -1)
    reset, update = (both_in + both_h).sigmoid().chunk(2, -1)
    new = torch.addcmul(new_in, reset, new_h).tanh()
    return (torch.lerp(new, state[0], update),)


def init_recurrent(rnn: nn.GRU | nn.LSTM) -> None:
    """Orthogonal recurrent weights, Xavier input weights, zero biases; forget bias one."""
    for name, parameter in rnn.named_parameters():
        if "bias" in name:
            nn.init.zeros_(parameter)
            if isinstance(rnn, nn.LSTM) and "bias_ih" in name:
                nn.init.ones_(parameter[rnn.hidden_size : 2 * rnn.hidden_size])
        else:
            init = nn.init.orthogonal_ if "weight_hh" in name else nn.init.xavier_uniform_
            for gate in parameter.chunk(parameter.size(0) // rnn.hidden_size):
                init(gate)


def jointly(inputs: Tensor, *maps: nn.Linear) -> tuple[Tensor, ...]:
    """Return what several linear maps make of the same ... x I inputs, in training by one product.

    Without gradients a map may be of another kind, and one product gains nothing
    (benchmarks/LOG.md).
    """
    if not torch.is_grad_enabled():
        return tuple(each(inputs) for each in maps)
    sizes = [each.out_features for each in maps]
    biases: list[Tensor] = [
        each.weight.new_zeros(each.out_features) if each.bias is None else each.bias
        for each in maps
    ]
    weights: list[Tensor] = [each.weight for each in maps]
    return torch.split(F.linear(inputs, torch.cat(weights), torch.cat(biases)), sizes, -1)


def make_embedding(vocab_size: int, width: int, pad: int) -> nn.Embedding:
    """An embedding with standard deviation 1/sqrt(width), fit to serve as an output matrix too."""
    embedding = nn.Embedding(vocab_size, width)
    nn.init.normal_(embedding.weight, std=width**-0.5)
    with torch.no_grad():
        embedding.weight[pad].zero_()
    return embedding


def make_linear(
    d_input: int, d_output: int, bias: bool = True, kind: type[nn.Linear] = nn.Linear
) -> nn.Linear:
    """A linear map with Xavier weights and zero bias."""
    linear = kind(d_input, d_output, bias)
    nn.init.xavier_uniform_(linear.weight)
    if bias:
        nn.init.zeros_(linear.bias)
    return linear


def sequence_mask(like: Tensor, rate: float) -> Tensor:
    """Draw one dropout mask a row, to be used at every step (Gal & Ghahramani 2016).

    `like` is B x D; the mask holds 0 or 1 / (1 - rate).
    """
    return dropout(torch.ones_like(like), rate)


def dropout(inputs: Tensor, rate: float) -> Tensor:
    """Zero a share `rate` of the inputs and scale the others by 1 / (1 - rate)."""
    if inputs.device.type != "cpu":
        return F.dropout(inputs, rate)
    return inputs * dropout_mask(inputs, rate)


def dropped_relu(inputs: Tensor, rate: float) -> Tensor:
    """Return the dropout of relu(inputs)."""
    if inputs.device.type != "cpu":
        return F.dropout(F.relu(inputs), rate)
    return masked_relu(inputs, dropout_mask(inputs, rate), 1 / (1 - rate))


def dropout_mask(like: Tensor, rate: float) -> Tensor:
    """Draw a mask of 0 with a probability of `rate`, else 1 / (1 - rate), on the CPU.

    torch draws its CPU masks one number an element, at the cost of a matrix product each; here a
    64-bit number serves eight elements. A byte knows rates in steps of 1/256, so each column draws
    whether it takes the step below `rate` or above: in the mean the rate is exact.
    """
    draws = torch.empty(-(-like.numel() // 8), dtype=torch.int64).random_(-(2**63), None)
    draws = draws.view(torch.int8)[: like.numel()].view(like.shape)
    least = (rate * 2**8 + torch.rand(like.shape[-1])).clamp(max=2**8 - 1).floor() - 2**7
    kept = draws.ge_(least.to(torch.int8))  # in place, as bool is slow to turn into a float
    return kept.to(like.dtype).mul_(1 / (1 - rate))


class Dropout(nn.Module):
    """`dropout` while training."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, inputs: Tensor) -> Tensor:
        return dropout(inputs, self.rate) if self.training and self.rate > 0 else inputs
