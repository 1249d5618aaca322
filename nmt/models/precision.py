"""Weights cast once, when a trained model is loaded: to a shorter float, or to int8.

int8: weights with a scale for each output, activations with a scale for each row, summed exactly
in int32. So a row's result never depends on the rows beside it. torch's own dynamic quantization
takes one scale for a whole batch; its int8 products on the CPU are `torch._int_mm`, with sums in
int32, and oneDNN's, which scales its outputs. Embeddings, norms, softmax and the recurrent products
of an RNN stay fp32.
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
        self.weight, scale = rounded(weight)
        self.scale = scale[:, 0].contiguous()
        self.bias = None if bias is None else bias.detach()
        self._packed = torch.ops.onednn.qlinear_prepack(self.weight, None)
        self._zeros = torch.zeros(len(weight), dtype=torch.int64)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return ... x D_out for ... x D_in, in fp32."""
        rows = inputs.reshape(-1, inputs.size(-1))
        whole, scale = rounded(rows)
        unsigned = whole.view(torch.uint8).bitwise_xor_(UNSIGNED)
        weight = (self._packed, self.scale, self._zeros)
        product: Tensor = torch.ops.onednn.qlinear_pointwise(
            *(unsigned, 1.0, UNSIGNED), *weight, None, 1.0, 0, torch.float32, "none", [], ""
        )
        if self.bias is None:
            product.mul_(scale)
        else:
            torch.addcmul(self.bias, product, scale, out=product)
        return product.view(*inputs.shape[:-1], -1)


UNSIGNED = 128
"""Added to activations, whose product with int8 weights is the fast one; oneDNN takes it away. In
two's complement it is the bit of the sign that changes."""


class Int8Output(Output):
    """The vocabulary matrix in int8."""

    def __init__(self, output: Output) -> None:
        nn.Module.__init__(self)
        self.weight, self.bias, self._rooms = output.weight, output.bias, {}
        self.product = Int8(output.weight.detach(), output.bias.detach())

    def logits(self, hidden: Tensor) -> Tensor:
        """Return ... x V logits of ... x D hidden vectors."""
        logits: Tensor = self.product(hidden)
        return logits

    def narrowed(self, tokens: Tensor) -> Callable[[Tensor], Tensor]:
        """Return the function from B x K x D hidden vectors to B x K x W logits of own tokens."""
        every, places = union(tokens, len(self.weight))
        weight = self.product.weight[every].t()
        scale, bias = self.product.scale[tokens][:, None], self.bias[tokens][:, None]

        def logits(hidden: Tensor) -> Tensor:
            whole, sizes = rounded(hidden.flatten(0, 1))
            sums = torch._int_mm(whole, weight).view(*hidden.shape[:2], -1)
            own = own_columns(sums, places).float().mul_(scale)
            return own.mul_(sizes.view(*hidden.shape[:2], 1)).add_(bias)

        return logits


def rounded(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return N x D whole numbers from -127 to 127, int8, and the N x 1 scales of the rows."""
    scale = row_scale(rows)
    return (rows / scale).round_().to(torch.int8), scale


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
