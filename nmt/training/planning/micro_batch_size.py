"""How much of a batch fits into memory at once: `train.micro_batch_tokens: auto`."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

import torch

from nmt.core.logging import size
from nmt.data.batching.batches import largest_batches
from nmt.device.memory import available_memory, peak_memory
from nmt.errors import RunError

if TYPE_CHECKING:
    from nmt.training.trainer import Trainer

SHARES = (16, 8, 4, 2, 1)
"""What part of a worker's batch is tried as a micro-batch, in turn."""
USABLE = 0.8
"""Share of the free memory that training may take."""
MOMENTS = 2
"""Tensors as large as the weights that Adam makes in the first update; held beside each trial."""


SIGNS = re.compile(
    r"allocate memory|not enough memory|could not create a (primitive|memory object)(?! desc)"
)
"""What torch's allocator and oneDNN say on a CPU, for which torch has no class."""


def is_out_of_memory(error: Exception) -> bool:
    """Tell whether an error says that memory has run out."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and SIGNS.search(str(error)) is not None


def find_micro_batch_tokens(trainer: Trainer) -> tuple[int, str]:
    """Return the most padded target tokens of a micro-batch that fit into memory, and in words why.

    The worst shapes of the first window are run forward and backward, in micro-batches that double
    in size up to the whole batch. Where memory ends the kernel kills a process rather than let it
    know, so a size is tried only if the growth from the last but one to the last says that there is
    room for twice as much more. All workers come here together and agree. No weight changes.
    """
    workers, device = trainer.workers, trainer.precision.device
    whole = -(-trainer.settings.batch_tokens // workers.size)
    least = trainer.config.data.max_length + 1
    room = peak_memory(device) + USABLE * available_memory(device)
    moments = [torch.ones_like(w) for w in trainer.model.parameters() for _ in range(MOMENTS)]
    fitting, growth, peak = 0, 0, peak_memory(device)
    for share in SHARES:
        tokens = max(least, -(-whole // share))
        if tokens == fitting:
            continue
        if any(workers.all_reduce_max(peak + 2 * growth > room)):
            break
        if any(workers.all_reduce_max(not _passes(trainer, tokens))):
            break
        fitting = tokens
        growth, peak = peak_memory(device) - peak, peak_memory(device)
    del moments
    trainer.optimizer.zero_grad(set_to_none=True)
    if not fitting:
        raise RunError(f"out of memory with micro-batches of {least} tokens: take a smaller model")
    why = f"peak memory {size(peak)}"
    if not math.isinf(room):
        why += f", of {size(int(room))} that training may take"
    return min(fitting, trainer.settings.batch_tokens), why


def _passes(trainer: Trainer, tokens: int) -> bool:
    trainer.step.train()
    try:
        window = trainer.first_window
        for batch in largest_batches(window.batches):
            update = trainer.prepared(window.pairs, batch, tokens)
            trainer.accumulate(update.micro_batches[0], scale=0.0, last=False)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return False
    return True
