"""The training loss of a micro-batch: smoothed cross entropy, consistency, guided alignment."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from nmt.config.sections.train import TrainConfig
from nmt.data.batching.loader import MicroBatch
from nmt.models.build import AnyModel
from nmt.models.interface import MIN_LOG_WEIGHT, Trace
from nmt.models.kernels.consistency_loss import TermWeights

LOG_WEIGHT_OUTSIDE_WINDOW = -14.0
"""Log-weight of a linked source token outside the attention window: a constant, about 1e-6."""


class Losses(NamedTuple):
    """Sums over the tokens of a micro-batch, in nats."""

    translation: Tensor
    """Cross entropy of the target tokens. With a divergence, its gradient is in here, too."""
    divergence: Tensor
    """Weighted divergence of two passes, without a gradient; 0 without R-Drop and SimCut."""
    alignment: Tensor
    """Cross entropy of attention against word alignment links; 0 if attention is not guided."""


class ModelWithLoss(nn.Module):
    """The model and its loss in one module, which DDP, FSDP2 and torch.compile wrap.

    With P and Q the predictions of two passes over the same batch, the loss of a target token is

        R-Drop   (CE(P) + CE(Q)) / 2 + alpha / 4 (KL(P || Q) + KL(Q || P))
        SimCut   CE(P) + alpha KL(P || Q)

    In R-Drop the passes differ in their dropout (Liang et al. 2021, equation 4 is twice this loss).
    In SimCut the second pass also has token embeddings of zero (Gao et al. 2022, equation 5).
    """

    def __init__(self, model: AnyModel, settings: TrainConfig) -> None:
        super().__init__()
        self.model = model
        self.label_smoothing = settings.label_smoothing
        self.alignment_weight = settings.guided_alignment
        self.token_dropout = settings.token_dropout
        """Probability that a token has an embedding of zero, in all passes."""
        self.second_token_dropout = 0.0
        """Further such probability in the second pass."""
        self.term_weights: TermWeights | None = None
        """Weights of the loss of two passes; None for a single pass."""
        if settings.rdrop:
            quarter = settings.rdrop / 4
            self.term_weights = TermWeights(0.5, 0.5, quarter, quarter)
        elif settings.simcut is not None:
            self.second_token_dropout = settings.simcut.p
            self.term_weights = TermWeights(1.0, 0.0, settings.simcut.alpha, 0.0)

    @property
    def passes(self) -> int:
        """Number of passes over each batch in training."""
        return 1 if self.term_weights is None else 2

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
        passes = self.passes if self.training else 1
        src, src_len, tgt_in = batch.src, batch.src_len, batch.tgt_in
        if passes == 2:
            src, src_len, tgt_in = (torch.cat([rows, rows]) for rows in (src, src_len, tgt_in))
        memory = self.model.encode(src, src_len, self._cut(src, passes))
        hidden, trace = self.model.decode(memory, tgt_in, is_guided, self._cut(tgt_in, passes))
        hidden_at_targets = [
            part.flatten(0, 1).index_select(0, batch.positions) for part in hidden.chunk(passes)
        ]
        smoothing = self.label_smoothing if self.training else 0.0
        if self.term_weights is None or passes == 1:
            [hidden] = hidden_at_targets
            translation = self.model.output.loss(hidden, batch.targets, smoothing)
            divergence = translation.new_zeros(())
        else:
            first, second = hidden_at_targets
            loss, divergence = self.model.output.consistency_loss(
                first, second, batch.targets, smoothing, self.term_weights
            )
            translation = loss - divergence
        if trace is None:
            return Losses(translation, divergence, translation.new_zeros(()))
        return Losses(translation, divergence, alignment_loss(trace, batch))

    def _cut(self, tokens: Tensor, passes: int) -> Tensor | None:
        """Return the mask of tokens whose embedding is zero; None if there are none."""
        if not self.training or not (self.token_dropout or self.second_token_dropout):
            return None
        drawn = torch.rand(tokens.shape, device=tokens.device)
        keep = 1 - self.token_dropout
        limits = [1 - keep, 1 - keep * (1 - self.second_token_dropout)]
        return torch.cat([part < p for part, p in zip(drawn.chunk(passes), limits, strict=False)])

    def total(self, losses: Losses) -> Tensor:
        """Return the loss that training minimizes."""
        return losses.translation + losses.divergence + self.alignment_weight * losses.alignment


def alignment_loss(trace: Trace, batch: MicroBatch) -> Tensor:
    """Return the summed cross entropy of attention against word alignment links, in nats.

    H(A, alpha) = -sum_t sum_i A_ti log alpha_ti  (Chen et al. 2016, section 3). The reference A_ti
    is 1/n for a target token with n links. Target tokens without links do not count. Of two passes
    over the batch, the attention of the first counts.
    """
    log_weights = trace.log_alignment.flatten(0, 1)
    linked = log_weights[batch.link_tgt_positions, batch.link_src_positions]
    linked = torch.where(linked > MIN_LOG_WEIGHT, linked, LOG_WEIGHT_OUTSIDE_WINDOW)
    return -(batch.link_weights * linked).sum()
