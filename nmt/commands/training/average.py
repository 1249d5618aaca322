"""`nmt average`: average the weights of checkpoints into a new model."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from nmt.core import files
from nmt.core.run_dir import RunDir, open_model, open_run
from nmt.errors import ConfigError
from nmt.training.checkpoints.averaging import (
    best_checkpoints,
    newest_checkpoints,
    write_average,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class AverageOptions:
    """Options of `nmt average`."""

    models: list[Path]
    """Checkpoint folders, or run folders for their best checkpoint."""
    output: Path
    """Run folder to write."""
    last: int | None = None
    """Number of newest checkpoints of a single run."""
    best: int | None = None
    """Number of best checkpoints of a single run."""


def run(options: AverageOptions) -> None:
    """Write the mean weights of the selected checkpoints to a new run folder.

    The folder has no finished.json, because nothing has validated the average. So commands that use
    the newest finished run by default do not use it.
    """
    if reason := files.unwritable_reason(options.output):
        raise ConfigError([f"-o: expected a writable folder, got {options.output}: {reason}"])
    steps = write_average(select_models(options), options.output)
    numbers = ", ".join(map(str, steps))
    logger.info(f"{options.output}: the mean of the weights after updates {numbers}")


def select_models(options: AverageOptions) -> list[RunDir]:
    """Return the checkpoints to average. Raises ConfigError if the options exclude each other."""
    if options.last is not None and options.best is not None:
        raise ConfigError(["--last and --best: expected one option, got both"])
    if options.last is None and options.best is None:
        return [open_model(path) for path in options.models]
    if len(options.models) != 1:
        raise ConfigError(
            [f"--last and --best: expected one run folder, got {len(options.models)}"]
        )
    run_dir = open_run(options.models[0])
    if options.last is not None:
        return newest_checkpoints(run_dir, options.last)
    assert options.best is not None
    return best_checkpoints(run_dir, options.best)
