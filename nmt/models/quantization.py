"""Conversion of the weights of a loaded model: to a shorter float, or to int8.

int8: weights have a scale for each output, activations a scale for each row, and sums are exact in
int32. Therefore the result of a row does not depend on the other rows; torch's own dynamic
quantization has one scale for a whole batch. `nmt.device.int8_products` computes the products;
shortlists use `torch._int_mm`. Embeddings, norms, softmax and the recurrent products of an RNN stay
fp32.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from nmt.device.cpu import int8_kernel
from nmt.device.int8_products import LARGEST_INPUT, Kernel, round_rows
from nmt.models.layers import OutputProjection, own_columns, union

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


SMALLEST = 1e-30
"""Size below which a row counts as zeros."""


class Int8Linear(nn.Module):
    """x W^T + b with W and x rounded to integers, by a kernel of `nmt.device.int8_products`."""

    def __init__(self, weight: Tensor, bias: Tensor | None, kernel: Kernel) -> None:
        super().__init__()
        scale = row_scale(weight, kernel.largest_weight)
        self.weight = round_rows(weight, scale)
        self.scale = scale[:, 0].contiguous()
        self.bias = None if bias is None else bias.detach()
        self._product = kernel.product(self.weight, self.scale)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return ... x V for ... x D inputs, in fp32."""
        rows = inputs.reshape(-1, inputs.size(-1))
        scale = row_scale(rows)
        product = self._product(rows, scale)
        if self.bias is None:
            product.mul_(scale)
        else:
            torch.addcmul(self.bias, product, scale, out=product)
        return product.view(*inputs.shape[:-1], -1)


class Int8OutputProjection(OutputProjection):
    """The vocabulary matrix in int8."""

    def __init__(self, output: OutputProjection, kernel: Kernel) -> None:
        nn.Module.__init__(self)
        self.weight, self.bias, self._rooms = output.weight, output.bias, {}
        self.product = Int8Linear(output.weight.detach(), output.bias.detach(), kernel)

    def logits(self, hidden: Tensor) -> Tensor:
        """Return ... x V logits of ... x D hidden vectors."""
        logits: Tensor = self.product(hidden)
        return logits

    def restricted_to(self, tokens: Tensor) -> Callable[[Tensor], Tensor]:
        """Return the function from B x K x D hidden vectors to B x K x W logits of own tokens."""
        every, places = union(tokens, len(self.weight))
        weight = self.product.weight[every].t()
        scale, bias = self.product.scale[tokens][:, None], self.bias[tokens][:, None]

        def logits(hidden: Tensor) -> Tensor:
            rows = hidden.flatten(0, 1)
            sizes = row_scale(rows)
            sums = torch._int_mm(round_rows(rows, sizes), weight).view(*hidden.shape[:2], -1)
            own = own_columns(sums, places).float().mul_(scale)
            return own.mul_(sizes.view(*hidden.shape[:2], 1)).add_(bias)

        return logits


def row_scale(rows: Tensor, largest: int = LARGEST_INPUT) -> Tensor:
    """Return N x 1: the largest size in each row of N x D, divided by the largest integer."""
    return rows.abs().amax(1, keepdim=True).clamp_min_(SMALLEST).div_(largest)


def convert_weights(model: nn.Module, precision: str) -> None:
    """Change the weights of a loaded model in place.

    int8 requires a kernel; without one, `resolve_decoding_precision` selects fp32.
    """
    if precision != "int8":
        model.to(DTYPES[precision])
        return
    kernel = int8_kernel()
    assert kernel is not None
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Linear):
                setattr(module, name, Int8Linear(child.weight.detach(), child.bias, kernel))
            elif isinstance(child, OutputProjection):
                setattr(module, name, Int8OutputProjection(child, kernel))
