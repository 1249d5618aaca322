"""Convert the weights of a loaded model to a shorter float type, or to int8.

int8: weights have a scale for each output, activations a scale for each row, and sums are exact in
int32. Therefore the result of a row does not depend on the other rows; torch's own dynamic
quantization has one scale for a batch. `nmt.device.int8_products` computes the products; shortlists
use `torch._int_mm`. Embeddings, norms, softmax and the recurrent products of an RNN stay fp32.

Shapes: N rows, D inputs, V outputs, B sentences, K hypotheses per sentence, W shortlist size.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from nmt.device.cpu import int8_kernel
from nmt.device.int8_products import LARGEST_INPUT, Int8Kernel, round_rows
from nmt.models.layers import OutputProjection, select_columns, union_of_shortlists

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
MIN_MAGNITUDE = 1e-30
"""Lower bound of a row's largest magnitude, so that a row of zeros has a positive scale."""


class Int8Linear(nn.Module):
    """Linear map x W^T + b with W and x rounded to int8."""

    def __init__(self, weight: Tensor, bias: Tensor | None, kernel: Int8Kernel) -> None:
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
    """Output projection in int8."""

    def __init__(self, output: OutputProjection, kernel: Int8Kernel) -> None:
        nn.Module.__init__(self)
        self.weight, self.bias, self._buffers_by_size = output.weight, output.bias, {}
        self.product = Int8Linear(output.weight.detach(), output.bias.detach(), kernel)

    def logits(self, hidden: Tensor) -> Tensor:
        """Return ... x V logits of ... x D hidden vectors."""
        logits: Tensor = self.product(hidden)
        return logits

    def restricted_to(self, tokens: Tensor) -> Callable[[Tensor], Tensor]:
        """Return a function from B x K x D hidden vectors to B x K x W logits of a shortlist."""
        token_ids, columns = union_of_shortlists(tokens, len(self.weight))
        weight = self.product.weight[token_ids].t()
        scale, bias = self.product.scale[tokens][:, None], self.bias[tokens][:, None]

        def logits(hidden: Tensor) -> Tensor:
            rows = hidden.flatten(0, 1)
            input_scale = row_scale(rows)
            sums = torch._int_mm(round_rows(rows, input_scale), weight)
            selected = select_columns(sums.view(*hidden.shape[:2], -1), columns)
            product = selected.float().mul_(scale).mul_(input_scale.view(*hidden.shape[:2], 1))
            return product.add_(bias)

        return logits


def row_scale(rows: Tensor, largest: int = LARGEST_INPUT) -> Tensor:
    """Return N x 1 scales: the largest magnitude in each row of N x D, divided by `largest`."""
    return rows.abs().amax(1, keepdim=True).clamp_min_(MIN_MAGNITUDE).div_(largest)


def convert_weights(model: nn.Module, precision: str) -> None:
    """Convert the weights of a loaded model in place to fp32, bf16, fp16 or int8.

    int8 requires an exact kernel; without one, `resolve_decoding_precision` selects fp32.
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
