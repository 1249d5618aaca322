"""Conversion of weights to int8 and bf16: results are close to fp32, and rows are independent."""

from __future__ import annotations

import pytest
import torch

from nmt.device.cpu import int8_kernel
from nmt.device.int8_products import KERNELS, Int8Kernel, OneDNNProduct, is_exact
from nmt.models.quantization import Int8Linear, Int8OutputProjection, convert_weights, row_scale
from tests.support.models.tiny_models import make_arch_model, make_source, make_target

EXACT_KERNELS = [kernel for kernel in KERNELS if is_exact(kernel)]
every_kernel = pytest.mark.parametrize("kernel", EXACT_KERNELS, ids=lambda kernel: kernel.name)


def test_row_scale_is_largest_magnitude_of_row() -> None:
    rows = torch.tensor([[1.0, -127.0], [0.5, 0.25]])
    torch.testing.assert_close(row_scale(rows), torch.tensor([[1.0], [0.5 / 127]]))


def test_is_exact_missing_operator_returns_false() -> None:
    class MissingOperator(OneDNNProduct):
        def __init__(self, weight: torch.Tensor, scale: torch.Tensor) -> None:
            torch.ops.onednn.no_such_operator(weight)

    assert not is_exact(Int8Kernel("missing", MissingOperator, 127))


def test_is_exact_saturated_sums_returns_false() -> None:
    class SaturatingProduct(OneDNNProduct):
        def __init__(self, weight: torch.Tensor, scale: torch.Tensor) -> None:
            self.weight = weight.float()

        def __call__(self, rows: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
            products = (rows[:, None] + 128) * self.weight
            pairs = products[:, :, ::2] + products[:, :, 1::2]
            sums: torch.Tensor = pairs.clamp(-(2**15), 2**15 - 1).sum(2)
            return sums - 128 * self.weight.sum(1)

    assert not is_exact(Int8Kernel("saturated", SaturatingProduct, 127))
    assert is_exact(Int8Kernel("in range", SaturatingProduct, 64))


def test_int8_on_x86_has_an_exact_kernel() -> None:
    if torch.cpu.get_capabilities().get("avx2"):
        assert int8_kernel() is not None


@every_kernel
@pytest.mark.parametrize(("rows", "width", "outputs"), [(1, 64, 5), (9, 513, 40), (40, 1000, 33)])
def test_int8_largest_products_are_exact(
    kernel: Int8Kernel, rows: int, width: int, outputs: int
) -> None:
    signs = (
        torch.arange(max(rows, outputs))[:, None].bitwise_and(torch.arange(width)).sign() * 2 - 1
    )
    weight = kernel.largest_weight * signs[:outputs].float()
    inputs = 127 * signs[:rows].float()
    inputs[-1, 1:] = 3.0
    exact = (inputs.double() @ weight.double().T).float()
    assert Int8Linear(weight, None, kernel)(inputs).equal(exact)


@every_kernel
def test_int8_random_integers_are_exact(kernel: Int8Kernel) -> None:
    torch.manual_seed(1)
    largest = kernel.largest_weight
    weight = torch.randint(-largest, largest + 1, (40, 512)).float()
    inputs = torch.randint(-127, 128, (20, 512)).float()
    weight[:, 0], inputs[:, 0] = largest, -127  # the scales are 1
    bias = torch.randint(-9, 10, (40,)) / 2
    assert Int8Linear(weight, bias, kernel)(inputs).equal(inputs @ weight.T + bias)


def test_int8_kernels_round_inputs_equally() -> None:
    torch.manual_seed(1)
    weight = torch.randint(-64, 65, (40, 64), dtype=torch.int8)
    rows = torch.randint(-254, 255, (30, 64)) / 2  # odd numbers give ties
    unit_scales = torch.ones(40), torch.ones(30, 1)
    products = [
        kernel.product(weight, unit_scales[0])(rows, unit_scales[1]) for kernel in EXACT_KERNELS
    ]
    assert all(product.equal(rows.round() @ weight.float().T) for product in products)


@every_kernel
def test_int8_error_is_within_rounding(kernel: Int8Kernel) -> None:
    torch.manual_seed(1)
    inputs, weight = torch.randn(40, 64), torch.randn(30, 64)
    product, exact = Int8Linear(weight, None, kernel)(inputs), inputs @ weight.T
    assert (product - exact).abs().max() > 0
    weight_scale = row_scale(weight, kernel.largest_weight)[:, 0]
    first_order = row_scale(inputs) / 2 * weight.abs().sum(1) + inputs.abs().sum(
        1, keepdim=True
    ) * (weight_scale / 2)
    second_order = 64 * row_scale(inputs) / 2 * weight_scale / 2
    assert ((product - exact).abs() <= first_order + second_order + 1e-4).all()


@every_kernel
def test_int8_row_is_independent_of_other_rows(kernel: Int8Kernel) -> None:
    torch.manual_seed(1)
    product = Int8Linear(torch.randn(30, 64), torch.randn(30), kernel)
    rows = torch.randn(50, 64) * torch.logspace(-3, 3, 50)[:, None]
    products = product(rows)
    for row, expected in zip(rows, products, strict=True):
        assert product(row[None])[0].equal(expected)


@every_kernel
def test_int8_row_of_zeros_gives_bias(kernel: Int8Kernel) -> None:
    bias = torch.randn(5)
    assert Int8Linear(torch.randn(5, 4), bias, kernel)(torch.zeros(1, 4))[0].equal(bias)


@pytest.mark.parametrize(
    "precision",
    [
        "bf16",
        pytest.param("int8", marks=pytest.mark.skipif(not EXACT_KERNELS, reason="no kernel")),
    ],
)
@pytest.mark.parametrize(
    "settings",
    [
        {"arch": "transformer"},
        {"arch": "transformer", "decoder": "ssru", "activation": "swiglu"},
        {"attention": "luong"},
        {"attention": "bahdanau", "score": "additive", "cell": "lstm"},
    ],
    ids=str,
)
def test_convert_weights_keeps_model_close_to_fp32(
    settings: dict[str, object], precision: str
) -> None:
    model, converted = make_arch_model(settings), make_arch_model(settings)
    convert_weights(converted, precision)
    logits = []
    with torch.inference_mode():
        for current in (model, converted):
            memory = current.encode(*make_source([4, 2]))
            hidden, _ = current.decode(memory, make_target(2, 3))
            logits.append(current.output.logits(hidden).float())
    assert not logits[0].equal(logits[1])
    error = (logits[0] - logits[1]).abs().mean() / logits[0].abs().mean()
    assert error < 0.08
    assert isinstance(converted.output, Int8OutputProjection) == (precision == "int8")
