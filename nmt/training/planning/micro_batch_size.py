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
from nmt.training.optimization.data_parallel import ParallelModel
from nmt.training.optimization.micro_batches import MicroBatcher, is_out_of_memory

DIVISORS = (16, 8, 4, 2, 1)
"""The sizes that are tried: the batch of a rank divided by these numbers, so each doubles."""
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
    up to the complete batch of the rank. On a CPU the kernel kills a process that exceeds the
    memory. So a size is tried only if there is space for twice the memory that the last doubling
    added. All ranks must call this together and get the same number. No weight changes. Raises
    RunError if the smallest size does not fit.
    """
    device = precision.device
    module = parallel.module
    rank_tokens = math.ceil(config.train.batch_tokens / ranks.size)
    min_tokens = config.data.max_length + 1  # the longest target and its eos
    usable_bytes = peak_memory(device) + USABLE_MEMORY * available_memory(device)
    # Reserve the memory of the optimizer state, which does not exist yet.
    moments = [torch.ones_like(w) for w in module.parameters() for _ in range(MOMENTS_PER_WEIGHT)]
    fitting_tokens, growth, peak = 0, 0, peak_memory(device)
    for divisor in DIVISORS:
        tokens = max(min_tokens, math.ceil(rank_tokens / divisor))
        if tokens == fitting_tokens:  # several divisors can give `min_tokens`
            continue
        # All ranks stop at the same size: one that does not fit on any rank.
        [is_limit_near] = ranks.all_reduce_max(peak + 2 * growth > usable_bytes)
        if is_limit_near:
            break
        fits = _fits_memory(window, tokens, micro_batcher, parallel, precision)
        [is_memory_exceeded] = ranks.all_reduce_max(not fits)
        if is_memory_exceeded:
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


def _fits_memory(
    window: EpochWindow,
    tokens: int,
    micro_batcher: MicroBatcher,
    parallel: ParallelModel,
    precision: Precision,
) -> bool:
    """Return whether forward and backward passes of the largest batches fit into memory.

    `tokens` is the maximum number of padded target tokens per micro-batch. The gradients are kept,
    as they are between the micro-batches of an optimizer step.
    """
    parallel.module.train()
    try:
        for batch in largest_batches(window.batches):
            # The first micro-batch is the largest: only the last one can be smaller.
            micro_batch = micro_batcher.build(window.pairs, batch, tokens).micro_batches[0]
            with parallel.gradient_sync(is_last=False):  # no all-reduce of the gradients
                with precision.autocast():
                    losses = parallel(micro_batch.to(precision.device))
                # Only the memory matters: the factor 0 keeps the gradients from growing.
                precision.backward(0.0 * parallel.module.total(losses))
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return False
    return True
