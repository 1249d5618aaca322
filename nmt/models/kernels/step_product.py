"""Products with the same weights at every step of a loop, with one product for their gradients.

Shapes: N rows, I inputs, O outputs; ... dimensions of a batch, such as sentences and heads.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from nmt.models.kernels.dtypes import to_autocast_dtype


class _StepGradients(NamedTuple):
    """Tensors that the backward passes of the steps collect, last step first."""

    inputs: list[Tensor]
    """... N x I inputs of each step."""
    outputs: list[Tensor]
    """... N x O gradients of each step's outputs."""


class _SharedWeights(NamedTuple):
    """Weight and bias that the steps of a loop share."""

    weight: Tensor
    """The weight itself; this reference keeps its id from being used for another tensor."""
    weight_view: Tensor
    """The weight in the type of the products; the steps multiply by it."""
    bias_view: Tensor | None
    gradients: _StepGradients


class _Loop(threading.local):
    """The loop that this thread runs; its weights by id, or None outside `deferred_gradients`."""

    weights: dict[int, _SharedWeights] | None = None


_loop = _Loop()


@contextmanager
def deferred_gradients() -> Iterator[None]:
    """Compute the gradients of the weights of `step_product` once for all steps in the block.

    Autograd would compute a gradient of a weight from the few rows of each step, and add these up.
    Instead, the backward pass collects the inputs and output gradients of all steps, and multiplies
    them once. The block contains one loop.
    """
    _loop.weights = {}
    try:
        yield
    finally:
        _loop.weights = None


def step_product(inputs: Tensor, weight: Tensor, addend: Tensor | None = None) -> Tensor:
    """Return x W^T + a, ... N x O, for ... N x I inputs.

    `weight` is O x I, or ... x O x I, such as the keys of attention. `addend` has O or N x O
    values, and requires an O x I weight.
    """
    if weight.dim() == 2 and inputs.dim() > 2:
        return step_product(inputs.flatten(0, -2), weight, addend).view(*inputs.shape[:-1], -1)
    if _loop.weights is None or not (torch.is_grad_enabled() and weight.requires_grad):
        return _product(inputs, weight, addend)
    is_bias = addend is not None and addend.dim() == 1
    shared = _loop.weights.get(id(weight))
    if shared is None:
        shared = _loop.weights[id(weight)] = _share(weight, addend if is_bias else None)
    inputs = inputs.to(shared.weight_view.dtype)
    addend = shared.bias_view if is_bias else addend
    product = _StepProduct.apply(inputs, shared.weight_view, addend, shared.gradients)  # type: ignore[no-untyped-call]
    return cast(Tensor, product)


def _share(weight: Tensor, bias: Tensor | None) -> _SharedWeights:
    # Convert once: autocast does not convert the inputs of an autograd.Function.
    cast_weight = to_autocast_dtype(weight)
    cast_bias = None if bias is None else to_autocast_dtype(bias)
    gradients = _StepGradients([], [])
    weight_view, bias_view = _Share.apply(cast_weight, cast_bias, gradients)  # type: ignore[no-untyped-call]
    return _SharedWeights(weight, weight_view, bias_view, gradients)


def _product(inputs: Tensor, weight: Tensor, addend: Tensor | None) -> Tensor:
    return inputs @ weight.mT if addend is None else torch.addmm(addend, inputs, weight.t())


class _Share(torch.autograd.Function):
    """Identity on weight and bias. Its backward pass runs after those of all steps."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, bias: Tensor | None, gradients: _StepGradients) -> Any:
        ctx.set_materialize_grads(False)
        ctx.gradients = gradients
        return weight.view_as(weight), None if bias is None else bias.view_as(bias)

    @staticmethod
    def backward(ctx: Any, *_: None) -> Any:
        inputs, grad_outputs = (torch.cat(steps[::-1], -2) for steps in ctx.gradients)
        for steps in ctx.gradients:
            steps.clear()
        grad_bias = grad_outputs.sum(0) if ctx.needs_input_grad[1] else None
        return grad_outputs.mT @ inputs, grad_bias, None


class _StepProduct(torch.autograd.Function):
    """The product of one step. Its backward pass collects the factors of the weight gradient."""

    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, weight: Tensor, addend: Tensor | None, gradients: _StepGradients
    ) -> Tensor:
        ctx.save_for_backward(inputs, weight)
        ctx.gradients = gradients
        ctx.has_own_addend = addend is not None and addend.dim() == 2
        return _product(inputs, weight, addend)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:
        [gradient] = grad_outputs
        inputs, weight = ctx.saved_tensors
        ctx.gradients.outputs.append(gradient)
        ctx.gradients.inputs.append(inputs.detach())
        grad_inputs = gradient @ weight if ctx.needs_input_grad[0] else None
        return grad_inputs, None, gradient if ctx.has_own_addend else None, None
