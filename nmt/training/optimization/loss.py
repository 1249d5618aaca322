"""The training loss of a micro-batch: smoothed cross entropy and guided alignment."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from nmt.data.batching.loader import MicroBatch
from nmt.models.build import AnyModel
from nmt.models.interface import MIN_LOG_WEIGHT, Trace

LOG_WEIGHT_OUTSIDE_WINDOW = -14.0
"""Log-weight of a linked source token outside the attention window: a constant, about 1e-6."""


class Losses(NamedTuple):
    """Sums over the tokens of a micro-batch, in nats."""

    translation: Tensor
    """Cross entropy of the target tokens."""
    alignment: Tensor
    """Cross entropy of attention against word alignment links; 0 if attention is not guided."""


class ModelWithLoss(nn.Module):
    """The model and its loss in one module, which DDP, FSDP2 and torch.compile wrap."""

    def __init__(
        self, model: AnyModel, label_smoothing: float, alignment_weight: float = 0.0
    ) -> None:
        super().__init__()
        self.model = model
        self.label_smoothing = label_smoothing
        self.alignment_weight = alignment_weight

    @property
    def alignment_weight(self) -> float:
        """Current weight of the alignment loss in training."""
        return self._alignment_weight

    @alignment_weight.setter
    def alignment_weight(self, weight: float) -> None:
        self._alignment_weight = weight
        # `forward` reads this flag only, or a new weight would compile it again.
        self.is_guided = weight > 0

    def forward(self, batch: MicroBatch) -> Losses:
        """Return the losses summed over the target tokens without padding."""
        is_guided = self.training and self.is_guided and len(batch.link_tgt_positions) > 0
        memory = self.model.encode(batch.src, batch.src_len)
        hidden, trace = self.model.decode(memory, batch.tgt_in, trace=is_guided)
        hidden_at_targets = hidden.flatten(0, 1).index_select(0, batch.positions)
        smoothing = self.label_smoothing if self.training else 0.0
        loss = self.model.output.loss(hidden_at_targets, batch.targets, smoothing)
        return Losses(loss, loss.new_zeros(()) if trace is None else alignment_loss(trace, batch))

    def total(self, losses: Losses) -> Tensor:
        """Return the loss that training minimizes."""
        return losses.translation + self.alignment_weight * losses.alignment


def alignment_loss(trace: Trace, batch: MicroBatch) -> Tensor:
    """Return the summed cross entropy of attention against word alignment links, in nats.

    H(A, alpha) = -sum_t sum_i A_ti log alpha_ti  (Chen et al. 2016, section 3). The reference A_ti
    is 1/n for a target token with n links. Target tokens without links do not count.
    """
    log_weights = trace.log_alignment.flatten(0, 1)
    linked = log_weights[batch.link_tgt_positions, batch.link_src_positions]
    linked = torch.where(linked > MIN_LOG_WEIGHT, linked, LOG_WEIGHT_OUTSIDE_WINDOW)
    return -(batch.link_weights * linked).sum()
