"""Data-parallel training with DistributedDataParallel ("ddp") or FSDP2 ("fsdp").

With `ddp` each rank holds all weights. With `fsdp` each rank holds a shard of the weights, the
gradients and the optimizer state, and gathers the weights for each forward and backward pass and
for validation; the whole model is one unit. Both sum gradients over the ranks during the last
backward pass of an optimizer step.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

from nmt.core.distributed.process_group import ProcessGroup
from nmt.data.batching.loader import MicroBatch
from nmt.training.optimization.loss import Losses, ModelWithLoss


class ParallelModel:
    """Runs a ModelWithLoss on every rank; with a single rank it calls the module directly."""

    def __init__(
        self,
        module: ModelWithLoss,
        ranks: ProcessGroup,
        kind: Literal["ddp", "fsdp"],
        device: torch.device,
    ) -> None:
        """Prepare `module`, which is on `device`, for several ranks; a single rank changes nothing.

        With "ddp", a wrapper runs the module. With "fsdp", the module itself changes: its weights
        become shards, so the optimizer must be built afterwards.
        """
        self.module = module
        self.ddp: nn.parallel.DistributedDataParallel | None = None
        self.is_sharded = ranks.size > 1 and kind == "fsdp"
        if self.is_sharded:
            # Imported only with FSDP, because the import takes 0.8 s.
            from torch.distributed.device_mesh import init_device_mesh
            from torch.distributed.fsdp import fully_shard

            fully_shard(module, mesh=init_device_mesh(device.type, (ranks.size,)))
        elif ranks.size > 1:
            # Gradients share the memory of the all-reduce buffers instead of being copied to them.
            self.ddp = nn.parallel.DistributedDataParallel(module, gradient_as_bucket_view=True)

    def __call__(self, batch: MicroBatch) -> Losses:
        """Return the losses of a micro-batch."""
        return (self.ddp or self.module)(batch)  # type: ignore[no-any-return]

    @contextmanager
    def gradient_sync(self, is_last: bool) -> Iterator[None]:
        """Run the passes of a micro-batch; sum gradients over the ranks only for the last one.

        Both kinds divide the sum by the number of ranks.
        """
        if self.is_sharded:
            self.module.set_requires_gradient_sync(is_last)  # type: ignore[operator]
            # Weights stay gathered until the last micro-batch: ranks may differ in their number.
            self.module.set_reshard_after_backward(is_last)  # type: ignore[operator]
        if self.ddp is None or is_last:
            yield
            return
        with self.ddp.no_sync():
            yield

    @contextmanager
    def full_weights(self) -> Iterator[None]:
        """Keep all weights on every rank within the block; ranks may then work independently."""
        if self.is_sharded:
            self.module.unshard()  # type: ignore[operator]
        try:
            yield
        finally:
            if self.is_sharded:
                self.module.reshard()  # type: ignore[operator]


def full_tensor(tensor: Tensor) -> Tensor:
    """Return the full tensor of a shard; all ranks must call this together."""
    return tensor.full_tensor() if is_shard(tensor) else tensor  # type: ignore[attr-defined]


def local_shard(tensor: Tensor) -> Tensor:
    """Return the part of a tensor that this rank holds, without a copy and without gradients."""
    return tensor.to_local() if is_shard(tensor) else tensor  # type: ignore[attr-defined]


def shard_like(tensor: Tensor, reference: Tensor) -> Tensor:
    """Return a full tensor, sharded and placed like `reference`."""
    tensor = tensor.to(reference.device)
    if not is_shard(reference) or tensor.shape != reference.shape:
        return tensor
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(tensor, reference.device_mesh, reference.placements)  # type: ignore[attr-defined]


def is_shard(tensor: Tensor) -> bool:
    """Return whether a tensor is a DTensor, without its import, which takes 0.8 s."""
    return hasattr(tensor, "full_tensor")
