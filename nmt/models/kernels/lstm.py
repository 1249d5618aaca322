"""One step of an LSTM with a hand-written gradient, in fewer passes over memory than autograd's."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

aten = torch.ops.aten


def lstm_step(gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """Return h' = o tanh(c') and c' = f c + i g for N x 4D gates and N x D cells.

    The gates come before their activation, in torch's order i, f, g, o.
    """
    return cast(tuple[Tensor, Tensor], _LSTMStep.apply(gates, cell))  # type: ignore[no-untyped-call]


class _LSTMStep(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        width = cell.size(-1)
        input_and_forget, candidate, out = torch.split(gates, [2 * width, width, width], -1)
        input_gate, forget_gate = input_and_forget.sigmoid().chunk(2, -1)
        candidate, output_gate = candidate.tanh(), out.sigmoid()
        new_cell = torch.addcmul(forget_gate * cell, input_gate, candidate)
        tanh_cell = new_cell.tanh()
        ctx.save_for_backward(cell, input_gate, forget_gate, candidate, output_gate, tanh_cell)
        return output_gate * tanh_cell, new_cell

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_hidden: Tensor, grad_cell: Tensor) -> tuple[Tensor, Tensor]:
        cell, input_gate, forget_gate, candidate, output_gate, tanh_cell = ctx.saved_tensors
        grad_cell = grad_cell + aten.tanh_backward(grad_hidden * output_gate, tanh_cell)
        grad_gates = output_gate.new_empty(*output_gate.shape[:-1], 4 * output_gate.size(-1))
        grad_input, grad_forget, grad_candidate, grad_output = grad_gates.chunk(4, -1)
        aten.sigmoid_backward(grad_cell * candidate, input_gate, grad_input=grad_input)
        aten.sigmoid_backward(grad_cell * cell, forget_gate, grad_input=grad_forget)
        aten.tanh_backward(grad_cell * input_gate, candidate, grad_input=grad_candidate)
        aten.sigmoid_backward(grad_hidden * tanh_cell, output_gate, grad_input=grad_output)
        return grad_gates, grad_cell * forget_gate
