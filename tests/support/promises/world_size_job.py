"""Train runs in phases with different numbers of ranks; each phase continues the previous one.

usage: python -m tests.support.promises.world_size_job FOLDER MODEL SIZE:UPDATES,...
For example, 1:40 4:23,2:40 are two runs.

The models use float64 and no dropout. FOLDER/RUN/steps.json receives the pairs and the loss of each
update.
"""

from __future__ import annotations

import json
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

from nmt.core.distributed.process_group import connect_processes
from nmt.data.batching.loader import RankBatch
from nmt.training.trainer import Trainer
from tests.support.forked_ranks import run_ranks
from tests.support.promises.mutants.catalogue import MUTANT_VARIABLE, MUTANTS
from tests.support.training.distributed_job import make_trainer, rows_of


def record_steps(trainer: Trainer, updates: int) -> list[dict[str, Any]]:
    """Train for a number of steps; return the pairs and the loss of each."""
    records = []
    workers, train_step = trainer.ranks, trainer.train_step

    def record_step(update: RankBatch) -> Any:
        result = train_step(update)
        loss = workers.all_reduce_sum(result[0].translation.clone()) / update.tgt_tokens
        pairs = sorted(workers.all_gather(rows_of(update)))
        records.append({"pairs": pairs, "loss": float(loss), "epoch": trainer.state.epoch})
        return result

    trainer.train_step = record_step  # type: ignore[method-assign]
    trainer.set_config(trainer.config.with_values({"train.max_updates": updates}))
    trainer.train(lambda state: {"bleu": 0.0})
    return records


def run_rank(folder: Path, model: str, updates: int) -> None:
    """Run one rank of a phase."""
    with connect_processes() as workers:
        trainer = make_trainer(folder, model, "ddp", workers)
        if trainer.run.last.exists():
            trainer.resume()
        steps = record_steps(trainer, updates)
        if workers.is_main:
            file = folder / "steps.json"
            before = json.loads(file.read_text()) if file.exists() else []
            file.write_text(json.dumps(before + steps))


def main() -> None:
    folder, model, *runs = sys.argv[1:]
    if name := os.environ.get(MUTANT_VARIABLE):
        MUTANTS[name].install()
    for run in runs:
        train_in_phases(Path(folder) / run, model, run.split(","))


def train_in_phases(folder: Path, model: str, phases: list[str]) -> None:
    """Train one run in phases SIZE:UPDATES, each with SIZE ranks until step UPDATES."""
    folder.mkdir()
    for phase in phases:
        size, updates = map(int, phase.split(":"))
        run_ranks(size, partial(run_rank, folder, model, updates))


if __name__ == "__main__":
    main()
