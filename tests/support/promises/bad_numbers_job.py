"""A job of two workers: one has a loss of inf, and then it is signalled in a validation.

usage: python -m tests.support.promises.bad_numbers_job FOLDER PARALLEL; writes FOLDER/RANK.json
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch

from nmt.core.distributed.process_group import connect_processes
from nmt.training.checkpoints.train_state import TrainState
from nmt.training.trainer import Trainer
from tests.support.promises.bad_numbers import poison
from tests.support.promises.mutants.catalogue import MUTANT_VARIABLE, MUTANTS
from tests.support.training.distributed_job import make_trainer, squares
from tests.support.training.tiny_trainer import batches_of

BAD = 3
PATIENCE = 15.0
"""Seconds after which a validation that nobody leaves would end."""


def follow(trainer: Trainer) -> dict[str, Any]:
    """Take a few updates, of which one is bad on the second worker; return weights after each."""
    if trainer.ranks.rank == 1:
        poison(trainer, "loss inf", lambda number: number == BAD)
    weights, norms = [], []
    for batch in batches_of(trainer)[:5]:
        _, norm = trainer.train_step(trainer.micro_batcher.build(trainer.corpus, batch))
        trainer.state.step += 1
        norms.append(float(norm))
        weights.append(squares([weight.detach() for weight in trainer.model.parameters()]))
    return {"weights": weights, "norms": list(map(str, norms))}


def stopped_in_validation(trainer: Trainer) -> dict[str, Any]:
    """Begin a validation that is long for both workers, and let the second one be signalled."""

    to_the_end = []

    def share() -> None:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if trainer.ranks.rank == 1:
                os.kill(os.getpid(), signal.SIGUSR1)
            trainer.signals.check()
            time.sleep(0.01)
        to_the_end.append(True)

    def validate(state: TrainState) -> dict[str, float]:
        trainer.signals.run_on_all_ranks(share)
        raise AssertionError("it went on")

    trainer.set_config(trainer.config.with_values({"train.max_updates": trainer.state.step}))
    reason = trainer.train(validate)
    last = trainer.run.last.resolve().name
    record = {"reason": reason, "signal": trainer.signals.agreed, "last": last}
    return record | {"left": not to_the_end}


def main() -> None:
    """Do both."""
    folder, parallel = Path(sys.argv[1]), sys.argv[2]
    with connect_processes() as workers:
        trainer = make_trainer(folder, "luong", parallel, workers)
        record = follow(trainer)
        record |= stopped_in_validation(trainer)
        (folder / f"{workers.rank}.json").write_text(json.dumps(record))


if __name__ == "__main__":
    if name := os.environ.get(MUTANT_VARIABLE):
        MUTANTS[name].plant()
    torch.set_num_threads(1)
    main()
