"""One update over all workers: gradients are summed over them while the last backward pass runs.

`ddp` keeps all weights on each worker (DistributedDataParallel). `fsdp` keeps a share of weights,
gradients and moments on each and gathers the weights for a forward and backward pass and for
validation (FSDP2; the whole model is one unit).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

from nmt.core.distributed.process_group import ProcessGroup
from nmt.data.batching.loader import MicroBatch
from nmt.training.loss import Losses, ModelWithLoss


class ParallelModel:
    """A ModelWithLoss on every worker; on one worker alone it is just called."""

    def __init__(
        self,
        step: ModelWithLoss,
        workers: ProcessGroup,
        kind: Literal["ddp", "fsdp"],
        device: torch.device,
    ) -> None:
        self.step = step
        self.replica: nn.parallel.DistributedDataParallel | None = None
        self.shards = workers.size > 1 and kind == "fsdp"
        if self.shards:
            from torch.distributed.device_mesh import init_device_mesh
            from torch.distributed.fsdp import fully_shard

            fully_shard(step, mesh=init_device_mesh(device.type, (workers.size,)))
        elif workers.size > 1:
            self.replica = nn.parallel.DistributedDataParallel(step, gradient_as_bucket_view=True)

    def __call__(self, batch: MicroBatch) -> Losses:
        """Run the step."""
        return (self.replica or self.step)(batch)  # type: ignore[no-any-return]

    @contextmanager
    def micro_batch(self, last: bool) -> Iterator[None]:
        """Run forward and backward pass of a micro-batch; only the last of an update is summed.

        Both kinds divide the sum by the number of workers.
        """
        if self.shards:
            self.step.set_requires_gradient_sync(last)  # type: ignore[operator]
            # gathered once an update: workers need not have as many micro-batches as others
            self.step.set_reshard_after_backward(last)  # type: ignore[operator]
        if self.replica is None or last:
            yield
            return
        with self.replica.no_sync():
            yield

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Keep all weights on every worker within the block, which need not run in step."""
        if self.shards:
            self.step.unshard()  # type: ignore[operator]
        try:
            yield
        finally:
            if self.shards:
                self.step.reshard()  # type: ignore[operator]


def full_tensor(tensor: Tensor) -> Tensor:
    """Return all of a tensor of which each worker keeps a share; all workers must ask together."""
    return tensor.full_tensor() if is_sharded(tensor) else tensor  # type: ignore[attr-defined]


def local_shard(tensor: Tensor) -> Tensor:
    """Return what this worker keeps of a tensor, in place; without gradient mode."""
    return tensor.to_local() if is_sharded(tensor) else tensor  # type: ignore[attr-defined]


def shard_like(tensor: Tensor, like: Tensor) -> Tensor:
    """Return a whole tensor kept as `like` is, on its device."""
    tensor = tensor.to(like.device)
    if not is_sharded(like) or tensor.shape != like.shape:
        return tensor
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(tensor, like.device_mesh, like.placements)  # type: ignore[attr-defined]


def is_sharded(tensor: Tensor) -> bool:
    """Tell whether this is a DTensor, whose module takes 0.8 s to import and so may be absent."""
    return hasattr(tensor, "full_tensor")
