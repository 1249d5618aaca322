"""Collect the metrics of optimizer steps, and read them from the device once per log record."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch

from nmt.core.distributed.process_group import ProcessGroup
from nmt.data.batching.batches import Batch
from nmt.data.batching.epochs import TokenizedPairs
from nmt.data.batching.loader import RankBatch
from nmt.training.monitoring.flops import FlopsPerToken
from nmt.training.optimization.loss import Losses

T = TypeVar("T")
MIN_SHOWN_WAIT = 0.02
"""Smallest share of time spent waiting for data that the progress text shows."""


@dataclass(frozen=True)
class CompletedStep:
    """An optimizer step, with sums over all ranks."""

    step: int
    """Number of the step, from 1."""
    pairs: TokenizedPairs
    batch: Batch
    tgt_tokens: int
    loss: float
    """Translation loss per target token; may be NaN or infinite."""
    gradient_norm: float
    """Norm of the gradient before clipping. If it is NaN or infinite, the step was skipped."""

    @property
    def is_skipped(self) -> bool:
        """Whether the step changed no weight."""
        return not math.isfinite(self.gradient_norm)


class StepMeter:
    """Sums the metrics of optimizer steps between two log records."""

    def __init__(
        self, ranks: ProcessGroup, flops_per_token: FlopsPerToken, peak_flops: float | None
    ) -> None:
        """Start measuring; `peak_flops` is the measured FLOP/s of matrix products, if known."""
        self.ranks = ranks
        self.flops_per_token = flops_per_token
        self.peak_flops = peak_flops
        self.text = ""
        """Metrics of the last record, for the progress line."""
        self.reset()

    def reset(self) -> None:
        """Discard all steps and restart the clock."""
        self.wait_seconds = 0.0
        self._start = time.perf_counter()
        self._steps: list[tuple[int, TokenizedPairs, Batch, int]] = []
        """Number of each step, its pairs, its batch, and the target tokens of all ranks."""
        self._losses: list[torch.Tensor] = []
        """`Losses` of each step, summed over the tokens of this rank."""
        self._gradient_norms: list[torch.Tensor] = []
        """Norms over all ranks."""
        self._linked_tokens: list[int] = []
        self._padded_tokens = 0
        """Number of padded target tokens of all ranks."""
        self._flops = 0
        """Floating-point operations of all ranks."""

    def measure_wait(self, items: Iterator[T]) -> Iterator[T]:
        """Yield items and add the time spent waiting for them to `wait_seconds`."""
        while True:
            start = time.perf_counter()
            try:
                item = next(items)
            except StopIteration:
                return
            self.wait_seconds += time.perf_counter() - start
            yield item

    def add(
        self,
        step: int,
        losses: Losses,
        gradient_norm: torch.Tensor,
        batch: RankBatch,
        linked_tokens: int,
    ) -> None:
        """Add a step without waiting for the device.

        `linked_tokens` is the number of this rank's target tokens with word alignment links, 0 if
        attention is not guided.
        """
        self._steps.append((step, batch.pairs, batch.batch, batch.tgt_tokens))
        self._losses.append(torch.stack(losses))
        self._gradient_norms.append(gradient_norm)
        self._linked_tokens.append(linked_tokens)
        self._padded_tokens += batch.padded_tokens
        self._flops += self.flops_per_token.total(batch.src_tokens, batch.tgt_tokens)

    @property
    def is_empty(self) -> bool:
        """Whether no step was added since the last record."""
        return not self._steps

    @property
    def elapsed_seconds(self) -> float:
        """Seconds since the last record."""
        return time.perf_counter() - self._start

    def flush(self) -> tuple[dict[str, float], list[CompletedStep]]:
        """Return the metrics of a log record and the steps since the last one; then reset.

        `loss` is a mean per target token, `alignment_loss` a mean per token with word alignment
        links, both over the steps that were not skipped. `divergence` is a mean per target token.
        `ceiling_share` is the model FLOPs utilization. All ranks must call this together.
        """
        assert self._steps, "flush needs at least one step"
        losses = torch.stack(self._losses, 1).cpu().double()
        linked_tokens = losses.new_tensor([self._linked_tokens])
        sums = self.ranks.all_reduce_sum(torch.cat([losses, linked_tokens]))
        translation_losses, divergences, alignment_losses, linked = sums.tolist()
        norms = torch.stack(self._gradient_norms).tolist()
        steps = [
            CompletedStep(*step, loss / step[-1], norm)
            for step, loss, norm in zip(self._steps, translation_losses, norms, strict=True)
        ]
        counted = [index for index, step in enumerate(steps) if not step.is_skipped]
        counted_tokens = sum(steps[index].tgt_tokens for index in counted)
        counted_loss = sum(translation_losses[index] for index in counted)
        all_tokens = sum(step.tgt_tokens for step in steps)
        elapsed = self.elapsed_seconds
        flops_per_second = self._flops / elapsed / self.ranks.size
        metrics = {
            "loss": counted_loss / counted_tokens if counted_tokens else math.nan,
            "tokens_per_second": round(all_tokens / elapsed, 1),
            "padding": round(1 - all_tokens / self._padded_tokens, 4),
            "gflops_per_second": round(flops_per_second / 1e9, 2),
            "data_wait": round(self.wait_seconds / elapsed, 4),
        }
        if self.peak_flops:
            # The model may multiply matrices of faster shapes than those that were measured.
            self.peak_flops = max(self.peak_flops, flops_per_second)
            metrics["ceiling_share"] = round(flops_per_second / self.peak_flops, 4)
        if any(divergences) and counted_tokens:
            divergence = sum(divergences[index] for index in counted)
            metrics["divergence"] = divergence / counted_tokens
        counted_linked = sum(linked[index] for index in counted)
        if counted_linked:
            alignment_loss = sum(alignment_losses[index] for index in counted)
            metrics["alignment_loss"] = alignment_loss / counted_linked
        if len(counted) < len(steps):
            metrics["skipped"] = len(steps) - len(counted)
        self.text = _format_metrics(metrics)
        self.reset()
        return metrics, steps


def _format_metrics(metrics: dict[str, float]) -> str:
    text = (
        f"loss {metrics['loss']:.3f}  {metrics['tokens_per_second']:.0f} tokens/s  "
        f"padding {metrics['padding']:.1%}  "
    )
    if "ceiling_share" in metrics:
        text += f"{metrics['ceiling_share']:.0%} of peak  "
    if metrics["data_wait"] >= MIN_SHOWN_WAIT:
        text += f"{metrics['data_wait']:.0%} waiting for data  "
    return text
