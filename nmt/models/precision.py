"""Weights cast once, when a trained model is loaded: to a shorter float, or to int8.

int8: weights with a scale for each output, activations with a scale for each row, summed exactly
in int32. So a row's result never depends on the rows beside it. torch has an int8 product on the
CPU (`torch._int_mm`); its own dynamic quantization takes one scale for a whole batch.
Embeddings, norms, softmax and the recurrent products of an RNN stay fp32.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from nmt.models.layers import Output, own_columns, union

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


SMALLEST = 1e-30
"""Size below which a row counts as zeros."""


class Int8(nn.Module):
    """x W^T + b with W and x rounded to 8 bits."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.weight: Tensor
        self.scale: Tensor
        self.bias: Tensor
        scale = row_scale(weight)
        self.register_buffer("weight", (weight / scale).round().to(torch.int8), False)
        self.register_buffer("scale", scale[:, 0], False)
        self.register_buffer("bias", torch.zeros_like(self.scale) if bias is None else bias, False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return ... x D_out for ... x D_in, in fp32."""
        sums, sizes = int8_product(inputs, self.weight)
        return torch.addcmul(self.bias, sums.float().mul_(sizes), self.scale)


class Int8Output(Output):
    """The vocabulary matrix in int8."""

    def __init__(self, output: Output) -> None:
        nn.Module.__init__(self)
        self.weight, self.bias = output.weight, output.bias
        self.product = Int8(output.weight.detach(), output.bias.detach())

    def logits(self, hidden: Tensor) -> Tensor:
        """Return ... x V logits of ... x D hidden vectors."""
        logits: Tensor = self.product(hidden)
        return logits

    def narrowed(self, tokens: Tensor) -> Callable[[Tensor], Tensor]:
        """Return the function from B x K x D hidden vectors to B x K x W logits of own tokens."""
        every, places = union(tokens, len(self.weight))
        weight = self.product.weight[every]
        scale, bias = (part[tokens][:, None] for part in (self.product.scale, self.product.bias))

        def logits(hidden: Tensor) -> Tensor:
            sums, sizes = int8_product(hidden, weight)
            return torch.addcmul(bias, own_columns(sums, places).float().mul_(sizes), scale)

        return logits


def int8_product(inputs: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return ... x D_out sums of products in int32, and the ... x 1 scales of the inputs.

    `inputs` are ... x D_in, `weight` is D_out x D_in in int8.
    """
    rows = inputs.reshape(-1, inputs.size(-1))
    scale = row_scale(rows)
    sums = torch._int_mm((rows / scale).round_().to(torch.int8), weight.t())
    return sums.view(*inputs.shape[:-1], -1), scale.view(*inputs.shape[:-1], 1)


def row_scale(rows: Tensor) -> Tensor:
    """Return N x 1: the largest size in each row of N x D over 127."""
    return rows.abs().amax(1, keepdim=True).clamp_min_(SMALLEST).div_(127)


def cast(model: nn.Module, precision: str) -> None:
    """Change the weights of a loaded model in place."""
    if precision != "int8":
        model.to(DTYPES[precision])
        return
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Linear):
                setattr(module, name, Int8(child.weight.detach(), child.bias))
            elif isinstance(child, Output):
                setattr(module, name, Int8Output(child))
