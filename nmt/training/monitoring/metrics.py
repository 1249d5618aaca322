"""What is noted of each update, and read from the device only where a record is made of it."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import torch

from nmt.core.distributed.process_group import ProcessGroup
from nmt.data.batching.batches import Batch
from nmt.data.batching.epochs import TokenizedPairs
from nmt.data.batching.loader import RankBatch
from nmt.training.loss import Losses
from nmt.training.monitoring.flops import FlopsPerToken

NOTABLE_WAIT = 0.02
"""Share of the time spent waiting for data that is worth a word."""


@dataclass(frozen=True)
class CompletedStep:
    """An update as it was, over all workers."""

    number: int
    pairs: TokenizedPairs
    batch: Batch
    tgt_tokens: int
    loss: float
    """Of its translations, a token; NaN or inf where that is what came out."""
    norm: float
    """Of its gradient, before clipping; an update whose norm is NaN or inf was skipped."""

    @property
    def skipped(self) -> bool:
        """Tell whether no weight was changed."""
        return not math.isfinite(self.norm)


class StepMeter:
    """Sums between two log records; nothing is read back from the device before `flush`."""

    def __init__(
        self, workers: ProcessGroup, flops_per_token: FlopsPerToken, ceiling: float | None
    ) -> None:
        self.workers = workers
        self.flops_per_token = flops_per_token
        self.ceiling = ceiling
        self.text = ""
        self._clear()

    def _clear(self) -> None:
        self._begin = time.perf_counter()
        self._updates: list[tuple[int, TokenizedPairs, Batch, int]] = []
        self._losses: list[torch.Tensor] = []
        self._norms: list[torch.Tensor] = []
        self._linked: list[int] = []
        self._padded = self._flop = 0
        self.waited = 0.0

    def add(
        self, number: int, losses: Losses, norm: torch.Tensor, update: RankBatch, linked: int
    ) -> None:
        """Note one update; `linked` target tokens of this worker's are linked, if guided."""
        self._updates.append((number, update.pairs, update.batch, update.tgt_tokens))
        self._losses.append(torch.stack(losses))
        self._norms.append(norm)
        self._linked.append(linked)
        self._padded += update.padded_tokens
        self._flop += self.flops_per_token.total(update.src_tokens, update.tgt_tokens)

    def pending(self) -> bool:
        """Tell whether an update has been noted since the last record."""
        return bool(self._updates)

    def elapsed(self) -> float:
        """Return the seconds since the last record."""
        return time.perf_counter() - self._begin

    def flush(self) -> tuple[dict[str, float], list[CompletedStep]]:
        """Return what a record says of the updates since the last, and these; start anew.

        Losses are a token, of the updates that were not skipped. All workers come here together.
        """
        assert self._updates, "flush comes after an update"
        losses = torch.stack(self._losses, 1).cpu().double()
        sums = self.workers.all_reduce_sum(torch.cat([losses, losses.new_tensor([self._linked])]))
        translation, alignment, linked = sums.tolist()
        norms = torch.stack(self._norms).tolist()
        done = [
            CompletedStep(*update, loss / update[-1], norm)
            for update, loss, norm in zip(self._updates, translation, norms, strict=True)
        ]
        counted = [i for i, each in enumerate(done) if not each.skipped]
        tokens = sum(done[i].tgt_tokens for i in counted)
        all_tokens = sum(each.tgt_tokens for each in done)
        elapsed = self.elapsed()
        rate = self._flop / elapsed / self.workers.size
        values = {
            "loss": sum(translation[i] for i in counted) / tokens if tokens else math.nan,
            "tokens_per_second": round(all_tokens / elapsed, 1),
            "padding": round(1 - all_tokens / self._padded, 4),
            "gflops_per_second": round(rate / 1e9, 2),
            "data_wait": round(self.waited / elapsed, 4),
        }
        if self.ceiling:
            self.ceiling = max(self.ceiling, rate)  # products of other shapes may be faster
            values["ceiling_share"] = round(rate / self.ceiling, 4)
        if all_linked := sum(linked[i] for i in counted):
            values["alignment_loss"] = sum(alignment[i] for i in counted) / all_linked
        if len(counted) < len(done):
            values["skipped"] = len(done) - len(counted)
        self.text = self._in_words(values)
        self._clear()
        return values, done

    def _in_words(self, values: dict[str, float]) -> str:
        text = (
            f"loss {values['loss']:.3f}  {values['tokens_per_second']:.0f} tokens/s  "
            f"padding {values['padding']:.1%}  "
        )
        if self.ceiling:
            text += f"{values['ceiling_share']:.0%} of peak  "
        if values["data_wait"] >= NOTABLE_WAIT:
            text += f"{values['data_wait']:.0%} waiting for data  "
        return text
