"""Find the largest micro-batch that fits into memory: `train.micro_batch_tokens: auto`."""

from __future__ import annotations

import math

import torch

from nmt.config.schema import Config
from nmt.core.console import format_size
from nmt.core.distributed.process_group import ProcessGroup
from nmt.data.batching.batches import largest_batches
from nmt.data.batching.epochs import EpochWindow
from nmt.device.memory import available_memory, peak_memory
from nmt.device.precision import Precision
from nmt.errors import RunError
from nmt.training.data_parallel import ParallelModel
from nmt.training.micro_batches import MicroBatcher, is_out_of_memory

DIVISORS = (16, 8, 4, 2, 1)
"""The batch of a rank is divided by these numbers, one after the other."""
USABLE_MEMORY = 0.8
"""Fraction of the available memory that training may use."""
MOMENTS_PER_WEIGHT = 2
"""Tensors as large as the weights that Adam allocates in its first step."""


def find_micro_batch_tokens(
    config: Config,
    window: EpochWindow,
    micro_batcher: MicroBatcher,
    parallel: ParallelModel,
    precision: Precision,
    ranks: ProcessGroup,
) -> tuple[int, str]:
    """Return the largest number of padded target tokens that fits, and a text with the reason.

    The largest batches of `window` run forward and backward in micro-batches that double in size,
    up to the whole batch of the rank. On a CPU the kernel kills a process that exceeds the memory.
    So a size is tried only if there is space for twice the memory that the last doubling added. All
    ranks must call this together. No weight changes.
    """
    device = precision.device
    module = parallel.module
    rank_tokens = -(-config.train.batch_tokens // ranks.size)
    min_tokens = config.data.max_length + 1
    usable_bytes = peak_memory(device) + USABLE_MEMORY * available_memory(device)
    # Reserve the memory of the optimizer state, which does not exist yet.
    moments = [torch.ones_like(w) for w in module.parameters() for _ in range(MOMENTS_PER_WEIGHT)]
    fitting_tokens, growth, peak = 0, 0, peak_memory(device)
    for divisor in DIVISORS:
        tokens = max(min_tokens, -(-rank_tokens // divisor))
        if tokens == fitting_tokens:
            continue
        if any(ranks.all_reduce_max(peak + 2 * growth > usable_bytes)):
            break
        fits = _fits(window, tokens, micro_batcher, parallel, precision)
        if any(ranks.all_reduce_max(not fits)):
            break
        fitting_tokens = tokens
        growth, peak = peak_memory(device) - peak, peak_memory(device)
    del moments
    module.zero_grad(set_to_none=True)
    if not fitting_tokens:
        raise RunError(
            f"out of memory with micro-batches of {min_tokens} tokens: use a smaller model"
        )
    reason = f"peak memory {format_size(peak)}"
    if not math.isinf(usable_bytes):
        reason += f", of {format_size(int(usable_bytes))} that training may use"
    return min(fitting_tokens, config.train.batch_tokens), reason


def _fits(
    window: EpochWindow,
    tokens: int,
    micro_batcher: MicroBatcher,
    parallel: ParallelModel,
    precision: Precision,
) -> bool:
    """Return whether forward and backward passes of the largest batches fit into memory."""
    parallel.module.train()
    try:
        for batch in largest_batches(window.batches):
            micro_batch = micro_batcher.build(window.pairs, batch, tokens).micro_batches[0]
            with parallel.gradient_sync(is_last=False):
                with precision.autocast():
                    losses = parallel(micro_batch.to(precision.device))
                precision.backward(0.0 * parallel.module.total(losses))
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return False
    return True
