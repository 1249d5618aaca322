"""Weights of a model in memory that several processes share."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from nmt.errors import RunError

ALIGNMENT = 64
"""Bytes that the address of each tensor is a multiple of, as for torch's own tensors."""


class SharedWeights:
    """The parameters of a model in a memory file, which other processes open by its descriptor.

    /dev/shm is not used, because containers limit its size.
    """

    def __init__(self, descriptor: int) -> None:
        """Open the memory file that another process made with `of`."""
        self.descriptor = descriptor
        self._memory = mmap.mmap(descriptor, 0)

    @classmethod
    def of(cls, model: nn.Module) -> SharedWeights | None:
        """Move the parameters of a model on the CPU into a new memory file.

        Returns None on systems without memory files.
        """
        if not hasattr(os, "memfd_create"):
            return None
        size = sum(_padded_size(parameter) for parameter in model.parameters())
        descriptor = os.memfd_create("nmt-weights")
        os.ftruncate(descriptor, max(size, 1))
        shared = cls(descriptor)
        for parameter, stored in shared._pairs(model):
            stored.copy_(parameter.detach())
            parameter.data = stored
        return shared

    def replace_weights(self, model: nn.Module) -> None:
        """Let the parameters of an equal model use the shared memory.

        Raises RunError if they differ: the files of the model have changed since `of`.
        """
        for parameter, stored in self._pairs(model):
            if not torch.equal(_bytes(parameter), _bytes(stored)):
                raise RunError("the model on the disk has changed since it was loaded: restart")
            parameter.data = stored

    def _pairs(self, model: nn.Module) -> Iterator[tuple[nn.Parameter, Tensor]]:
        """Yield each parameter with its tensor in the memory file; tied parameters once."""
        offset = 0
        for parameter in model.parameters():
            stored = torch.frombuffer(
                self._memory, dtype=parameter.dtype, count=parameter.numel(), offset=offset
            )
            offset += _padded_size(parameter)
            yield parameter, stored.view(parameter.shape)


def _padded_size(parameter: Tensor) -> int:
    """Return the number of bytes of a tensor, rounded up to a multiple of ALIGNMENT."""
    size = parameter.numel() * parameter.element_size()
    return -(-size // ALIGNMENT) * ALIGNMENT


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.detach().contiguous().flatten().view(torch.uint8)
