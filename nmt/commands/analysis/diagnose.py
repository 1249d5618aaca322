"""`nmt evaluate --diagnose`: measure what limits trained models."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from nmt.config.loader import load_config
from nmt.config.schema import Config
from nmt.core import files
from nmt.core.console import format_duration, print_result, show_progress
from nmt.core.outputs import check_outputs
from nmt.core.rendering.tables import align_columns
from nmt.core.run_dir import RunDir, open_model
from nmt.data.corpus.corpus import Corpus
from nmt.decoding.loading import choose_run, load_translator
from nmt.errors import ConfigError, DataError
from nmt.evaluation.diagnosis.data_curve import (
    MIN_POINTS,
    DataCurve,
    DataPoint,
    fit_data_curve,
)
from nmt.evaluation.diagnosis.measurements import (
    LossGap,
    SearchResult,
    TaggedPairs,
    mean_loss,
    sample_pairs,
    search_grid,
    translate_samples,
)
from nmt.evaluation.metrics import Metrics, corpus_scores, line_statistics, make_metrics
from nmt.evaluation.significance import bootstrap_scores
from nmt.runs.learning_curves import read_curves

logger = logging.getLogger(__name__)

METRIC = "bleu"


@dataclass(frozen=True)
class DiagnoseOptions:
    """Options of `nmt evaluate --diagnose`."""

    runs: list[Path]
    """Run folders; empty for the newest run."""
    output: Path | None
    """File for the figures as JSON."""
    overrides: list[str]
    device: str
    unused: list[str] = field(default_factory=list)
    """Given flags of `nmt evaluate` that have no effect here."""


@dataclass(frozen=True)
class OpenedRun:
    """A run with its text."""

    name: str
    run: RunDir
    config: Config
    train_pairs: int
    train: list[TaggedPairs]
    valid: list[TaggedPairs]

    @property
    def references(self) -> list[str]:
        """The target side of the validation text."""
        return [tgt for _, pairs in self.valid for _, tgt in pairs]


def run(options: DiagnoseOptions) -> None:
    """Print the loss on training and validation text, and the effect of search or of more text.

    One run is translated with several search settings. Several runs, trained on different amounts
    of text, form a learning curve.
    """
    if options.unused:
        raise ConfigError([f"{flag}: has no effect with --diagnose" for flag in options.unused])
    check_outputs({"--output": options.output}, [])
    paths = options.runs or [choose_run(None).path]
    opened = [_open_run(path, options.overrides) for path in paths]
    if len(opened) > 1:
        _check_curve(opened)
    gaps = {run.name: _measure_loss(run, options.device) for run in opened}
    print_result(_format_gaps(gaps))
    figures: dict[str, Any] = {"losses": {name: asdict(gap) for name, gap in gaps.items()}}
    if len(opened) == 1:
        results = _measure_search(opened[0], options.device)
        print_result(_format_search(results))
        figures["search"] = [asdict(result) for result in results]
    else:
        points = [_measure_point(run, options.device) for run in opened]
        curve = fit_data_curve(points)
        print_result(_format_curve(points, curve))
        figures["runs"] = {
            point.name: {"pairs": point.pairs, "bleu": point.bleu} for point in points
        }
        figures["curve"] = asdict(curve)
    if options.output is not None:
        files.write_text(options.output, json.dumps(figures, indent=2) + "\n")
        logger.info(f"figures: {options.output}")


def _open_run(path: Path, overrides: Sequence[str]) -> OpenedRun:
    """Open a run. Raises ConfigError for a file, and RunError without prepared text."""
    if path.exists() and not path.is_dir():
        raise ConfigError([f"{path}: expected a run folder with --diagnose, got a file"])
    run_dir = open_model(path)
    train, valid = (Corpus.load(run_dir.corpus / name) for name in ("train", "valid"))
    return OpenedRun(
        name=path.name or str(path),
        run=run_dir,
        config=load_config(run_dir.config, list(overrides)),
        train_pairs=len(train),
        train=sample_pairs(train),
        valid=sample_pairs(valid),
    )


def _check_curve(runs: Sequence[OpenedRun]) -> None:
    """Check that the runs differ in their training text and share their validation text."""
    if len({run.train_pairs for run in runs}) < max(MIN_POINTS, len(runs)):
        pairs = ", ".join(f"{run.train_pairs:,}" for run in runs)
        raise ConfigError(
            [
                f"--diagnose: expected one run, or at least {MIN_POINTS} runs with different "
                f"numbers of training pairs, got {len(runs)} with {pairs}"
            ]
        )
    for run in runs[1:]:
        if run.references != runs[0].references:
            raise DataError(
                f"{run.run.path}: expected the validation text of {runs[0].run.path}, got another "
                "(data.valid)"
            )


def _measure_loss(run: OpenedRun, device: str) -> LossGap:
    """Return the loss of the selected checkpoint on training and validation text."""
    translator = load_translator(run.run, run.config, device)
    count = sum(len(pairs) for _, pairs in [*run.train, *run.valid])
    with show_progress(f"{run.name}: loss", count, always=True, unit="pairs") as advance:
        translator.progress = advance
        train, valid = (mean_loss(translator, samples) for samples in (run.train, run.valid))
    curve = [loss for loss in read_curves(run.run).valid.loss if loss is not None]
    rise = curve[-1] - min(curve) if curve else None
    return LossGap(train, valid, rise)


def _measure_search(run: OpenedRun, device: str) -> list[SearchResult]:
    """Translate the validation text with the settings of the config and with others."""
    decode = run.config.decode
    grid = list(search_grid(decode.beam_size, decode.length_penalty))
    metrics: Metrics = {**make_metrics(run.config.data.tgt, [METRIC])}
    results = []
    with show_progress(f"{run.name}: search settings", len(grid), always=True) as advance:
        for beam_size, length_penalty in grid:
            settings = {"beam_size": beam_size, "length_penalty": length_penalty}
            config = run.config.model_copy(update={"decode": decode.model_copy(update=settings)})
            translator = load_translator(run.run, config, device)
            begin = time.perf_counter()
            hypotheses = translate_samples(translator, run.valid)
            seconds = time.perf_counter() - begin
            [statistics] = line_statistics(metrics, [hypotheses], [run.references])
            scores = corpus_scores(metrics, statistics)
            results.append(
                SearchResult(beam_size, length_penalty, scores.bleu, scores.length_ratio, seconds)
            )
            advance(1)
    return results


def _measure_point(run: OpenedRun, device: str) -> DataPoint:
    """Translate the validation text of a run, and resample its lines."""
    metrics: Metrics = {**make_metrics(run.config.data.tgt, [METRIC])}
    translator = load_translator(run.run, run.config, device)
    with show_progress(f"{run.name} translates", len(run.references), always=True) as advance:
        translator.progress = advance
        hypotheses = translate_samples(translator, run.valid)
    [statistics] = line_statistics(metrics, [hypotheses], [run.references])
    [resampled] = bootstrap_scores(metrics, [statistics])
    bleu = corpus_scores(metrics, statistics).bleu
    return DataPoint(run.name, run.train_pairs, bleu, resampled[METRIC])


def _format_gaps(gaps: dict[str, LossGap]) -> str:
    rows: list[tuple[str, ...]] = [
        ("loss per token", "training", "validation", "gap", "perplexity")
    ]
    for name, gap in gaps.items():
        values = (gap.train, gap.valid, gap.valid - gap.train)
        rows.append((name, *(f"{value:.3f}" for value in values), f"{math.exp(gap.valid):.2f}"))
    hints = [f"{name}: {gap.hint}" for name, gap in gaps.items()]
    return "\n".join([*align_columns(rows, range(1, 5)), *hints]) + "\n"


def _format_search(results: Sequence[SearchResult]) -> str:
    """Return a table of the settings; the first is that of the config."""
    rows = [("beam size", "length penalty", "BLEU", "difference", "length ratio", "time")]
    for result in results:
        rows.append(
            (
                str(result.beam_size),
                f"{result.length_penalty:g}",
                f"{result.bleu:.2f}",
                f"{result.bleu - results[0].bleu:+.2f}",
                f"{result.length_ratio:.3f}",
                format_duration(result.seconds),
            )
        )
    return "\n".join(align_columns(rows, range(6)))


def _format_curve(points: Sequence[DataPoint], curve: DataCurve) -> str:
    rows: list[tuple[str, ...]] = [("training pairs", "BLEU", "95%", "")]
    rows += [(f"{point.pairs:,}", f"{point.bleu:.2f}", "", point.name) for point in points]
    for forecast in curve.forecasts:
        interval = f"{forecast.low:.2f} to {forecast.high:.2f}"
        rows.append((f"{forecast.pairs:,}", f"{forecast.bleu:.2f}", interval, "expected"))
    lines = align_columns(rows, range(3))
    lines.append(
        f"each doubling of the training text: {curve.gain:+.2f} BLEU ({curve.low:+.2f} to "
        f"{curve.high:+.2f}); the runs are at most {curve.largest_error:.2f} BLEU from the curve"
    )
    return "\n".join(lines)
