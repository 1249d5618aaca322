"""Measure the speed of matrix products on a device, within a time limit.

Sizes start small and grow only within the limit: without bf16 instructions, a bf16 product of a
training shape can take more than 20 seconds. On a CPU, one thread multiplies and its CPU time
counts, so other processes do not change the result.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch

TIME_LIMIT = 0.15
"""Seconds of one measurement; `nmt train` makes five, together less than a second."""
MAX_TIME_RATIO = 30
"""Largest expected ratio of the times of a size and its half: 8, and cache misses."""
Size = tuple[int, int, int]
"""Rows, inner size and columns of a product."""
LARGEST_SIZE: Size = (2048, 1024, 1024)
"""Largest product that `measure_peak_flops` times: a common training shape."""
LARGEST_SIDE = 512
"""Sides of the largest product that `measure_speed_ratio` times."""
DIVISORS = (16, 8, 4, 2, 1)
"""Factors by which the sizes are smaller than the largest."""
MIN_SIDE = 64
MIN_ROUNDS = 3
"""Minimum number of products of a size; the first prepares its kernel."""
FLOPS_ROUNDS = 8
"""Maximum number of products of a size in `measure_peak_flops`."""
RATIO_ROUNDS = 40
"""Maximum number of products of a size in `measure_speed_ratio`."""
MAX_CLOCK_RESOLUTION = 1e-6
"""Coarsest resolution, in seconds, of a usable clock of CPU time; that of Windows is coarser."""


def product_seconds(left: torch.Tensor, right: torch.Tensor, one_thread: bool = False) -> float:
    """Return the seconds of one matrix product, including the wait for the device.

    With `one_thread`, return seconds of CPU time.
    """
    if left.device.type == "cuda":
        torch.cuda.synchronize()
    has_fine_clock = time.get_clock_info("thread_time").resolution <= MAX_CLOCK_RESOLUTION
    clock = time.thread_time if one_thread and has_fine_clock else time.perf_counter
    begin = clock()
    product = left @ right
    float(product[0, 0])  # waits for the device
    return clock() - begin


def measure_peak_flops(device: torch.device, dtype: torch.dtype) -> float:
    """Return the FLOP/s of matrix products with the current number of threads.

    Measure once per process and number of threads.
    """
    return _measure_peak_flops(device, dtype, torch.get_num_threads())


@cache
def _measure_peak_flops(device: torch.device, dtype: torch.dtype, threads: int) -> float:
    """Return the best FLOP/s of all sizes that the time limit allows.

    Time all sizes with one thread on a CPU, then the largest size with all threads.
    """
    del threads  # part of the cache key
    rows, inner, columns = LARGEST_SIZE
    sizes = [(rows // n, inner // n, columns // n) for n in DIVISORS]
    best = 0.0
    for size, [seconds] in _time_products(sizes, (dtype,), device, FLOPS_ROUNDS):
        flop = 2 * math.prod(size)
        best = max(best, flop / seconds)
        matrices = _make_matrices(size, dtype, device)
    remaining = TIME_LIMIT
    for completed in range(1, FLOPS_ROUNDS + 1):
        seconds = product_seconds(*matrices)
        best = max(best, flop / seconds)
        remaining -= seconds
        if completed >= MIN_ROUNDS and remaining < 0:
            break
    return best


def format_flops(flops: float) -> str:
    """Format FLOP/s with at least two digits, such as "131 GFLOP/s"."""
    giga = flops / 1e9
    return f"{giga:,.0f} GFLOP/s" if giga >= 10 else f"{giga:.2g} GFLOP/s"


@cache
def measure_speed_ratio(device: torch.device, dtype: torch.dtype) -> float:
    """Return the speed of matrix products in `dtype`, relative to fp32.

    The two types alternate, and the fastest product of each counts. The largest size that the time
    limit allows decides. Measure once per process.
    """
    sides = [LARGEST_SIDE // n for n in DIVISORS if LARGEST_SIDE // n >= MIN_SIDE]
    sizes = [(side, side, side) for side in sides]
    ratio = 1.0
    for _, (fp32_seconds, seconds) in _time_products(
        sizes, (torch.float32, dtype), device, RATIO_ROUNDS
    ):
        ratio = fp32_seconds / seconds
    return ratio


def _make_matrices(
    size: Size, dtype: torch.dtype, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the two factors of a product of this size."""
    rows, inner, columns = size
    left = torch.ones(rows, inner, device=device, dtype=dtype)
    return left, torch.ones(inner, columns, device=device, dtype=dtype)


def _time_products(
    sizes: list[Size],
    dtypes: tuple[torch.dtype, ...],
    device: torch.device,
    max_rounds: int,
) -> Iterator[tuple[Size, list[float]]]:
    """Yield each size with the fewest seconds of a product in each type, until time is up.

    `sizes` ascend, and each is at most twice the size before on every side. All share TIME_LIMIT.
    """
    product_seconds(*_make_matrices((1, 1, 1), torch.float32, device))  # starts a GPU
    one_thread = device.type == "cpu"
    remaining = TIME_LIMIT
    expected = 0.0
    for size in sizes:
        if MIN_ROUNDS * expected > remaining:
            return
        factors = [_make_matrices(size, dtype, device) for dtype in dtypes]
        best = [math.inf] * len(dtypes)
        with _torch_threads(1 if one_thread else torch.get_num_threads()):
            for completed in range(1, max_rounds + 1):
                begin = time.perf_counter()
                seconds = [product_seconds(*pair, one_thread=one_thread) for pair in factors]
                best = [min(times) for times in zip(best, seconds, strict=True)]
                # the limit is one of wall time, but `seconds` can be CPU time
                remaining -= max(sum(seconds), time.perf_counter() - begin)
                if completed >= MIN_ROUNDS and remaining < sum(best):
                    break
        yield size, best
        expected = MAX_TIME_RATIO * sum(best)


@contextmanager
def _torch_threads(count: int) -> Iterator[None]:
    """Set the number of torch's CPU threads in the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
