"""Speed of matrix products on a device, measured within a time limit.

Products start small and grow only while time is left: without bf16 instructions a bf16 product of
a training shape can take more than 20 seconds.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from functools import cache

import torch

SECONDS = 0.3
"""Time limit of one measurement; training makes three, together less than a second."""
GROWTH = 30
"""A product of doubled sizes takes at most this many times as long: 8, and cache misses."""
LARGEST = (2048, 1024, 1024)
"""Size of the largest product: a common training shape."""
SQUARE = 512
DIVISORS = (16, 8, 4, 2, 1)
RATE_ROUNDS = 8
RATIO_ROUNDS = 40


Size = tuple[int, int, int]
"""Rows, inner size and columns of a product."""


def product_seconds(left: torch.Tensor, right: torch.Tensor) -> float:
    """Return the seconds that one matrix product takes, including the wait for the device."""
    if left.device.type == "cuda":
        torch.cuda.synchronize()
    begin = time.perf_counter()
    product = left @ right
    float(product[0, 0])  # waits for the device
    return time.perf_counter() - begin


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Return the FLOP/s of matrix products: the best of all sizes that the time limit allows."""
    best = 0.0
    rows, inner, columns = LARGEST
    sizes = [(rows // n, inner // n, columns // n) for n in DIVISORS]
    for size, seconds in _timed(sizes, (dtype,), device, RATE_ROUNDS):
        best = max(best, 2 * math.prod(size) / seconds[0])
    return best


def rate_text(rate: float) -> str:
    """Write FLOP/s for a reader, with two digits at least."""
    giga = rate / 1e9
    return f"{giga:,.0f} GFLOP/s" if giga >= 10 else f"{giga:.2g} GFLOP/s"


@cache
def speed_ratio(device: torch.device, dtype: torch.dtype) -> float:
    """Return how many times as fast as in fp32 matrices are multiplied in `dtype`.

    The two types alternate, in products shorter than the time slice of a busy machine, and the
    fastest product of each counts, so other processes do not change the answer. The largest size
    that the time limit allows decides. Measured once per process.
    """
    sides = [SQUARE // divisor for divisor in DIVISORS if SQUARE // divisor >= 64]
    sizes = [(side, side, side) for side in sides]
    ratio = 1.0
    for _, (fp32, other) in _timed(sizes, (torch.float32, dtype), device, RATIO_ROUNDS):
        ratio = fp32 / other
    return ratio


def _timed(
    sizes: list[Size],
    dtypes: tuple[torch.dtype, ...],
    device: torch.device,
    rounds: int,
) -> Iterator[tuple[Size, list[float]]]:
    """Yield each size and the least seconds of a product in each type, until time is up."""
    remaining = SECONDS
    expected = 0.0
    if device.type != "cpu":
        product_seconds(torch.ones(1, 1, device=device), torch.ones(1, 1, device=device))
    for size in sizes:
        if expected > remaining:
            return
        rows, inner, columns = size
        pair = torch.ones(rows, inner, device=device), torch.ones(inner, columns, device=device)
        pairs = [tuple(matrix.to(dtype) for matrix in pair) for dtype in dtypes]
        best = [math.inf] * len(dtypes)
        for _ in range(rounds):
            seconds = [product_seconds(*matrices) for matrices in pairs]
            best = [min(times) for times in zip(best, seconds, strict=True)]
            remaining -= sum(seconds)
            if remaining < sum(best):
                break
        yield size, best
        expected = GROWTH * sum(best)
