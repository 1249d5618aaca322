"""Measure the detector of loss spikes: false alarms in healthy runs, planted batches that it finds.

    python benchmarks/spikes.py record CONFIG LOSSES.jsonl [--plant 40] [--set A.B=C ...]
    python benchmarks/spikes.py replay LOSSES.jsonl ...

`record` trains a config in a temporary run folder and writes the loss of every update. With
`--plant N` every N-th update from 300 on trains on a damaged batch, of each kind one after the
other. `replay` gives the recorded losses to the detector and prints one row of a table for each
file.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from nmt.commands.training import train as command
from nmt.data.batching.loader import MicroBatch, RankBatch
from nmt.training.monitoring.loss_monitor import MIN_HISTORY, LossMonitor, SpikeDetector
from nmt.training.monitoring.metrics import CompletedStep
from nmt.training.trainer import Trainer

FIRST_PLANTED = 300
"""Optimizer steps before the first damaged batch."""


def misaligned(batch: MicroBatch, vocabulary: int) -> MicroBatch:
    """Return the batch with the sources moved on by one row."""
    return replace(batch, src=batch.src.roll(1, 0), src_len=batch.src_len.roll(1, 0))


def shuffled(batch: MicroBatch, vocabulary: int) -> MicroBatch:
    """Return the batch with its target tokens in random order, over all rows."""
    return with_targets(batch, batch.targets[torch.randperm(len(batch.targets))])


def random_tokens(batch: MicroBatch, vocabulary: int) -> MicroBatch:
    """Return the batch with target tokens drawn uniformly from the vocabulary."""
    return with_targets(batch, torch.randint(4, vocabulary, batch.targets.shape))


KINDS = (misaligned, shuffled, random_tokens)


def with_targets(batch: MicroBatch, targets: torch.Tensor) -> MicroBatch:
    """Return the batch with other target tokens, as labels and as inputs of the decoder."""
    inputs = batch.tgt_in.flatten().clone()
    following = batch.positions[:-1] + 1
    inside = (batch.positions[1:] == following) & (following % batch.tgt_in.shape[1] > 0)
    inputs[following[inside]] = targets[:-1][inside]
    return replace(batch, targets=targets, tgt_in=inputs.view_as(batch.tgt_in))


def record(config: Path, output: Path, plant: int, overrides: list[str]) -> None:
    """Train a config and write one JSON object for each update."""
    planted: dict[int, str] = {}
    train_step_before, check_before = Trainer.train_step, LossMonitor.check
    stream = output.open("w")

    def train_step(trainer: Trainer, batch: RankBatch) -> Any:
        number = trainer.state.step + 1
        if plant and number >= FIRST_PLANTED and number % plant == 0:
            damage = KINDS[number // plant % len(KINDS)]
            planted[number] = damage.__name__
            size = trainer.tokenizers.tgt.vocab_size
            parts = [damage(part, size) for part in batch.micro_batches]
            batch = replace(batch, micro_batches=parts)
        return train_step_before(trainer, batch)

    def check(monitor: LossMonitor, steps: Sequence[CompletedStep]) -> bool:
        for done in steps:
            row = {
                "update": done.step,
                "loss": done.loss,
                "norm": done.gradient_norm,
                "tokens": done.tgt_tokens,
                "rows": len(done.batch.rows),
                "src_length": done.batch.src_length,
                "tgt_length": done.batch.tgt_length,
                "warmup": monitor.spike_detector.warmup,
                "planted": planted.get(done.step),
            }
            stream.write(json.dumps(row) + "\n")
        stream.flush()
        return check_before(monitor, steps)

    Trainer.train_step, LossMonitor.check = train_step, check  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as folder:
        command.run(command.TrainOptions(config, Path(folder) / "run", overrides, device="cpu"))


def read(file: Path) -> Iterator[tuple[CompletedStep, str | None, int]]:
    """Yield the recorded steps, the damage planted in each, and the warm-up of the run."""
    for line in file.read_text().splitlines():
        row = json.loads(line)
        done = CompletedStep(row["update"], None, None, row["tokens"], row["loss"], row["norm"])  # type: ignore[arg-type]
        yield done, row["planted"], row["warmup"] or 0


def replay(file: Path) -> str:
    """Return one row of the table: healthy steps, false alarms, planted batches found."""
    steps = list(read(file))
    detector = SpikeDetector(steps[0][2])
    spikes = {done.step for done in detector.find_spikes(done for done, _, _ in steps)}
    first = steps[0][2] + MIN_HISTORY
    planted = {done.step: kind for done, kind, _ in steps if kind and done.step > first}
    counts = [Counter(planted.values()), Counter(planted[n] for n in spikes if n in planted)]
    cells = [f"{counts[1][damage.__name__]} of {counts[0][damage.__name__]}" for damage in KINDS]
    alarms = len(spikes - planted.keys())
    healthy = f"{len(steps) - len(planted):,}"
    return (
        f"| {file.stem} | {healthy} | {alarms} | " + " | ".join(cells if planted else "---") + " |"
    )


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    recording = commands.add_parser("record")
    recording.add_argument("config", type=Path)
    recording.add_argument("output", type=Path)
    recording.add_argument("--plant", type=int, default=0)
    recording.add_argument("--set", dest="overrides", action="append", default=[])
    replaying = commands.add_parser("replay")
    replaying.add_argument("files", type=Path, nargs="+")
    args = parser.parse_args()
    if args.command == "record":
        record(args.config, args.output, args.plant, args.overrides)
        return
    names = " | ".join(damage.__name__.replace("_", " ") for damage in KINDS)
    print(f"| run | healthy steps | false alarms | {names} |\n|---|---|---|---|---|---|")
    for file in args.files:
        print(replay(file))


if __name__ == "__main__":
    main()
