"""Copy tensors to a GPU while it computes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor


def copy_to_device(tensors: Sequence[Tensor], device: torch.device) -> list[Tensor]:
    """Return copies on `device`; the CPU does not wait for those from pinned memory to a GPU.

    These run in a CUDA stream of their own, at the same time as the computation that was started
    before. Later computation in the current stream waits for them.
    """
    if not all(tensor.is_pinned() for tensor in tensors):
        return [tensor.to(device) for tensor in tensors]
    current = torch.cuda.current_stream(device)
    stream = _copy_stream(device)
    with torch.cuda.stream(stream):
        copies = [tensor.to(device, non_blocking=True) for tensor in tensors]
    current.wait_stream(stream)
    for copy in copies:
        copy.record_stream(current)  # keeps the memory until the current stream has read it
    return copies


@cache
def _copy_stream(device: torch.device) -> torch.cuda.Stream:
    """Return the stream for copies, one for each device."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
