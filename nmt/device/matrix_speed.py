"""Speed of matrix products on a device, measured within a time limit.

Products start small and grow only while time is left: without bf16 instructions a bf16 product of
a training shape can take more than 20 seconds. On a CPU one thread multiplies and its processor
time counts, so other processes do not change the result.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch

SECONDS = 0.15
"""Time limit of one measurement; `nmt train` makes five, together less than a second."""
GROWTH = 30
"""A product of doubled sizes takes at most this many times as long: 8, and cache misses."""
Size = tuple[int, int, int]
"""Rows, inner size and columns of a product."""
LARGEST: Size = (2048, 1024, 1024)
"""Size of the largest product: a common training shape."""
SQUARE = 512
DIVISORS = (16, 8, 4, 2, 1)
FEWEST_ROUNDS = 3
"""Products of a size, at least: the first prepares its kernel."""
RATE_ROUNDS = 8
RATIO_ROUNDS = 40
FINE_CLOCK = 1e-6
"""Seconds that a clock must tell apart; the processor time of Windows does not."""


def product_seconds(left: torch.Tensor, right: torch.Tensor, one_thread: bool = False) -> float:
    """Return the seconds that one matrix product takes, including the wait for the device.

    Of `one_thread` it is the processor time.
    """
    if left.device.type == "cuda":
        torch.cuda.synchronize()
    fine = time.get_clock_info("thread_time").resolution <= FINE_CLOCK
    clock = time.thread_time if one_thread and fine else time.perf_counter
    begin = clock()
    product = left @ right
    float(product[0, 0])  # waits for the device
    return clock() - begin


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Return the FLOP/s of matrix products with the current number of threads.

    Measured once per process and number of threads.
    """
    return _measured_rate(device, dtype, torch.get_num_threads())


@cache
def _measured_rate(device: torch.device, dtype: torch.dtype, threads: int) -> float:
    """Return the best FLOP/s of all sizes that the time limit allows.

    The largest of these sizes is then measured with all threads.
    """
    del threads  # names the measurement
    rows, inner, columns = LARGEST
    sizes = [(rows // n, inner // n, columns // n) for n in DIVISORS]
    best = 0.0
    for size, [seconds] in _timed(sizes, (dtype,), device, RATE_ROUNDS):
        flop = 2 * math.prod(size)
        best = max(best, flop / seconds)
        matrices = _matrices(size, dtype, device)
    remaining = SECONDS
    for completed in range(1, RATE_ROUNDS + 1):
        seconds = product_seconds(*matrices)
        best = max(best, flop / seconds)
        remaining -= seconds
        if completed >= FEWEST_ROUNDS and remaining < 0:
            break
    return best


def rate_text(rate: float) -> str:
    """Write FLOP/s for a reader, with two digits at least."""
    giga = rate / 1e9
    return f"{giga:,.0f} GFLOP/s" if giga >= 10 else f"{giga:.2g} GFLOP/s"


@cache
def speed_ratio(device: torch.device, dtype: torch.dtype) -> float:
    """Return how many times as fast as in fp32 matrices are multiplied in `dtype`.

    The two types alternate, and the fastest product of each counts. The largest size that the time
    limit allows decides. Measured once per process.
    """
    sides = [SQUARE // n for n in DIVISORS if SQUARE // n >= 64]
    sizes = [(side, side, side) for side in sides]
    ratio = 1.0
    for _, (fp32, other) in _timed(sizes, (torch.float32, dtype), device, RATIO_ROUNDS):
        ratio = fp32 / other
    return ratio


def _matrices(
    size: Size, dtype: torch.dtype, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return two matrices for a product of this size."""
    rows, inner, columns = size
    left = torch.ones(rows, inner, device=device, dtype=dtype)
    return left, torch.ones(inner, columns, device=device, dtype=dtype)


def _timed(
    sizes: list[Size],
    dtypes: tuple[torch.dtype, ...],
    device: torch.device,
    rounds: int,
) -> Iterator[tuple[Size, list[float]]]:
    """Yield each size and the least seconds of a product in each type, until time is up."""
    product_seconds(*_matrices((1, 1, 1), torch.float32, device))  # starts a GPU
    alone = device.type == "cpu"
    remaining = SECONDS
    expected = 0.0
    for size in sizes:
        if FEWEST_ROUNDS * expected > remaining:
            return
        pairs = [_matrices(size, dtype, device) for dtype in dtypes]
        best = [math.inf] * len(dtypes)
        with _threads(1 if alone else torch.get_num_threads()):
            for completed in range(1, rounds + 1):
                begin = time.perf_counter()
                seconds = [product_seconds(*pair, one_thread=alone) for pair in pairs]
                best = [min(times) for times in zip(best, seconds, strict=True)]
                remaining -= max(sum(seconds), time.perf_counter() - begin)
                if completed >= FEWEST_ROUNDS and remaining < sum(best):
                    break
        yield size, best
        expected = GROWTH * sum(best)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Set the number of torch's CPU threads in the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
