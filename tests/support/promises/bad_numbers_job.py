"""A job of two ranks: one gets a loss of inf, and later a signal during a validation.

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

from nmt.core.distributed.process_group import connect_processes
from nmt.training.checkpoints.train_state import TrainState
from nmt.training.trainer import Trainer
from tests.support.forked_ranks import run_ranks
from tests.support.promises.bad_numbers import insert_bad_number
from tests.support.promises.mutants.catalogue import MUTANT_VARIABLE, MUTANTS
from tests.support.training.distributed_job import make_trainer, squares
from tests.support.training.tiny_trainer import batches_of

BAD = 3
PATIENCE = 15.0
"""Seconds after which an uninterrupted validation ends."""


def train_steps(trainer: Trainer) -> dict[str, Any]:
    """Train a few steps, one with a bad loss on rank 1; return the weights after each step."""
    if trainer.ranks.rank == 1:
        insert_bad_number(trainer, "loss inf", lambda number: number == BAD)
    weights, norms = [], []
    for batch in batches_of(trainer)[:5]:
        _, norm = trainer.train_step(trainer.micro_batcher.build(trainer.corpus, batch))
        trainer.state.step += 1
        norms.append(float(norm))
        weights.append(squares([weight.detach() for weight in trainer.model.parameters()]))
    return {"weights": weights, "norms": list(map(str, norms))}


def interrupt_validation(trainer: Trainer) -> dict[str, Any]:
    """Start a long validation on both ranks, and send a signal to rank 1."""

    finished = []

    def validate_part() -> None:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if trainer.ranks.rank == 1:
                os.kill(os.getpid(), signal.SIGUSR1)
            trainer.signals.check()
            time.sleep(0.01)
        finished.append(True)

    def validate(state: TrainState) -> dict[str, float]:
        trainer.signals.run_on_all_ranks(validate_part)
        raise AssertionError("the validation continued after the signal")

    trainer.set_config(trainer.config.with_values({"train.max_updates": trainer.state.step}))
    reason = trainer.train(validate)
    last = trainer.run.last.resolve().name
    record = {"reason": reason, "signal": trainer.signals.agreed, "last": last}
    return record | {"ended_early": not finished}


def run_rank() -> None:
    """Run both tests in one rank and write its results."""
    folder, parallel = Path(sys.argv[1]), sys.argv[2]
    with connect_processes() as workers:
        trainer = make_trainer(folder, "luong", parallel, workers)
        record = train_steps(trainer)
        record |= interrupt_validation(trainer)
        (folder / f"{workers.rank}.json").write_text(json.dumps(record))


if __name__ == "__main__":
    if name := os.environ.get(MUTANT_VARIABLE):
        MUTANTS[name].install()
    run_ranks(2, run_rank)
