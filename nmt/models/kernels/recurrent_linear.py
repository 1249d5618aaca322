"""A linear map in a loop over time steps, with one product for its weight gradient.

Shapes: N rows, I inputs, O outputs, T time steps.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from nmt.models.kernels.dtypes import to_autocast_dtype


class _StepGradients(NamedTuple):
    """Tensors that the backward passes of the steps collect, last step first.

    A separate object, because a reference to the DeferredGradientLinear would form a cycle: its
    weight refers to the autograd graph, which refers to this object.
    """

    inputs: list[Tensor]
    """N x I inputs of each step."""
    outputs: list[Tensor]
    """N x O gradients of each step's outputs."""


class LoopLinear:
    """x W^T + b at every step of a loop."""

    def __init__(
        self, weight: Tensor, bias: Tensor | None = None, step_addends: Tensor | None = None
    ) -> None:
        """Store the arguments, which are those of `DeferredGradientLinear`."""
        self.weight, self.bias, self.step_addends = weight, bias, step_addends

    def __call__(self, inputs: Tensor, addend: Tensor | None = None) -> Tensor:
        """Return ... N x O for ... N x I inputs; an N x O `addend` replaces the bias."""
        return _linear(inputs, self.weight, self.bias if addend is None else addend)


class DeferredGradientLinear(LoopLinear):
    """x W^T + b at every step of a loop; the gradient of W is computed once, after all steps.

    Autograd would compute a gradient of W from the few rows of each step, and add these up. The
    backward pass collects the inputs and output gradients of all steps, and multiplies them once.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor | None = None, step_addends: Tensor | None = None
    ) -> None:
        """Prepare a loop; create a new object for every loop.

        `weight` is O x I, or ... x O x I with one matrix for each sentence, such as the keys of
        attention. `bias` has O values. `step_addends` is T x N x O. The caller passes slice t of
        the attribute `step_addends` to step t as `addend`.
        """
        self.needs_gradient = torch.is_grad_enabled() and weight.requires_grad
        self._gradients = _StepGradients([], [])
        if self.needs_gradient:
            # Convert once: autocast does not convert the inputs of an autograd.Function.
            weight = to_autocast_dtype(weight)
            bias = None if bias is None else to_autocast_dtype(bias)
            weight, bias = _LoopWeights.apply(weight, bias, step_addends, self._gradients)  # type: ignore[no-untyped-call]
            # `_LoopWeights` returns the gradient of all step addends at once, so that of a slice
            # is not needed.
            step_addends = None if step_addends is None else step_addends.detach()
        super().__init__(weight, bias, step_addends)

    def __call__(self, inputs: Tensor, addend: Tensor | None = None) -> Tensor:
        """Return ... N x O for ... N x I inputs; an N x O `addend` replaces the bias."""
        if not self.needs_gradient:
            return super().__call__(inputs, addend)
        addend = self.bias if addend is None else addend
        inputs = inputs.to(self.weight.dtype)
        return cast(
            Tensor,
            _LoopStep.apply(inputs, self.weight, addend, self._gradients),  # type: ignore[no-untyped-call]
        )


class LoopProducts(NamedTuple):
    """Products of attention with keys and values, in a loop over target positions.

    Shapes: B sentences, H heads, Q queries, S source positions, d width of a head.
    """

    keys: DeferredGradientLinear
    """From B x H x Q x d queries to B x H x Q x S scores."""
    values: DeferredGradientLinear
    """From B x H x Q x S weights to B x H x Q x d contexts."""


def _linear(inputs: Tensor, weight: Tensor, addend: Tensor | None) -> Tensor:
    """Return x W^T, plus a bias (O) or a term of the step (N x O)."""
    return inputs @ weight.mT if addend is None else torch.addmm(addend, inputs, weight.t())


class _LoopWeights(torch.autograd.Function):
    """Identity on the weights. Its backward pass runs after those of all steps."""

    @staticmethod
    def forward(
        ctx: Any,
        weight: Tensor,
        bias: Tensor | None,
        step_addends: Tensor | None,
        gradients: _StepGradients,
    ) -> Any:
        ctx.set_materialize_grads(False)
        ctx.gradients = gradients
        ctx.terms_shape = None if step_addends is None else step_addends.shape
        return weight.view_as(weight), None if bias is None else bias.view_as(bias)

    @staticmethod
    def backward(ctx: Any, *_: None) -> Any:
        unused_steps = 0  # the last steps, if the loss does not depend on their outputs
        if ctx.terms_shape is not None:
            unused_steps = ctx.terms_shape[0] - len(ctx.gradients.inputs)
        inputs, grad_outputs = (
            torch.cat([*steps[::-1], *[torch.zeros_like(steps[0])] * unused_steps], -2)
            for steps in ctx.gradients
        )
        for steps in ctx.gradients:
            steps.clear()
        grad_bias = grad_outputs.sum(0) if ctx.needs_input_grad[1] else None
        grad_terms = None if ctx.terms_shape is None else grad_outputs.view(ctx.terms_shape)
        return grad_outputs.mT @ inputs, grad_bias, grad_terms, None


class _LoopStep(torch.autograd.Function):
    """The product of one step. Its backward pass collects the factors of the weight gradient."""

    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, weight: Tensor, addend: Tensor | None, gradients: _StepGradients
    ) -> Tensor:
        ctx.save_for_backward(inputs, weight)
        ctx.gradients = gradients
        ctx.has_term = addend is not None and addend.dim() == 2
        return _linear(inputs, weight, addend)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:
        [gradient] = grad_outputs
        inputs, weight = ctx.saved_tensors
        ctx.gradients.outputs.append(gradient)
        ctx.gradients.inputs.append(inputs.detach())
        grad_inputs = gradient @ weight if ctx.needs_input_grad[0] else None
        return grad_inputs, None, gradient if ctx.has_term else None, None
