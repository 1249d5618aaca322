"""Send the records of a run to TensorBoard and Weights & Biases.

Both receive the numbers of every record with its optimizer step, under names such as `valid/bleu`.
Their libraries write to the run folder directly, not through nmt/core/files.py.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from importlib.util import find_spec
from typing import Any

from nmt.config.schema import Config
from nmt.core import files
from nmt.core.run_dir import RunDir
from nmt.errors import ConfigError
from nmt.training.monitoring.run_log import MetricsRecord, RecordSink


def check_installed(names: Sequence[str]) -> None:
    """Raise ConfigError if the package of a tracker is not installed."""
    problems = [
        f"train.log_to: {name} is not installed: pip install 'nmt[logging]'"
        for name in names
        if find_spec(name) is None
    ]
    if problems:
        raise ConfigError(problems)


@contextmanager
def open_loggers(
    names: Sequence[str], run: RunDir, config: Config, step: int
) -> Iterator[list[RecordSink]]:
    """Open the named trackers, to continue after `step`; close them after the block."""
    with ExitStack() as stack:
        opened = (LOGGERS[name](run, config, step) for name in dict.fromkeys(names))
        yield [stack.enter_context(logger) for logger in opened]


def _numbers(record: MetricsRecord) -> dict[str, float]:
    """Return the numbers of a record by `kind/name`, except its optimizer step."""
    return {
        f"{record['kind']}/{name}": value
        for name, value in record.items()
        if name != "update" and isinstance(value, int | float)
    }


@contextmanager
def _tensorboard(run: RunDir, config: Config, step: int) -> Iterator[RecordSink]:
    """Write event files; TensorBoard drops the events of earlier files after step `step`."""
    from torch.utils.tensorboard import SummaryWriter

    writer: Any = SummaryWriter(str(run.tensorboard), purge_step=step + 1)

    def log(record: MetricsRecord) -> None:
        for name, value in _numbers(record).items():
            writer.add_scalar(name, value, record["update"])
        writer.flush()

    try:
        yield log
    finally:
        writer.close()


@contextmanager
def _wandb(run: RunDir, config: Config, step: int) -> Iterator[RecordSink]:
    """Log to the same W&B run when ours is resumed; W&B ignores steps that it has already."""
    import wandb

    id_file = run.wandb / "run-id.txt"
    if not id_file.is_file():
        files.write_text(id_file, secrets.token_hex(4) + "\n")
    try:
        session = wandb.init(
            id=id_file.read_text().strip(),
            resume="allow",
            name=run.path.resolve().name,
            dir=run.path,
            config=config.model_dump(mode="json"),
            settings=wandb.Settings(
                console="off",
                save_code=False,
                x_disable_machine_info=True,
                x_save_requirements=False,
            ),
        )
    except (wandb.Error, ValueError) as error:  # not logged in, or a wrong WANDB_ variable
        raise ConfigError([f"train.log_to: wandb: {error}"]) from None
    with session:
        yield lambda record: session.log(_numbers(record), step=record["update"])


LOGGERS: dict[str, Callable[[RunDir, Config, int], AbstractContextManager[RecordSink]]] = {
    "tensorboard": _tensorboard,
    "wandb": _wandb,
}
