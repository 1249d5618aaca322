"""Trainers that save checkpoints, faults during a save, and the resumption of a run."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import torch

from nmt.core import files
from nmt.core.distributed.process_group import ProcessGroup
from nmt.core.run_dir import RunDir
from nmt.data.corpus.corpus import Corpus
from nmt.data.tokenizer.tokenizer import Tokenizers
from nmt.device.precision import Precision
from nmt.device.seeding import seed_everything
from nmt.models.build import build_model
from nmt.training.checkpoints.resume import newest_intact_checkpoint
from nmt.training.checkpoints.train_state import TrainState
from nmt.training.monitoring.run_log import RunLog
from nmt.training.trainer import Trainer
from tests.support.data.memory_chunks import corpus_from_pairs
from tests.support.disk_faults import disk_hook, install_disk_hook
from tests.support.training.tiny_trainer import batches_of, make_config, make_pairs, make_tokenizers

CHANGES = ("write", "mkdir", "symlink")
"""Operations that need disk space."""
DELETES = ("unlink", "rmdir")


class Killed(BaseException):
    """Simulates the end of the process: no disk operation follows it."""


@cache
def _parts() -> tuple[Tokenizers, Corpus]:
    pairs = make_pairs()[:12]
    tokenizers = make_tokenizers(pairs)
    folder = Path(tempfile.mkdtemp(prefix="nmt-promises-"))
    return tokenizers, corpus_from_pairs(pairs, tokenizers, folder / "corpus")


def make_saving_trainer(folder: Path, **values: Any) -> Trainer:
    """Return a trainer that saves into `folder`, with the same first weights each time."""
    tokenizers, corpus = _parts()
    config = make_config(**values)
    run = RunDir(folder)
    run.path.mkdir(parents=True, exist_ok=True)
    seed_everything(1)
    size = tokenizers.tgt.vocab_size
    model = build_model(config.model, size, size, tokenizers.tgt.pad)
    log, cpu = RunLog(run.log, run.metrics, mute=True), torch.device("cpu")
    kind = Precision("fp32", cpu)
    return Trainer(config, run, log, model, corpus, tokenizers, kind, ProcessGroup())


def advance(trainer: Trainer) -> None:
    """Train one step."""
    trainer.train_step(trainer.micro_batcher.build(trainer.corpus, batches_of(trainer)[0]))
    trainer.state.step += 1


def validate(trainer: Trainer, score: float) -> None:
    """Validate with this result, and save as training does."""
    trainer.validate(lambda state: {"bleu": score})


def checkpoint_bytes(trainer: Trainer) -> bytes:
    """Return the content of a checkpoint as bytes, without durations."""
    state = TrainState(**{**vars(trainer.state), "seconds": 0.0})
    moments = [
        value.numpy().tobytes()
        for weight in trainer.model.parameters()
        for _, value in sorted(trainer.optimizer.state[weight].items())
    ]
    weights = [weight.detach().numpy().tobytes() for weight in trainer.model.parameters()]
    return b"".join([repr(state).encode(), *weights, *moments])


def resume_run(run: RunDir, trainer: Trainer, messages: list[str] | None = None) -> int | None:
    """Resume a run like `nmt train --resume`; return its step, or None without a checkpoint."""
    files.recover_interrupted_writes(run.path)
    trainer.run = trainer.checkpointer.run = run
    if newest_intact_checkpoint(run, (messages if messages is not None else []).append) is None:
        return None
    trainer.resume()
    return trainer.state.step


def temporary_files(run: RunDir) -> list[Path]:
    """Return temporary and set-aside files."""
    return list(run.path.rglob(".*"))


def fault_points(act: Callable[[], object]) -> list[str]:
    """Run `act`; return the points at which a fault can occur."""
    events: list[str] = []
    with disk_hook(events.append):
        act()
    return events


def fault_hook(point: int, fault: Callable[[], None]) -> Callable[[str], None]:
    """Return a hook that fails at this operation, counted from 0, and at all later ones."""
    numbers = count()

    def hook(name: str) -> None:
        if next(numbers) >= point:
            fault()

    return hook


def raise_killed() -> None:
    """Raise the exception that simulates a killed process."""
    raise Killed


def is_killed_at(point: int, act: Callable[[], object]) -> bool:
    """Run `act` in a child process that is killed at `point`; return whether it was killed."""
    child = os.fork()
    if child == 0:
        install_disk_hook(fault_hook(point, lambda: os.kill(os.getpid(), signal.SIGKILL)))
        try:
            act()
        except BaseException:
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) in (0, -signal.SIGKILL)
    return os.WIFSIGNALED(status)
