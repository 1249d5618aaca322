"""Gradients written by hand, where autograd's take more passes over memory, or more memory.

Each stands beside what it computes; benchmarks/LOG.md says what it gains. Shapes as in
nmt/models/layers.py and nmt/models/attention.py.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

aten = torch.ops.aten

ROWS_AT_A_TIME = 512
"""Rows of logits in a chunk of the loss."""

ROWS_TOGETHER = 2048
"""Rows whose share of the output map's gradient comes of one product."""


def for_products(tensor: Tensor) -> Tensor:
    """Return a tensor in the type that autocast multiplies in, cast once for all its readers."""
    device = tensor.device.type
    if not torch.is_autocast_enabled(device):
        return tensor
    return tensor.to(torch.get_autocast_dtype(device))


def precise(tensor: Tensor) -> Tensor:
    """Return a tensor in fp32 at least: what softmax, sigmoid and sums are computed in."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def chunked_loss(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor,
    tgt: Tensor,
    label_smoothing: float,
    rooms: tuple[Tensor, Tensor],
) -> Tensor:
    """Return the summed cross entropy of an output map, never holding all its logits.

    `rooms` is memory for logits: ROWS_TOGETHER as the products make them, ROWS_AT_A_TIME as they
    are summed.
    """
    given = hidden, weight, bias, tgt, label_smoothing, rooms
    return cast(Tensor, _ChunkedLoss.apply(*given))  # type: ignore[no-untyped-call]


class _ChunkedLoss(torch.autograd.Function):
    """Output map and cross entropy, some rows at a time, their gradient made on the way.

    So M x V logits are never held. With p the softmax of a row's logits z, z_max the largest of
    them, t its target and e the smoothing, the loss is log sum exp z - (1 - e) z_t - e mean z,
    where log sum exp z = z_max - log p_max, and its gradient p - (1 - e) onehot_t - e / V. What
    the last terms give, for all rows and tokens alike, is added in one at the end.
    """

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
        for begin in range(0, len(hidden), ROWS_TOGETHER):
            together = hidden[begin : begin + ROWS_TOGETHER]
            changes = rooms[0][: len(together)]
            for first in range(0, len(together), ROWS_AT_A_TIME):
                rows = slice(first, first + ROWS_AT_A_TIME)
                right, change = tgt[begin:][rows, None], changes[rows]
                torch.addmm(bias_used, together[rows], weight_used.t(), out=change)
                logits = _precise_in(rooms[1], change)
                total += logits.amax(1).sum() - (1 - smoothing) * logits.gather(1, right).sum()
                powers = torch.softmax(logits, 1, out=logits)
                total -= powers.amax(1).log().sum()
                if learns:
                    wanted = powers.new_full((len(right), 1), smoothing - 1)
                    change.copy_(powers.scatter_add_(1, right, wanted))
                    torch.mm(change, weight_used, out=of_hidden[begin:][rows])
            if learns:
                of_weight += changes.t() @ together
                of_bias += changes.sum(0)
        if smoothing:
            share = smoothing / len(weight)
            all_hidden, all_weight = (precise(each).sum(0) for each in (hidden, weight_used))
            total -= share * (all_hidden @ all_weight + len(hidden) * precise(bias_used).sum())
            if learns:
                of_hidden -= share * all_weight
                of_weight -= share * all_hidden
                of_bias -= share * len(hidden)
        if learns:
            ctx.gradients = of_hidden, of_weight, of_bias
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        [scale] = gradients
        found = [each.mul_(scale) for each in ctx.gradients]
        ctx.gradients = None
        return *found, None, None, None


def _precise_in(room: Tensor, made: Tensor) -> Tensor:
    """Return a tensor in the type of `room`: itself, or a copy there."""
    return made if made.dtype == room.dtype else room[: len(made)].copy_(made)


class _Gathered(NamedTuple):
    """What the steps leave on the way back; not the LoopProduct, whose weights lead here."""

    inputs: list[Tensor]
    gradients: list[Tensor]


class LoopProduct:
    """x W^T + b at every step of a loop, with one product for the gradient of W after the last.

    Else each step would make a gradient of W from its few rows, and add it to the others. W is
    O x I, or ... x O x I, one for each sentence. `known` is T x N x O, what each of T steps adds to
    its product: what the steps leave, laid side by side once, is its gradient too.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor | None = None, known: Tensor | None = None
    ) -> None:
        self.gathered = _Gathered([], [])
        self.learns = torch.is_grad_enabled() and weight.requires_grad
        if self.learns:
            weight, bias = for_products(weight), None if bias is None else for_products(bias)
            given = weight, bias, known, self.gathered
            weight, bias = _LoopWeights.apply(*given)  # type: ignore[no-untyped-call]
            known = None if known is None else known.detach()
        self.weight, self.bias, self.known = weight, bias, known

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
    """Hands the weights on; its backward pass comes after that of all steps.

    The last of them have none where nothing reads what they made.
    """

    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, bias: Tensor | None, known: Tensor | None, gathered: _Gathered
    ) -> Any:
        ctx.set_materialize_grads(False)
        ctx.gathered, ctx.shape = gathered, None if known is None else known.shape
        return weight.view_as(weight), None if bias is None else bias.view_as(bias)

    @staticmethod
    def backward(ctx: Any, *_: None) -> Any:
        unread = 0 if ctx.shape is None else ctx.shape[0] - len(ctx.gathered.inputs)
        inputs, gradients = (
            torch.cat([*parts[::-1], *[torch.zeros_like(parts[0])] * unread], -2)
            for parts in ctx.gathered
        )
        for parts in ctx.gathered:
            parts.clear()
        bias = gradients.sum(0) if ctx.needs_input_grad[1] else None
        known = None if ctx.shape is None else gradients.view(ctx.shape)
        return gradients.mT @ inputs, bias, known, None


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


def lstm_gates(gates: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
    """Return h' = o tanh(c') and c' = f c + i tanh(g), gates in torch's order i, f, g, o."""
    return cast(tuple[Tensor, Tensor], _LSTMGates.apply(gates, memory))  # type: ignore[no-untyped-call]


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


def masked_relu(inputs: Tensor, mask: Tensor, scale: float) -> Tensor:
    """Return relu(inputs) times a mask that holds 0 or `scale`, as dropout's does."""
    return cast(Tensor, _MaskedReLU.apply(inputs, mask, scale))  # type: ignore[no-untyped-call]


class _MaskedReLU(torch.autograd.Function):
    """Only what it makes is kept: where that is positive the gradient is `scale`, else 0."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, mask: Tensor, scale: float) -> Tensor:
        made = inputs.clamp_min(0).mul_(mask)
        ctx.save_for_backward(made)
        ctx.scale = mask.new_full((), scale)  # rounded as it is in the mask
        return made

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        [made] = ctx.saved_tensors
        return aten.threshold_backward(gradient, made, 0).mul_(ctx.scale), None, None


def energies(query: Tensor, keys: Tensor, vector: Tensor) -> Tensor:
    """Return v . tanh(q + k), B x H x Q x W; what is summed, d times as large, is not kept.

    `query` is B x H x Q x d, `vector` H x d, `keys` B x H x W x d or, where each query has its own,
    B x H x Q x W x d.
    """
    return cast(Tensor, _Energies.apply(query, keys, vector))  # type: ignore[no-untyped-call]


class _Energies(torch.autograd.Function):
    """A query at a time, each tanh computed again on the way back.

    By way of tanh(x) = 2 s - 1 with s = sigmoid(2 x), whose slope is 4 (s - s^2), as torch's tanh
    takes three to six times as long as its sigmoid.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, keys: Tensor, vector: Tensor) -> Tensor:
        ctx.save_for_backward(query, keys, vector)
        found = [
            torch.einsum("bhwd,hd->bhw", _sigmoid(query_t, keys_t).sub_(0.5), vector)
            for query_t, keys_t in zip(query.unbind(2), _for_each(query, keys), strict=True)
        ]
        return torch.stack(found, 2).mul_(2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, keys, vector = ctx.saved_tensors
        of_query: list[Tensor] = []
        of_keys: list[Tensor] = []
        of_vector = torch.zeros_like(vector)
        for query_t, keys_t, scores_t in zip(
            query.unbind(2), _for_each(query, keys), of_scores.unbind(2), strict=True
        ):
            sigmoid = _sigmoid(query_t, keys_t)
            of_vector += 2 * torch.einsum("bhw,bhwd->hd", scores_t, sigmoid)
            of_vector -= scores_t.sum((0, 2))[:, None]
            slope = torch.addcmul(sigmoid, sigmoid, sigmoid, value=-1, out=sigmoid)
            of_query.append(torch.einsum("bhw,bhwd->bhd", scores_t, slope))
            if of_keys and keys.dim() == 4:
                of_keys[0].addcmul_(scores_t[..., None], slope)
            else:
                of_keys.append(scores_t[..., None] * slope)
        for each in of_keys:
            each *= 4 * vector[:, None]
        whole = of_keys[0] if keys.dim() == 4 else torch.stack(of_keys, 2)
        return torch.stack(of_query, 2).mul_(4 * vector[:, None]), whole, of_vector


def _sigmoid(query: Tensor, keys: Tensor) -> Tensor:
    """Return sigmoid(2 (q + k)), B x H x W x d, for B x H x d queries."""
    return torch.add(2 * query[:, :, None], keys, alpha=2).sigmoid_()


def _for_each(query: Tensor, keys: Tensor) -> tuple[Tensor, ...]:
    """Return the B x H x W x d keys of each query."""
    return (keys,) * query.size(2) if keys.dim() == 4 else keys.unbind(2)
