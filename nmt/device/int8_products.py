"""Products of int8 matrices on the CPU, and a test that they are exact.

x86 CPUs without VNNI add pairs of products of unsigned and signed bytes in 16 bits, with saturation
("Nuances of int8 Computations" in the oneDNN documentation). Saturation cannot occur if weights are
between -64 and 64: 2 x 255 x 64 = 32,640 is less than 2^15.

Shapes: N rows, D inputs, V outputs.
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import torch
from torch import Tensor

LARGEST_INPUT = 127
ZERO_POINT = 128
"""Offset of the inputs, because both libraries multiply unsigned inputs by signed weights.

Both libraries subtract its contribution from the sums."""


def round_rows(rows: Tensor, scale: Tensor) -> Tensor:
    """Return N x D int8: rows divided by their N x 1 scales."""
    return (rows / scale).round_().to(torch.int8)


class OneDNNProduct:
    """Product of oneDNN with V x D int8 weights and their V scales."""

    def __init__(self, weight: Tensor, scale: Tensor) -> None:
        self._weight = torch.ops.onednn.qlinear_prepack(weight, None)
        self._scale = scale
        self._zero_points = torch.zeros(len(weight), dtype=torch.int64)

    def __call__(self, rows: Tensor, scale: Tensor) -> Tensor:
        """Return N x V products of N x D rows, rounded as by `round_rows`."""
        # in two's complement, adding 128 changes only the sign bit
        unsigned = round_rows(rows, scale).view(torch.uint8).bitwise_xor_(ZERO_POINT)
        weight = (self._weight, self._scale, self._zero_points)
        product: Tensor = torch.ops.onednn.qlinear_pointwise(
            *(unsigned, 1.0, ZERO_POINT), *weight, None, 1.0, 0, torch.float32, "none", [], ""
        )
        return product


class FBGEMMProduct:
    """Product of FBGEMM, a part of torch, with V x D int8 weights and their V scales."""

    def __init__(self, weight: Tensor, scale: Tensor) -> None:
        with warnings.catch_warnings():
            # torch 2.13 deprecates its quantized tensors; without them `is_exact` is False
            warnings.simplefilter("ignore")
            engine = torch.backends.quantized.engine
            zero_points = torch.zeros(len(weight), dtype=torch.int64)
            quantized = torch._make_per_channel_quantized_tensor(
                weight, scale.double(), zero_points, 0
            )
            torch.backends.quantized.engine = "fbgemm"
            try:
                self._weight = torch.ops.quantized.linear_prepack(quantized, None)
            finally:
                torch.backends.quantized.engine = engine

    def __call__(self, rows: Tensor, scale: Tensor) -> Tensor:
        """Return N x V products of N x D rows, rounded as by `round_rows`."""
        product: Tensor = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32(
            rows / scale, 1.0, ZERO_POINT, self._weight
        )
        return product


class Int8Kernel(NamedTuple):
    """Implementation of int8 products."""

    name: str
    product: type[OneDNNProduct] | type[FBGEMMProduct]
    largest_weight: int
    """Largest magnitude of a weight for which the sums are exact."""


KERNELS = (Int8Kernel("oneDNN", OneDNNProduct, 127), Int8Kernel("FBGEMM", FBGEMMProduct, 64))
"""In order of preference: with VNNI, oneDNN is faster, and its weights are more precise."""


def is_exact(kernel: Int8Kernel) -> bool:
    """Return whether a kernel exists here and adds the largest products without saturation.

    Also test `torch._int_mm`, which multiplies its weights for vocabulary shortlists.
    """
    weight = torch.full((32, 64), kernel.largest_weight, dtype=torch.int8)
    weight[1::2].neg_()
    weight[::3, ::2].neg_()
    rows = torch.full((5, 64), LARGEST_INPUT, dtype=torch.int8)
    rows[1::2].neg_()
    rows[::3, 1::2] = 0
    expected = rows.float() @ weight.float().T
    try:
        product = kernel.product(weight, torch.ones(len(weight)))(rows.float(), torch.ones(5, 1))
    except (AttributeError, RuntimeError):  # not in this build of torch
        return False
    return product.equal(expected) and torch._int_mm(rows, weight.T).float().equal(expected)
