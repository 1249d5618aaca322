"""`nmt average`: the mean of checkpoints' weights as a model of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nmt.core import files
from nmt.core.logging import say
from nmt.core.run_dir import open_model, open_run
from nmt.errors import ConfigError
from nmt.training.checkpoints.averaging import (
    best_checkpoints,
    newest_checkpoints,
    write_average,
)


def run(paths: Sequence[Path], last: int | None, best: int | None, output: Path) -> None:
    """Write the mean of the checkpoints named, or of the last or best of one run, to `output`.

    It holds no finished.json: nothing has validated it, so what takes the newest finished run
    does not take it unasked.
    """
    if reason := files.unwritable_reason(output):
        raise ConfigError([f"-o: expected a writable folder, got {output}: {reason}"])
    if last is not None and best is not None:
        raise ConfigError(["--last and --best: give one of them"])
    if (last or best) and len(paths) != 1:
        raise ConfigError([f"--last and --best: go with one run folder, {len(paths)} are given"])
    if last:
        models = newest_checkpoints(open_run(paths[0]), last)
    elif best:
        models = best_checkpoints(open_run(paths[0]), best)
    else:
        models = [open_model(path) for path in paths]
    updates = write_average(models, output)
    numbers = ", ".join(map(str, updates))
    say(f"{output}: the mean of the weights after updates {numbers}")
