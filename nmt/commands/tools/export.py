"""`nmt export`: export a trained model to another engine and compare both engines."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from nmt.config.loader import load_config
from nmt.config.model_config import ExportEngine
from nmt.core import files
from nmt.core.ownership import require_inside
from nmt.decoding.loading import choose_run
from nmt.errors import ConfigError
from nmt.evaluation.metrics import corpus_bleu
from nmt.export.engines import ENGINE_NAMES
from nmt.export.exporter import ExportComparison, export_run, normalization_note

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExportOptions:
    """Options of `nmt export`."""

    run: Path | None
    """Run folder; None for the newest finished run."""
    engine: ExportEngine
    quantization: str | None
    output: Path | None
    """Folder to write; None for the engine's folder in the run folder."""
    overrides: list[str]


def run(options: ExportOptions) -> None:
    """Export the model of a run and print the comparison of both engines."""
    run_dir = choose_run(options.run)
    if run_dir.explicit_checkpoint is not None and options.output is None:
        raise ConfigError([f"-o: expected a folder for {run_dir.explicit_checkpoint}, got none"])
    config = load_config(run_dir.config, options.overrides)
    output = options.output
    if output is None:
        output = run_dir.export_folder(options.engine)
        require_inside(run_dir, output)
    if reason := files.unwritable_reason(output):
        raise ConfigError([f"-o: expected a writable folder, got {output}: {reason}"])
    comparison = export_run(run_dir, config, options.engine, options.quantization, output)
    logger.info(f"{ENGINE_NAMES[options.engine]} model: {output}")
    if note := normalization_note(output, options.engine):
        logger.info(note)
    if comparison is None:
        logger.warning(f"{run_dir.path} holds no validation text, so nothing was compared")
    else:
        _print_comparison(comparison, config.data.tgt)


def _print_comparison(comparison: ExportComparison, tgt_lang: str) -> None:
    ours = corpus_bleu(comparison.ours, comparison.references, tgt_lang)
    theirs = corpus_bleu(comparison.theirs, comparison.references, tgt_lang)
    print(comparison.in_words())
    print(f"BLEU: {theirs:.2f} against {ours:.2f} ({theirs - ours:+.2f})")
