"""One forward pass from a micro-batch to a loss sum, in training and in validation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nmt.data.loader import MicroBatch
from nmt.models.build import AnyModel
from nmt.models.interface import Trace
from nmt.runtime import Precision, evaluating

LEAST_WEIGHT = 1e-6
"""A linked source token with less attention counts as if it had this much."""


class TrainStep(nn.Module):
    """Model, output and loss as one module, so that wrappers hook all of it.

    While training, `guided` is the weight of the loss towards given alignments, now.
    """

    def __init__(self, model: AnyModel, label_smoothing: float, guided: float = 0.0) -> None:
        super().__init__()
        self.model = model
        self.label_smoothing = label_smoothing
        self.guided = guided

    def forward(self, batch: MicroBatch) -> Tensor:
        """Return the loss summed over the batch's real target tokens, in nats."""
        guides = self.training and self.guided > 0 and len(batch.link_places) > 0
        memory = self.model.encode(batch.src, batch.src_len)
        hidden, trace = self.model.decode(memory, batch.tgt_in, trace=guides)
        real = hidden.flatten(0, 1).index_select(0, batch.positions)
        smoothing = self.label_smoothing if self.training else 0.0
        loss = self.model.output.loss(real, batch.targets, smoothing)
        if trace is not None:
            loss = loss + self.guided * alignment_loss(trace, batch)
        return loss


def alignment_loss(trace: Trace, batch: MicroBatch) -> Tensor:
    """Return the summed cross entropy of attention against the batch's links, in nats.

    A target token linked to n source tokens should give each 1/n (Chen et al. 2016, section 3:
    H(A, alpha) = -sum_t sum_i A_ti log alpha_ti). Tokens without a link have no say.
    """
    weights = trace.alignment.flatten(0, 1)[batch.link_places, batch.link_sources]
    return -(batch.link_shares * weights.clamp_min(LEAST_WEIGHT).log()).sum()


def corpus_loss(step: TrainStep, batches: list[MicroBatch], precision: Precision) -> float:
    """Return the mean cross entropy a token over `batches`, without smoothing or dropout."""
    total = torch.zeros((), dtype=torch.float64)
    with evaluating(step):
        for batch in batches:
            with precision.autocast():
                total += step(batch.to(precision.device)).cpu().double()
    return float(total) / sum(batch.tgt_tokens for batch in batches)
