"""`nmt import`: import a model of another toolkit into a run folder."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from nmt.core import files
from nmt.data.text.reader import read_lines
from nmt.errors import ConfigError
from nmt.importing.comparison import LINES
from nmt.importing.importer import import_model

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImportOptions:
    """Options of `nmt import`."""

    source: Path
    """Folder or checkpoint of the model."""
    output: Path
    """Run folder to write."""
    check: Path | None
    """File with source lines for the comparison."""
    overrides: list[str]


def run(options: ImportOptions) -> None:
    """Write the run folder and print the comparison with the original model."""
    if reason := files.unwritable_reason(options.output):
        raise ConfigError([f"-o: expected a writable folder, got {options.output}: {reason}"])
    lines = LINES if options.check is None else list(read_lines(options.check))
    comparison = import_model(options.source, options.output, options.overrides, lines)
    logger.info(f"{options.output}: imported from {options.source}")
    if comparison is not None:
        print(comparison.in_words())
