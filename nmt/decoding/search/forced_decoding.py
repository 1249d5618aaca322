"""Forced decoding: score given translations, and record the attention of the model.

Shapes: B pairs, T/S target/source length with eos, V vocabulary size, D width of hidden vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nmt.config.sections.decode import DecodeConfig
from nmt.data.batching.loader import pad_rows
from nmt.data.tokenizer.tokenizer import Tokenizers
from nmt.decoding.search.beam_state import Ranking
from nmt.decoding.search.hypothesis import (
    NON_FINITE_PROBABILITIES,
    Hypothesis,
    TokenPair,
    TokenScores,
)
from nmt.decoding.search.request_queue import pad_sources
from nmt.decoding.search.trace import NO_ATTENTION, FloatArray, ForcedTrace
from nmt.decoding.search.vocabulary import FullVocabulary
from nmt.errors import RunError
from nmt.models.build import AnyModel
from nmt.models.interface import Trace, evaluation_mode


@dataclass(frozen=True)
class _ForcedBatch:
    """Output of the decoder for a batch of pairs."""

    targets: list[list[int]]
    """Target token ids with eos."""
    log_probs: Tensor
    """B x T x V."""
    target_log_probs: Tensor
    """B x T log-probabilities of the target tokens, on the CPU; 0 for tags."""
    target_mask: Tensor
    """B x T bool, on the CPU: False for padding."""
    trace: Trace | None

    def attention_sums(self) -> Tensor | None:
        """Return B x S sums of the attention on each source token, on the CPU.

        None if the model has no attention.
        """
        if self.trace is None:
            return None
        return (self.trace.alignment.float().cpu() * self.target_mask[:, :, None]).sum(1)


class ForcedDecoder:
    """Feeds given target tokens to the decoder of one model on one device."""

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
        self.ranking = Ranking.from_settings(settings)
        self.vocabulary = FullVocabulary(model, tokenizers.tgt, device)

    def score(self, pairs: Sequence[TokenPair]) -> list[Hypothesis]:
        """Return the target of each pair as a hypothesis with its score.

        Raises RunError if the score needs attention and the model has none.
        """
        with evaluation_mode(self.model):
            batch = self._force(pairs, trace=self.ranking.uses_attention)
        log_probs = batch.target_log_probs.masked_fill(~batch.target_mask, 0.0).sum(1)
        scores = log_probs / self.ranking.length_penalty(batch.target_mask.sum(1))
        if self.ranking.uses_attention:
            scores = scores + self.ranking.coverage_penalty(self._uncovered(pairs, batch))
        return [
            Hypothesis(target[:-1], score, log_prob)
            for target, score, log_prob in zip(
                batch.targets, scores.tolist(), log_probs.tolist(), strict=True
            )
        ]

    def _uncovered(self, pairs: Sequence[TokenPair], batch: _ForcedBatch) -> Tensor:
        """Return B x S: attention that each source token lacks to a sum of 1; 0 on padding."""
        sums = batch.attention_sums()
        if sums is None:
            raise RunError(NO_ATTENTION)
        lengths = torch.tensor([[len(source) + 1] for source, _ in pairs])
        return (1 - sums).clamp_min(0) * (torch.arange(sums.size(1)) < lengths)

    def score_tokens(self, pairs: Sequence[TokenPair]) -> list[TokenScores]:
        """Return the log-probabilities of target tokens and the attention on source tokens."""
        with evaluation_mode(self.model):
            batch = self._force(pairs, trace=True)
        sums = batch.attention_sums()
        token_scores = []
        for b, ((source, _), target) in enumerate(zip(pairs, batch.targets, strict=True)):
            log_probs = batch.target_log_probs[b, : len(target)].numpy()
            attention = None if sums is None else sums[b, : len(source) + 1].numpy()
            token_scores.append(TokenScores(log_probs, attention))
        return token_scores

    def trace(self, pairs: Sequence[TokenPair], top: int = 0) -> list[ForcedTrace]:
        """Return the attention of each pair and the `top` most probable tokens at each position.

        Raises RunError if the model has no attention, or if its weights hold NaN.
        """
        with evaluation_mode(self.model):
            batch = self._force(pairs, trace=True)
            best = batch.log_probs.topk(top, -1)
        if batch.trace is None:
            raise RunError(NO_ATTENTION)
        if not bool(batch.target_log_probs[batch.target_mask].isfinite().all()):
            raise RunError(NON_FINITE_PROBABILITIES)
        top_probs, top_tokens = best.values.exp().tolist(), best.indices.tolist()
        norms = batch.trace.context.float().norm(dim=-1)
        scores, softmax, weights = (
            tensor.float().cpu().numpy()
            for tensor in (batch.trace.scores, batch.trace.softmax, batch.trace.weights)
        )
        traces = []
        for b, ((source, _), target) in enumerate(zip(pairs, batch.targets, strict=True)):
            t, s = slice(0, len(target)), slice(0, len(source) + 1)
            traces.append(
                ForcedTrace(
                    scores=scores[:, :, b, t, s],
                    softmax=softmax[:, :, b, t, s],
                    weights=weights[:, :, b, t, s],
                    context_norms=norms[:, b, t].cpu().numpy(),
                    log_probs=batch.target_log_probs[b, t].cpu().numpy(),
                    layer=batch.trace.layer,
                    top=[
                        list(zip(tokens, probs, strict=True))
                        for tokens, probs in zip(top_tokens[b][t], top_probs[b][t], strict=True)
                    ],
                )
            )
        return traces

    def attention(self, pairs: Sequence[TokenPair]) -> list[FloatArray]:
        """Return the T x S attention of each pair: mean of the heads of the best aligning layer.

        Raises RunError if the model has no attention.
        """
        with evaluation_mode(self.model):
            targets, _, trace = self._decode(pairs, trace=True)
        if trace is None:
            raise RunError(NO_ATTENTION)
        weights = trace.alignment.float().cpu().numpy()
        return [
            weights[b, : len(target), : len(source) + 1]
            for b, ((source, _), target) in enumerate(zip(pairs, targets, strict=True))
        ]

    def _force(self, pairs: Sequence[TokenPair], trace: bool) -> _ForcedBatch:
        """Compute the probabilities of all target tokens."""
        targets, hidden, attention = self._decode(pairs, trace)
        longest = hidden.size(1)
        target_ids = pad_rows(targets, longest, self.tokenizers.tgt.pad).to(self.device)
        log_probs = self.vocabulary.log_probs(hidden)
        target_log_probs = log_probs.gather(2, target_ids[:, :, None])[:, :, 0].cpu()
        target_log_probs[:, : len(self.tokenizers.tgt.tags)] = 0.0  # the search forces tags
        lengths = torch.tensor([len(target) for target in targets])
        return _ForcedBatch(
            targets=targets,
            log_probs=log_probs,
            target_log_probs=target_log_probs,
            target_mask=torch.arange(longest) < lengths[:, None],
            trace=attention,
        )

    def _decode(
        self, pairs: Sequence[TokenPair], trace: bool
    ) -> tuple[list[list[int]], Tensor, Trace | None]:
        """Feed the targets to the decoder.

        Return the targets with eos, B x T x D hidden vectors, and the trace if requested.
        """
        tgt = self.tokenizers.tgt
        targets = [[*target, tgt.eos] for _, target in pairs]
        longest = max(len(target) for target in targets)
        tgt_in = pad_rows([[tgt.bos, *target[:-1]] for target in targets], longest, tgt.pad)
        src, src_len = pad_sources([source for source, _ in pairs], self.tokenizers.src)
        memory = self.model.encode(src.to(self.device), src_len)
        hidden, attention = self.model.decode(memory, tgt_in.to(self.device), trace)
        return targets, hidden, attention
