"""Building blocks that architectures share.

Shapes: B rows, T length, I input width, D width, G = gates x D, V vocabulary, M real tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

aten = torch.ops.aten

State = tuple[Tensor, ...]
"""State of one recurrent layer: (h,) of a GRU, (h, c) of an LSTM; each B x D."""

Cell = Callable[[Tensor, Tensor | None, State], State]
"""One step: B x G from `project`, B x d_feed to feed back or None, and the state before."""

CELLS: dict[str, type[nn.GRU] | type[nn.LSTM]] = {"gru": nn.GRU, "lstm": nn.LSTM}


class Output(nn.Module):
    """The vocabulary matrix: W h + b. Its weight may be an embedding's (Press & Wolf 2017)."""

    def __init__(self, width: int, vocab_size: int, tied: nn.Embedding | None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(vocab_size, width)) if tied is None else tied.weight
        self.bias = nn.Parameter(torch.zeros(vocab_size))
        if tied is None:
            nn.init.xavier_uniform_(self.weight)
        self._rooms: dict[torch.dtype, Tensor] = {}

    def logits(self, hidden: Tensor) -> Tensor:
        """Return ... x V logits of ... x D hidden vectors."""
        return F.linear(hidden, self.weight, self.bias)

    def narrowed(self, tokens: Tensor) -> Callable[[Tensor], Tensor]:
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
            rooms = self._room(hidden.dtype), self._room(precise(hidden[:0]).dtype)
            given = hidden, self.weight, self.bias, tgt, label_smoothing, rooms
            return cast(Tensor, _ChunkedLoss.apply(*given))  # type: ignore[no-untyped-call]
        logits = precise(self.logits(hidden))
        return F.cross_entropy(logits, tgt, label_smoothing=label_smoothing, reduction="sum")

    def _room(self, kind: torch.dtype) -> Tensor:
        """Return memory for a chunk of logits, kept from call to call: fresh pages cost much."""
        if kind not in self._rooms:
            with torch.inference_mode(False):
                self._rooms[kind] = torch.empty(_ChunkedLoss.ROWS, len(self.weight), dtype=kind)
        return self._rooms[kind]


class _ChunkedLoss(torch.autograd.Function):
    """Output map and cross entropy, some rows at a time, their gradient made on the way.

    So M x V logits are never held. With p the softmax of a row's logits z and q the smoothed
    target, the loss is log sum exp z - q . z and its gradient p - q.
    """

    ROWS = 512

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor,
        tgt: Tensor,
        smoothing: float,
        rooms: tuple[Tensor, Tensor],
    ) -> Tensor:
        weight_used, bias_used = weight.to(hidden.dtype), bias.to(hidden.dtype)
        learns = any(ctx.needs_input_grad)
        ctx.gradients = None
        if learns:
            of_hidden = torch.empty_like(hidden)
            of_weight, of_bias = torch.zeros_like(weight), torch.zeros_like(bias)
        total = rooms[1].new_zeros(())
        for begin in range(0, len(hidden), _ChunkedLoss.ROWS):
            rows = slice(begin, begin + _ChunkedLoss.ROWS)
            right = tgt[rows, None]
            product, logits = (room[: len(right)] for room in rooms)
            torch.addmm(bias_used, hidden[rows], weight_used.t(), out=product)
            top = logits.copy_(product).amax(1, keepdim=True)
            total += top.sum() - (1 - smoothing) * logits.gather(1, right).sum()
            if smoothing:
                total -= smoothing * logits.mean(1).sum()
            powers = logits.sub_(top).exp_()
            norm = powers.sum(1, keepdim=True)
            total += norm.log().sum()
            if learns:
                change = powers.div_(norm).sub_(smoothing / len(weight))
                change.scatter_add_(1, right, torch.full_like(norm, smoothing - 1))
                change = product.copy_(change)
                torch.mm(change, weight_used, out=of_hidden[rows])
                of_weight += change.t() @ hidden[rows]
                of_bias += change.sum(0)
        if learns:
            ctx.gradients = of_hidden, of_weight, of_bias
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        [scale] = gradients
        found = [each.mul_(scale) for each in ctx.gradients]
        ctx.gradients = None
        return *found, None, None, None


def for_products(tensor: Tensor) -> Tensor:
    """Return a tensor in the type that autocast multiplies in, cast once for all its readers."""
    device = tensor.device.type
    if not torch.is_autocast_enabled(device):
        return tensor
    return tensor.to(torch.get_autocast_dtype(device))


def precise(tensor: Tensor) -> Tensor:
    """Return a tensor in fp32 at least: what softmax, sigmoid and sums are computed in."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def union(tokens: Tensor, vocab_size: int) -> tuple[Tensor, Tensor]:
    """Return the U ids that stand in `tokens`, ascending, and where each of `tokens` is there."""
    named = torch.zeros(vocab_size, dtype=torch.bool, device=tokens.device)
    named[tokens] = True
    return named.nonzero()[:, 0], (named.cumsum(0) - 1)[tokens]


def own_columns(products: Tensor, places: Tensor) -> Tensor:
    """Return of B x K x U products those at B x W places, B x K x W."""
    return products.gather(2, places[:, None].expand(-1, products.size(1), -1))


class _Gathered(NamedTuple):
    """What the steps leave on the way back; not the LoopProduct, whose weights lead here."""

    inputs: list[Tensor]
    gradients: list[Tensor]


class LoopProduct:
    """x W^T + b at every step of a loop, with one product for the gradient of W after the last.

    Else each step would make a gradient of W from its few rows, and add it to the others. W is
    O x I, or ... x O x I, one for each sentence.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self.gathered = _Gathered([], [])
        self.learns = torch.is_grad_enabled() and weight.requires_grad
        if self.learns:
            weight, bias = for_products(weight), None if bias is None else for_products(bias)
            weight, bias = _LoopWeights.apply(weight, bias, self.gathered)  # type: ignore[no-untyped-call]
        self.weight, self.bias = weight, bias

    def __call__(self, inputs: Tensor, more: Tensor | None = None) -> Tensor:
        """Return ... N x O of ... N x I; `more`, N x O, is added in the place of a bias."""
        added = self.bias if more is None else more
        if self.learns:
            inputs = inputs.to(self.weight.dtype)
            given = inputs, self.weight, added, self.gathered
            return cast(Tensor, _LoopStep.apply(*given))  # type: ignore[no-untyped-call]
        return mapped(inputs, self.weight, added)


def mapped(inputs: Tensor, weight: Tensor, added: Tensor | None) -> Tensor:
    """Return ... N x O of ... N x I: x W^T, plus a bias or N x O more."""
    return inputs @ weight.mT if added is None else torch.addmm(added, inputs, weight.t())


class _LoopWeights(torch.autograd.Function):
    """Hands the weights on; its backward pass comes after that of all steps."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, bias: Tensor | None, gathered: _Gathered) -> Any:
        ctx.set_materialize_grads(False)
        ctx.gathered = gathered
        return weight.view_as(weight), None if bias is None else bias.view_as(bias)

    @staticmethod
    def backward(ctx: Any, *_: None) -> Any:
        inputs, gradients = (torch.cat(parts, -2) for parts in ctx.gathered)
        for parts in ctx.gathered:
            parts.clear()
        bias = gradients.sum(0) if ctx.needs_input_grad[1] else None
        return gradients.mT @ inputs, bias, None


class _LoopStep(torch.autograd.Function):
    """One step's product, which leaves what the weights' gradient is made of."""

    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, weight: Tensor, added: Tensor | None, gathered: _Gathered
    ) -> Tensor:
        ctx.save_for_backward(inputs, weight)
        ctx.gathered, ctx.adds = gathered, added is not None and added.dim() == 2
        return mapped(inputs, weight, added)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        [gradient] = gradients
        inputs, weight = ctx.saved_tensors
        ctx.gathered.gradients.append(gradient)
        ctx.gathered.inputs.append(inputs.detach())
        back = gradient @ weight if ctx.needs_input_grad[0] else None
        return back, None, gradient if ctx.adds else None, None


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
        self.d_input = d_input
        self.rnn = CELLS[cell](d_input + d_feed, width, batch_first=True)
        init_recurrent(self.rnn)

    def forward(self, inputs: Tensor, state: State) -> Tensor:
        """Return B x T x D states for B x T x I inputs; for layers without a feed."""
        first = tuple(part[None].contiguous() for part in state)
        states, _ = self.rnn(inputs, first if self.is_lstm else first[0])
        return states  # type: ignore[no-any-return]

    def project(self, inputs: Tensor) -> Tensor:
        """Return the input part of the gates, ... x G, for ... x I inputs."""
        return input_gates(self.rnn, "", inputs)

    def cell(self) -> Cell:
        """Return the function of one step; its weights are sliced once, for all steps to come."""
        return make_cell(self.rnn, "", cast(Tensor, self.rnn.weight_ih_l0)[:, self.d_input :])


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
            return lstm_gates(recurrent(state[0], gates), state)
        return gru_gates(gates, recurrent(state[0]), state)

    return step


def input_gates(rnn: nn.GRU | nn.LSTM, suffix: str, inputs: Tensor) -> Tensor:
    """Return what ... x I inputs add to the gates, ... x G, with the biases that only add."""
    weight, bias = (getattr(rnn, f"{kind}_ih_l0{suffix}") for kind in ("weight", "bias"))
    if isinstance(rnn, nn.LSTM):
        bias = bias + getattr(rnn, f"bias_hh_l0{suffix}")
    return F.linear(inputs, weight[:, : inputs.size(-1)], bias)


def run_over(rnn: nn.GRU | nn.LSTM, suffix: str, inputs: Tensor) -> State:
    """Return h, and c of an LSTM, after each of B x T x I inputs, B x T x D each."""
    step = make_cell(rnn, suffix)
    gates = input_gates(rnn, suffix, inputs)
    zeros = gates.new_zeros(gates.size(0), rnn.hidden_size)
    state: State = (zeros, zeros) if isinstance(rnn, nn.LSTM) else (zeros,)
    states = []
    for gates_t in gates.unbind(1):
        state = step(gates_t, None, state)
        states.append(state)
    return tuple(torch.stack(parts, 1) for parts in zip(*states, strict=True))


def lstm_gates(gates: Tensor, state: State) -> State:
    """Return h' = o tanh(c'), c' = f c + i tanh(g), gates in torch's order i, f, g, o."""
    return cast(State, _LSTMGates.apply(gates, state[1]))  # type: ignore[no-untyped-call]


class _LSTMGates(torch.autograd.Function):
    """The gates differentiated by hand, in fewer passes than autograd's (benchmarks/LOG.md)."""

    @staticmethod
    def forward(ctx: Any, gates: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
        width = before.size(-1)
        both, new, out = torch.split(gates, [2 * width, width, width], -1)
        into, forget = both.sigmoid().chunk(2, -1)
        new, out = new.tanh(), out.sigmoid()
        memory = torch.addcmul(forget * before, into, new)
        shown = memory.tanh()
        ctx.save_for_backward(before, into, forget, new, out, shown)
        return out * shown, memory

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_hidden: Tensor, of_memory: Tensor) -> tuple[Tensor, Tensor]:
        before, into, forget, new, out, shown = ctx.saved_tensors
        of_memory = of_memory + aten.tanh_backward(of_hidden * out, shown)
        of_gates = out.new_empty(*out.shape[:-1], 4 * out.size(-1))
        places = of_gates.chunk(4, -1)
        aten.sigmoid_backward(of_memory * new, into, grad_input=places[0])
        aten.sigmoid_backward(of_memory * before, forget, grad_input=places[1])
        aten.tanh_backward(of_memory * into, new, grad_input=places[2])
        aten.sigmoid_backward(of_hidden * shown, out, grad_input=places[3])
        return of_gates, of_memory * forget


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
    """Zero a share `rate` of the inputs and scale the others by 1 / (1 - rate).

    torch draws its CPU masks one number an element, at the cost of a matrix product each; here a
    64-bit number serves eight elements. A byte knows rates in steps of 1/256, so each column draws
    whether it takes the step below `rate` or above: in the mean the rate is exact.
    """
    if inputs.device.type != "cpu":
        return F.dropout(inputs, rate)
    draws = torch.empty(-(-inputs.numel() // 8), dtype=torch.int64).random_(-(2**63), None)
    draws = draws.view(torch.int8)[: inputs.numel()].view(inputs.shape)
    least = (rate * 2**8 + torch.rand(inputs.shape[-1])).clamp(max=2**8 - 1).floor() - 2**7
    kept = draws.ge_(least.to(torch.int8))  # in place, as bool is slow to turn into a float
    return inputs * kept.to(inputs.dtype).mul_(1 / (1 - rate))


class Dropout(nn.Module):
    """`dropout` while training."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, inputs: Tensor) -> Tensor:
        return dropout(inputs, self.rate) if self.training and self.rate > 0 else inputs
