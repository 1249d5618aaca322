"""`nmt export`: a trained model in another engine's format, compared with ours."""

from __future__ import annotations

from pathlib import Path

from nmt.config.loader import load_config
from nmt.config.model_config import ExportEngine
from nmt.core import files
from nmt.core.logging import say
from nmt.core.ownership import require_inside
from nmt.decoding.loading import choose_run
from nmt.errors import ConfigError
from nmt.evaluation.metrics import corpus_bleu
from nmt.export.engines import ENGINE_NAMES
from nmt.export.exporter import export_run, normalization_note


def run(
    folder: Path | None,
    to: ExportEngine,
    quantization: str | None,
    output: Path | None,
    overrides: list[str],
) -> None:
    """Export a run into `output`, else into its own folder."""
    run_dir = choose_run(folder)
    if run_dir.chosen is not None and output is None:
        raise ConfigError([f"-o: expected a folder for {run_dir.chosen}, got none"])
    config = load_config(run_dir.config, overrides)
    if output is None:
        output = run_dir.exported(to)
        require_inside(run_dir, output)
    if reason := files.unwritable(output):
        raise ConfigError([f"-o: expected a writable folder, got {output}: {reason}"])
    found = export_run(run_dir, config, to, quantization, output)
    say(f"{ENGINE_NAMES[to]} model: {output}")
    if note := normalization_note(output, to):
        say(note)
    if found is None:
        say(f"warning: {run_dir.path} holds no validation text, so nothing was compared")
    else:
        ours, theirs = (
            corpus_bleu(side, found.references, config.data.tgt)
            for side in (found.ours, found.theirs)
        )
        print(found.in_words())
        print(f"BLEU: {theirs:.2f} against {ours:.2f} ({theirs - ours:+.2f})")
