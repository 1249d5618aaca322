"""One forward pass from a micro-batch to a loss sum, in training and in validation."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from nmt.data.batching.loader import MicroBatch
from nmt.device.precision import Precision
from nmt.models.build import AnyModel
from nmt.models.interface import MIN_LOG_WEIGHT, Trace, evaluation_mode
from nmt.training.signals import Signals

OUTSIDE = -14.0
"""Log-weight of a linked source token that is outside the window: some constant, about 1e-6."""


class Losses(NamedTuple):
    """Sums over a micro-batch, in nats."""

    translation: Tensor
    """Cross entropy of the target tokens."""
    alignment: Tensor
    """Cross entropy of attention against given links; 0 where nothing is guided."""


class ModelWithLoss(nn.Module):
    """Model, output and loss as one module, so that wrappers hook all of it.

    While training, `guided` is the weight of the loss towards given alignments, now.
    """

    def __init__(self, model: AnyModel, label_smoothing: float, guided: float = 0.0) -> None:
        super().__init__()
        self.model = model
        self.label_smoothing = label_smoothing
        self.guided = guided

    def forward(self, batch: MicroBatch) -> Losses:
        """Return the losses summed over the batch's real target tokens."""
        guides = self.training and self.guided > 0 and len(batch.link_tgt_positions) > 0
        memory = self.model.encode(batch.src, batch.src_len)
        hidden, trace = self.model.decode(memory, batch.tgt_in, trace=guides)
        real = hidden.flatten(0, 1).index_select(0, batch.positions)
        smoothing = self.label_smoothing if self.training else 0.0
        loss = self.model.output.loss(real, batch.targets, smoothing)
        return Losses(loss, loss.new_zeros(()) if trace is None else alignment_loss(trace, batch))

    def total(self, losses: Losses) -> Tensor:
        """Return what training minimises."""
        return losses.translation + self.guided * losses.alignment


def alignment_loss(trace: Trace, batch: MicroBatch) -> Tensor:
    """Return the summed cross entropy of attention against the batch's links, in nats.

    A target token linked to n source tokens should give each 1/n (Chen et al. 2016, section 3:
    H(A, alpha) = -sum_t sum_i A_ti log alpha_ti). Tokens without a link have no say.
    """
    log_weights = trace.log_alignment.flatten(0, 1)[
        batch.link_tgt_positions, batch.link_src_positions
    ]
    seen = torch.where(log_weights > MIN_LOG_WEIGHT, log_weights, OUTSIDE)
    return -(batch.link_weights * seen).sum()


def corpus_loss(
    step: ModelWithLoss, batches: list[MicroBatch], precision: Precision, signals: Signals
) -> float:
    """Return the mean cross entropy a token over `batches`, without smoothing or dropout.

    All workers come here, each for its share. Raises StopTraining where one of them was signalled.
    """

    def share() -> Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for batch in signals.workers.shard(batches):
            signals.check()
            with precision.autocast():
                total += step(batch.to(precision.device)).translation.cpu().double()
        return total

    with evaluation_mode(step):
        total = signals.workers.all_reduce_sum(signals.together(share))
    return float(total) / sum(batch.tgt_tokens for batch in batches)
