"""Given translations, forced: how probable a model finds them, and what it looked at.

Shapes: B pairs, T/S target/source length, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nmt.config.sections.decode import DecodeConfig
from nmt.data.batching.loader import pad_rows
from nmt.data.tokenizer.tokenizer import Tokenizers
from nmt.decoding.beam_state import Ranking
from nmt.decoding.hypothesis import Hypothesis
from nmt.decoding.lines.confidence import TokenScores
from nmt.decoding.trace import FloatArray, ForcedTrace
from nmt.errors import RunError
from nmt.models.build import AnyModel
from nmt.models.interface import Trace, evaluation_mode

BROKEN = "the model's probabilities are not numbers: its weights hold NaN or inf"
NO_ATTENTION = "this model has no attention to show (model.wiring: none)"


@dataclass(frozen=True)
class _Forced:
    """A batch of targets fed to the decoder. B pairs, T the longest target."""

    targets: list[list[int]]
    """With eos."""
    log_probs: Tensor
    """B x T x V."""
    chosen: Tensor
    """B x T log-probabilities of the targets' tokens, on the CPU."""
    real: Tensor
    """B x T, True = real token."""
    trace: Trace | None


class Forcing:
    """Forces batches of token ids through one model on one device."""

    def __init__(
        self,
        model: AnyModel,
        tokenizers: Tokenizers,
        settings: DecodeConfig,
        device: torch.device,
    ) -> None:
        self.model = model
        self.tokenizers = tokenizers
        self.settings = settings
        self.device = device
        self.ranking = Ranking(
            settings.length_penalty, settings.length_norm, settings.coverage_penalty
        )
        self._never = torch.tensor(tokenizers.tgt.never_output, device=device)

    def _logits(self, hidden: Tensor) -> Tensor:
        """Return ... x V logits of ... x D hidden vectors; -inf for what is never output."""
        logits = self.model.output.logits(hidden).float()
        return logits.index_fill_(-1, self._never, -math.inf)

    def _source_tensors(self, sources: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        src = self.tokenizers.src
        rows = [[*source, src.eos] for source in sources]
        lengths = torch.tensor([len(row) for row in rows])
        return pad_rows(rows, int(lengths.max()), src.pad), lengths

    def score(self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[Hypothesis]:
        """Return each pair's target as a hypothesis with the score of forced decoding."""
        with evaluation_mode(self.model):
            forced = self._force(pairs, trace=self.ranking.beta > 0)
        totals = forced.chosen.masked_fill(~forced.real, 0.0).sum(1)
        ranks = totals / self.ranking.penalty(forced.real.sum(1))
        if self.ranking.beta > 0:
            ranks = ranks + self.ranking.coverage(self._uncovered(pairs, forced))
        return [
            Hypothesis(row[:-1], *scores)
            for row, *scores in zip(forced.targets, ranks.tolist(), totals.tolist(), strict=True)
        ]

    def _uncovered(
        self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]], forced: _Forced
    ) -> Tensor:
        """Return B x S, on the CPU: what each source token lacks to a whole of attention."""
        if forced.trace is None:
            raise RunError(NO_ATTENTION)
        weights = forced.trace.alignment.float().cpu() * forced.real[:, :, None]
        seen = torch.arange(weights.size(2)) <= torch.tensor([[len(source)] for source, _ in pairs])
        return (1 - weights.sum(1)).clamp_min(0) * seen

    def score_tokens(
        self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]
    ) -> list[TokenScores]:
        """Force each pair's target; return its tokens' log-probabilities and what it looked at."""
        with evaluation_mode(self.model):
            forced = self._force(pairs, trace=True)
        sums: list[FloatArray | None] = [None] * len(pairs)
        if forced.trace is not None:
            weights = forced.trace.alignment.float().cpu() * forced.real[:, :, None]
            sums = list(weights.sum(1).numpy())
        return [
            TokenScores(
                chosen[: len(target)].numpy(),
                None if attended is None else attended[: len(source) + 1],
            )
            for (source, _), target, chosen, attended in zip(
                pairs, forced.targets, forced.chosen, sums, strict=True
            )
        ]

    def walk(
        self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]], top: int = 0
    ) -> list[ForcedTrace]:
        """Force each pair's target; return its attention and the `top` best tokens of each step.

        Raises RunError for a model without attention, or whose weights hold NaN.
        """
        with evaluation_mode(self.model):
            forced = self._force(pairs, trace=True)
            best = forced.log_probs.topk(top, -1)
        if forced.trace is None:
            raise RunError(NO_ATTENTION)
        if not bool(forced.chosen[forced.real].isfinite().all()):
            raise RunError(BROKEN)
        probabilities, tokens = best.values.exp().tolist(), best.indices.tolist()
        trace, norms = forced.trace, forced.trace.context.float().norm(dim=-1)
        parts = [p.float().cpu().numpy() for p in (trace.scores, trace.softmax, trace.weights)]
        walks = []
        for b, ((source, _), target) in enumerate(zip(pairs, forced.targets, strict=True)):
            places = slice(0, len(target))
            seen = len(source) + 1  # with eos
            scores, softmax, weights = (part[:, :, b, places, :seen] for part in parts)
            walks.append(
                ForcedTrace(
                    scores=scores,
                    softmax=softmax,
                    weights=weights,
                    context_norms=norms[:, b, places].cpu().numpy(),
                    log_probs=forced.chosen[b, places].cpu().numpy(),
                    layer=trace.layer,
                    top=[
                        list(zip(*step, strict=True))
                        for step in zip(tokens[b][places], probabilities[b][places], strict=True)
                    ],
                )
            )
        return walks

    def attention(self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[FloatArray]:
        """Force each pair's target; return the T x S weights that align best, ends included.

        Raises RunError for a model without attention.
        """
        with evaluation_mode(self.model):
            rows, _, trace = self._decode(pairs, trace=True)
        if trace is None:
            raise RunError(NO_ATTENTION)
        found = trace.alignment.float().cpu().numpy()
        return [
            weights[: len(row), : len(source) + 1]
            for weights, row, (source, _) in zip(found, rows, pairs, strict=True)
        ]

    def _decode(
        self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]], trace: bool
    ) -> tuple[list[list[int]], Tensor, Trace | None]:
        """Feed targets to the decoder; return them with eos, and B x T x D hidden vectors."""
        tgt = self.tokenizers.tgt
        rows = [[*target, tgt.eos] for _, target in pairs]
        longest = max(len(row) for row in rows)
        tgt_in = pad_rows([[tgt.bos, *row[:-1]] for row in rows], longest, tgt.pad)
        src, src_len = self._source_tensors([source for source, _ in pairs])
        memory = self.model.encode(src.to(self.device), src_len)
        return rows, *self.model.decode(memory, tgt_in.to(self.device), trace)

    def _force(self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]], trace: bool) -> _Forced:
        rows, hidden, seen = self._decode(pairs, trace)
        longest = hidden.size(1)
        tgt_out = pad_rows(rows, longest, self.tokenizers.tgt.pad).to(self.device)
        log_probs = self._logits(hidden).log_softmax(-1)
        real = torch.arange(longest) < torch.tensor([len(row) for row in rows])[:, None]
        return _Forced(
            targets=rows,
            log_probs=log_probs,
            chosen=log_probs.gather(2, tgt_out[:, :, None])[:, :, 0].cpu(),
            real=real,
            trace=seen,
        )
