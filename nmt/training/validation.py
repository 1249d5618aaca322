"""Validate the model in training: loss, perplexity and the score of greedy translations."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
import torch

from nmt.core import files
from nmt.core.console import format_duration
from nmt.core.distributed.process_group import ProcessGroup
from nmt.core.run_dir import RunDir
from nmt.data.batching.batches import plan_eval_batches
from nmt.data.batching.loader import MicroBatch, build_micro_batch
from nmt.data.corpus.corpus import Corpus
from nmt.data.tokenizer.tokenizer import TagIds, Tokenizers
from nmt.device.precision import Precision
from nmt.errors import DataError
from nmt.models.interface import evaluation_mode
from nmt.training.checkpoints.train_state import TrainState
from nmt.training.monitoring.run_log import RunLog
from nmt.training.optimization.loss import ModelWithLoss
from nmt.training.signals import Signals

NUM_SAMPLES = 3
"""Number of translations that are shown at each validation."""

Translate = Callable[[Sequence[str], TagIds], list[str]]
"""Translates lines of a text set with these tags."""
OpenTranslator = Callable[[], Translate]
"""Returns a translator with the current weights of the model."""
ComputeBleu = Callable[[Sequence[str], Sequence[str]], float]
"""Returns the BLEU, 0 to 100, of hypotheses and references."""


class ValidationText:
    """The validation pairs of at most `max_length` tokens per side, as text and as batches.

    `max_length` counts tokens without end of sentence, as `data.max_length` does.
    """

    def __init__(
        self,
        corpus: Corpus,
        tokenizers: Tokenizers,
        max_length: int,
        batch_tokens: int,
        names: Sequence[str] = (),
    ) -> None:
        """Build batches of at most `batch_tokens` target tokens, padding and eos included.

        `names` are those of the text sets, if each is to have its own scores.

        Raises DataError if every pair is too long.
        """
        src_lengths, tgt_lengths = (corpus.lengths(side) for side in ("src", "tgt"))
        fits = np.maximum(src_lengths, tgt_lengths) <= max_length
        self.max_length = max_length
        self.num_pairs = len(corpus)
        """Number of pairs, including those that are too long."""
        self.rows = np.flatnonzero(fits)
        """Indices of the pairs that are not too long."""
        if not len(self.rows):
            raise DataError(
                f"data.valid: expected a pair of at most {max_length} tokens on each side "
                f"(data.max_length), got none among {len(corpus)}"
            )
        self.src = corpus.lines_at("src", self.rows)
        """Source text of each pair."""
        self.references = corpus.lines_at("tgt", self.rows)
        """Target text of each pair."""
        set_ends = np.cumsum(corpus.sizes)  # `sizes` has the number of pairs of each text set
        fits_of_set = np.split(fits, set_ends[:-1])
        sizes = [int(set_fits.sum()) for set_fits in fits_of_set]
        self.sets = list(zip(corpus.tags, sizes, strict=True))
        """Tags and number of pairs of each text set, in the order of the pairs."""
        self.names = list(names)
        """Names of the text sets; empty if only the score of all pairs is wanted."""
        self.mean_tgt_length = float(tgt_lengths[self.rows].mean()) + 1
        """Mean number of target tokens per pair, including end of sentence."""
        self.batches: list[list[MicroBatch]] = []
        """Batches of each named set; of all pairs together without names."""
        for name, size in zip(self.names, sizes, strict=False):
            if not size:
                raise DataError(
                    f"data.valid: {name}: expected a pair of at most {max_length} tokens on each "
                    "side (data.max_length), got none"
                )
        with_eos = 1
        groups = np.split(self.rows, np.cumsum(sizes)[:-1]) if self.names else [self.rows]
        for rows in groups:
            plan = plan_eval_batches(
                src_lengths[rows] + with_eos, tgt_lengths[rows] + with_eos, batch_tokens
            )
            # The rows of the plan index `rows`; those of a micro-batch index the corpus.
            batches = (replace(batch, rows=rows[batch.rows]) for batch in plan)
            self.batches.append([build_micro_batch(corpus, batch, tokenizers) for batch in batches])


class Validator:
    """Computes loss, perplexity and BLEU of the model in training.

    Translations are greedy, because validation must be fast. Test sets are translated with the
    beam of the config.
    """

    def __init__(
        self,
        text: ValidationText,
        run: RunDir,
        log: RunLog,
        module: ModelWithLoss,
        precision: Precision,
        signals: Signals,
        open_translator: OpenTranslator,
        compute_bleu: ComputeBleu,
    ) -> None:
        """Store the parts of a validation, and log how many pairs are too long for it.

        Translations are written to the folder of `run`. `signals` can stop a validation, and its
        process group shares the work among the ranks. `open_translator` is called once for each
        validation.
        """
        self.text = text
        self.run = run
        self.log = log
        self.module = module
        self.precision = precision
        self.signals = signals
        self.ranks: ProcessGroup = signals.ranks
        self.open_translator = open_translator
        self.compute_bleu = compute_bleu
        if num_dropped := text.num_pairs - len(text.rows):
            log.info(
                f"data.valid: {num_dropped} of {text.num_pairs} pairs are left out, as in "
                f"training: more than {text.max_length} tokens on a side (data.max_length)"
            )

    def __call__(self, state: TrainState) -> dict[str, float]:
        """Return the metrics of the current weights; log samples and write all translations.

        All ranks must call this together. Raises StopTraining if a rank receives a signal.
        """
        start = time.perf_counter()
        losses = self.compute_losses()
        hypotheses = self.translate(self.open_translator())
        loss, bleu = mean_loss(losses), self.compute_bleu(hypotheses, self.text.references)
        if self.ranks.is_main:
            self._write_translations(hypotheses, state.step)
        metrics = {"loss": loss, "perplexity": perplexity(loss), "bleu": bleu}
        metrics |= self._metrics_by_set(losses, hypotheses)
        by_set = [
            f"\n  {name}: loss {metrics[f'loss/{name}']:.3f}  BLEU {metrics[f'bleu/{name}']:.2f}"
            for name in self.text.names
        ]
        self.log.info(
            f"validation: epoch {state.epoch}  update {state.step}  loss {loss:.3f}  "
            f"perplexity {metrics['perplexity']:.2f}  BLEU {bleu:.2f}  "
            f"({format_duration(time.perf_counter() - start)}){''.join(by_set)}\n"
            + format_samples(self.text.src, self.text.references, hypotheses)
        )
        return metrics

    def compute_losses(self) -> list[SummedLoss]:
        """Return the cross entropy of each named set, or of all pairs without names."""
        return [
            sum_loss(self.module, batches, self.precision, self.signals)
            for batches in self.text.batches
        ]

    def _metrics_by_set(
        self, losses: Sequence[SummedLoss], hypotheses: Sequence[str]
    ) -> dict[str, float]:
        """Return "METRIC/NAME" for each named set."""
        metrics: dict[str, float] = {}
        begin = 0
        for index, name in enumerate(self.text.names):
            end = begin + self.text.sets[index][1]
            loss = mean_loss([losses[index]])
            bleu = self.compute_bleu(hypotheses[begin:end], self.text.references[begin:end])
            metrics[f"loss/{name}"] = loss
            metrics[f"perplexity/{name}"] = perplexity(loss)
            metrics[f"bleu/{name}"] = bleu
            begin = end
        return metrics

    def translate(self, translate: Translate) -> list[str]:
        """Return the translations of the validation text; each rank translates a share."""
        hypotheses: list[str] = []
        for tags, size in self.text.sets:
            lines = self.text.src[len(hypotheses) : len(hypotheses) + size]
            own_lines = self.ranks.shard(lines)
            own_hypotheses = self.signals.run_on_all_ranks(partial(translate, own_lines, tags))
            hypotheses += self.ranks.all_gather(own_hypotheses)
        return hypotheses

    def estimate_seconds(self, translate: Translate, decoding_steps: int) -> float:
        """Estimate the duration of a validation with a trained model.

        An untrained model does not end its sentences. So `translate` must stop after
        `decoding_steps` steps; its time is scaled to the mean length of the references.
        """
        start = time.perf_counter()
        self.compute_losses()
        loss_end = time.perf_counter()
        self.translate(translate)
        decoding_seconds = time.perf_counter() - loss_end
        return loss_end - start + decoding_seconds * self.text.mean_tgt_length / decoding_steps

    def _write_translations(self, hypotheses: Sequence[str], step: int) -> None:
        """Write one line per validation pair, which is blank for a pair that is too long."""
        lines = [""] * self.text.num_pairs
        for row, hypothesis in zip(self.text.rows.tolist(), hypotheses, strict=True):
            lines[row] = hypothesis
        files.write_text(self.run.validation_output(step), "".join(f"{line}\n" for line in lines))


class SummedLoss(NamedTuple):
    """Cross entropy in nats, summed over target tokens."""

    total: float
    tokens: int


def mean_loss(losses: Sequence[SummedLoss]) -> float:
    """Return the mean cross entropy per token of several sets."""
    return sum(loss.total for loss in losses) / sum(loss.tokens for loss in losses)


def perplexity(loss: float) -> float:
    """Return the exponential of a cross entropy, limited to e^100."""
    return math.exp(min(loss, 100.0))


def sum_loss(
    module: ModelWithLoss, batches: Sequence[MicroBatch], precision: Precision, signals: Signals
) -> SummedLoss:
    """Return the cross entropy of the target tokens, without label smoothing and dropout.

    Each rank computes a share of the batches; all ranks must call this together. Raises
    StopTraining if a rank receives a signal.
    """

    def sum_own_losses() -> torch.Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for batch in signals.ranks.shard(batches):
            signals.check()
            with precision.autocast():
                total += module(batch.to(precision.device)).translation.cpu().double()
        return total

    with evaluation_mode(module):
        total = signals.ranks.all_reduce_sum(signals.run_on_all_ranks(sum_own_losses))
    return SummedLoss(float(total), sum(batch.tgt_tokens for batch in batches))


def format_samples(src: Sequence[str], references: Sequence[str], hypotheses: Sequence[str]) -> str:
    """Return a few sources, references and hypotheses, evenly spread over the lines."""
    interval = max(1, len(src) // NUM_SAMPLES)
    indices = [i for i in range(interval // 2, len(src), interval) if src[i].strip()][:NUM_SAMPLES]
    return "\n".join(
        f"  source      {src[i]}\n  reference   {references[i]}\n  hypothesis  {hypotheses[i]}"
        for i in indices
    )
