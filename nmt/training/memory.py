"""How much of a batch fits into memory at once: `train.micro_batch_tokens: auto`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from nmt.data.batching import worst_batches
from nmt.errors import RunError
from nmt.log import size
from nmt.runtime import free_memory, peak_memory

if TYPE_CHECKING:
    from nmt.training.trainer import Trainer

SMALLEST_SHARE = 16
"""The first micro-batch tried is this part of a worker's batch."""
USABLE = 0.8
"""Share of the free memory that training may take."""


def is_out_of_memory(error: RuntimeError) -> bool:
    """Tell whether an error says that memory has run out; on a CPU torch has no class for it."""
    return isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error)


def fitting_tokens(trainer: Trainer) -> tuple[int, str]:
    """Return the most padded target tokens of a micro-batch that fit into memory, and in words why.

    The worst shapes of an epoch are run forward and backward, in micro-batches that double in size
    up to the whole batch. Where memory ends the kernel kills a process rather than let it know, so
    a size is tried only if memory has room for it by the growth of the two before it. All workers
    come here together and agree. No weight changes.
    """
    workers, device = trainer.workers, trainer.precision.device
    whole = -(-trainer.settings.batch_tokens // workers.size)
    least = trainer.config.data.max_length + 1
    room = peak_memory(device) + USABLE * free_memory(device)
    fitting, peaks = 0, [peak_memory(device)]
    share = SMALLEST_SHARE
    while share and peaks[-1] + 2 * (peaks[-1] - peaks[max(0, len(peaks) - 2)]) <= room:
        tokens = max(least, -(-whole // share))
        [failed] = workers.largest(not _passes(trainer, tokens))
        if failed:
            break
        fitting = tokens
        peaks.append(peak_memory(device))
        share //= 2
    trainer.optimizer.zero_grad(set_to_none=True)
    if not fitting:
        raise RunError(f"out of memory with micro-batches of {least} tokens: take a smaller model")
    why = f"peak memory {size(peaks[-1])}, of {size(int(room))} that training may take"
    return min(fitting, trainer.settings.batch_tokens), why


def _passes(trainer: Trainer, tokens: int) -> bool:
    trainer.step.train()
    try:
        for batch in worst_batches(trainer.epoch_batches):
            update = trainer.prepared(batch, tokens)
            trainer.accumulate(update.micro_batches[0], scale=0.0, last=False)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return False
    return True
