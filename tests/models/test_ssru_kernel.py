"""The SSRU operator against the loop that autograd records."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nmt.models.kernels.ssru import ssru_cells


def make_inputs(length: int) -> tuple[Tensor, Tensor]:
    """Return gates and candidates of two sentences, as views that are not contiguous."""
    torch.manual_seed(length)
    forget, candidate = (
        torch.rand(length, 2, 3, dtype=torch.float64).requires_grad_() for _ in range(2)
    )
    return forget.transpose(0, 1), candidate.transpose(0, 1)


def loop(forget: Tensor, candidate: Tensor) -> Tensor:
    cells = [candidate[:, 0]]
    for t in range(1, candidate.size(1)):
        cells.append(forget[:, t] * cells[-1] + candidate[:, t])
    return torch.stack(cells, 1)


@pytest.mark.parametrize("length", [1, 2, 7])
def test_ssru_cells_match_loop(length: int) -> None:
    inputs = make_inputs(length)
    cells, expected = ssru_cells(*inputs), loop(*inputs)
    torch.testing.assert_close(cells, expected, rtol=1e-12, atol=1e-12)
    factors = torch.randn_like(cells)
    gradients, expected_gradients = (
        torch.autograd.grad((result * factors).sum(), inputs, allow_unused=True)
        for result in (cells, expected)
    )
    for actual, gradient in zip(gradients, expected_gradients, strict=True):
        gradient = torch.zeros_like(actual) if gradient is None else gradient
        torch.testing.assert_close(actual, gradient, rtol=1e-12, atol=1e-12)


def test_ssru_cells_pass_operator_checks() -> None:
    leaves = [tensor.detach().requires_grad_() for tensor in make_inputs(4)]
    torch.library.opcheck(torch.ops.nmt.ssru_cells.default, tuple(leaves))
