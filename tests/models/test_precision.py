"""int8 products: near fp32, and a row never depends on the others."""

from __future__ import annotations

import pytest
import torch
from model_cases import make_any, make_source, make_target

from nmt.models.precision import Int8, Int8Output, cast, row_scale


def test_rows_are_scaled_by_their_largest_entry() -> None:
    rows = torch.tensor([[1.0, -127.0], [0.5, 0.25]])
    torch.testing.assert_close(row_scale(rows), torch.tensor([[1.0], [0.5 / 127]]))


def test_a_product_of_whole_numbers_is_exact() -> None:
    weight = torch.tensor([[127.0, 3.0, -5.0], [1.0, 127.0, 0.0]])
    inputs = torch.tensor([[127.0, 2.0, 1.0], [0.0, -127.0, 4.0]])
    bias = torch.tensor([0.5, -0.5])
    torch.testing.assert_close(Int8(weight, bias)(inputs), inputs @ weight.T + bias)


def test_products_are_within_the_rounding_of_both_sides() -> None:
    torch.manual_seed(1)
    inputs, weight = torch.randn(40, 64), torch.randn(30, 64)
    found, exact = Int8(weight, None)(inputs), inputs @ weight.T
    assert (found - exact).abs().max() > 0
    step = row_scale(inputs) / 2 * weight.abs().sum(1) + inputs.abs().sum(1, keepdim=True) * (
        row_scale(weight)[:, 0] / 2
    )
    slack = 64 * row_scale(inputs) / 2 * row_scale(weight)[:, 0] / 2
    assert ((found - exact).abs() <= step + slack + 1e-4).all()


def test_a_row_does_not_depend_on_the_others() -> None:
    torch.manual_seed(1)
    product = Int8(torch.randn(30, 64), torch.randn(30))
    rows = torch.randn(50, 64) * torch.logspace(-3, 3, 50)[:, None]
    together = product(rows)
    for row, expected in zip(rows, together, strict=True):
        assert product(row[None])[0].equal(expected)


def test_a_row_of_zeros_gives_the_bias() -> None:
    bias = torch.randn(5)
    assert Int8(torch.randn(5, 4), bias)(torch.zeros(1, 4))[0].equal(bias)


@pytest.mark.parametrize("precision", ["bf16", "int8"])
@pytest.mark.parametrize(
    "settings",
    [
        {"arch": "transformer"},
        {"arch": "transformer", "decoder": "ssru", "activation": "swiglu"},
        {"wiring": "luong"},
        {"wiring": "bahdanau", "score": "additive", "cell": "lstm"},
    ],
    ids=str,
)
def test_a_cast_model_is_near_the_whole_one(settings: dict[str, object], precision: str) -> None:
    model, narrow = make_any(settings), make_any(settings)
    cast(narrow, precision)
    logits = []
    with torch.inference_mode():
        for each in (model, narrow):
            memory = each.encode(*make_source([4, 2]))
            hidden, _ = each.decode(memory, make_target(2, 3))
            logits.append(each.output.logits(hidden).float())
    assert not logits[0].equal(logits[1])
    error = (logits[0] - logits[1]).abs().mean() / logits[0].abs().mean()
    assert error < 0.08
    assert isinstance(narrow.output, Int8Output) == (precision == "int8")
