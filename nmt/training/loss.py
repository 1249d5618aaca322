"""One forward pass from a micro-batch to a loss sum, in training and in validation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nmt.data.loader import MicroBatch
from nmt.models.build import AnyModel
from nmt.runtime import Precision, evaluating


class TrainStep(nn.Module):
    """Model, output and loss as one module, so that wrappers hook all of it."""

    def __init__(self, model: AnyModel, label_smoothing: float) -> None:
        super().__init__()
        self.model = model
        self.label_smoothing = label_smoothing

    def forward(self, batch: MicroBatch) -> Tensor:
        """Return the loss summed over the batch's real target tokens, in nats."""
        memory = self.model.encode(batch.src, batch.src_len)
        hidden, _ = self.model.decode(memory, batch.tgt_in)
        real = hidden.flatten(0, 1).index_select(0, batch.positions)
        smoothing = self.label_smoothing if self.training else 0.0
        return self.model.output.loss(real, batch.targets, smoothing)


def corpus_loss(step: TrainStep, batches: list[MicroBatch], precision: Precision) -> float:
    """Return the mean cross entropy a token over `batches`, without smoothing or dropout."""
    total = torch.zeros((), dtype=torch.float64)
    with evaluating(step):
        for batch in batches:
            with precision.autocast():
                total += step(batch.to(precision.device)).cpu().double()
    return float(total) / sum(batch.tgt_tokens for batch in batches)
