"""Speed of int8 products against fp32, for the matrices of decoding.

    python benchmarks/int8.py [--rounds 7]
    scripts/with-avx2 python benchmarks/int8.py

Times are CPU time of one thread; the products alternate in one process. Figures are medians of the
rounds and include the whole layer: scales, rounding, product and bias. Prints
Markdown: microseconds in fp32, and how many times as fast each int8 product is. `_int_mm` is
`torch._int_mm` with weights from -64 to 64. Kernels marked with * are not exact on this CPU.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from nmt.device.int8_products import KERNELS, is_exact, round_rows
from nmt.models.quantization import Int8Linear, row_scale

ROWS = (1, 5, 20, 80, 200)
MATRICES = ((256, 256), (256, 1024), (512, 2048), (1024, 1024), (256, 5000), (512, 32000))
OPERATIONS = 2e7
"""Multiplications per round; more rows or columns mean fewer repetitions."""

Layer = Callable[[Tensor], Tensor]


def int_mm_layer(weight: Tensor, bias: Tensor) -> Layer:
    """Return x W^T + b by `torch._int_mm`."""
    scale = row_scale(weight, 64)
    integers, weight_scale = round_rows(weight, scale).t(), scale[:, 0].contiguous()

    def layer(rows: Tensor) -> Tensor:
        sizes = row_scale(rows)
        product = torch._int_mm(round_rows(rows, sizes), integers).float().mul_(weight_scale)
        return torch.addcmul(bias, product, sizes, out=product)

    return layer


def seconds(layer: Layer, rows: Tensor, repetitions: int) -> float:
    """Return the CPU time of one application."""
    begin = time.process_time()
    for _ in range(repetitions):
        layer(rows)
    return (time.process_time() - begin) / repetitions


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    names = [kernel.name + "*" * (not is_exact(kernel)) for kernel in KERNELS]
    print(f"| matrix | rows | fp32, us | {' | '.join([*names, '_int_mm'])} |")
    print("|---" * (4 + len(names)) + "|")
    for width, outputs in MATRICES:
        weight, bias = torch.randn(outputs, width) / width**0.5, torch.randn(outputs)
        layers: list[Layer] = [
            lambda rows, weight=weight, bias=bias: F.linear(rows, weight, bias),
            *(Int8Linear(weight, bias, kernel) for kernel in KERNELS),
            int_mm_layer(weight, bias),
        ]
        for count in ROWS:
            rows = torch.randn(count, width)
            repetitions = max(1, int(OPERATIONS / (count * width * outputs)))
            times = [[seconds(layer, rows, repetitions) for layer in layers] for _ in range(rounds)]
            fp32, *products = (statistics.median(column) for column in zip(*times[1:], strict=True))
            ratios = " | ".join(f"{fp32 / product:.2f}" for product in products)
            print(f"| {width} x {outputs} | {count} | {fp32 * 1e6:.0f} | {ratios} |", flush=True)


if __name__ == "__main__":
    with torch.inference_mode():
        main()
