"""Measure what each hand-written kernel gains of a whole training update.

    [scripts/with-avx2] python benchmarks/kernels.py RUN NAME [--set cell=lstm ...]
        [--precision fp32] [--batches 6] [--rounds 5]

The run folder RUN provides config, tokenizers and corpus; `--set` changes settings of the model.
NAME is the label of the setting. One model trains on the same batches with all kernels, without
one of them, and with the plain equations only (reference), in one process with one thread. The
arms alternate after every update, in another order in each round. Processor time counts, and of
each batch the fastest round, because other work on the machine disturbs these least.

Prints one row of Markdown for each arm that differs from the first: the time of an update with all
kernels, and how much more time the arm takes, which is the gain of the kernel. The two figures in
brackets are those of the even and the odd rounds alone.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

from nmt.device.cpu_cores import TORCH_VARIABLES

os.environ |= {**TORCH_VARIABLES, **os.environ}  # as the command line does, before torch is loaded

import torch

from nmt.config.loader import load_config
from nmt.config.schema import Config
from nmt.core.run_dir import RunDir
from nmt.data.batching.epochs import build_epoch_planner
from nmt.data.batching.loader import MicroBatch, build_micro_batch
from nmt.data.corpus.corpus import Corpus
from nmt.data.tokenizer.storage import load_tokenizers
from nmt.device.precision import Precision
from nmt.device.threads import prepare_cpu
from nmt.models.build import build_model
from nmt.models.kernels import selection
from nmt.models.kernels.selection import CPU_KERNELS, REFERENCE, Kernels
from nmt.training.optimization.loss import ModelWithLoss
from nmt.training.optimization.optimizer import build_optimizer

CPU = torch.device("cpu")


class Trainer:
    """A model, its optimizer, and updates of both."""

    def __init__(self, config: Config, vocab_size: int, pad: int, precision: str) -> None:
        torch.manual_seed(1)
        model = build_model(config.model, vocab_size, vocab_size, pad)
        self.step = ModelWithLoss(model, config.train).train()
        self.precision = Precision(precision, CPU)
        self.optimizer = build_optimizer(model, config.train, CPU)
        self.clip_norm = config.train.clip_norm

    def update(self, batch: MicroBatch) -> float:
        """Make an update; return its processor time in seconds."""
        begin = time.process_time()
        self.optimizer.zero_grad(set_to_none=True)
        with self.precision.autocast():
            loss = self.step.total(self.step(batch)) / batch.tgt_tokens
        self.precision.backward(loss)
        self.precision.step(self.optimizer, self.clip_norm)
        return time.process_time() - begin


def arms(batch: MicroBatch, trainer: Trainer) -> dict[str, Kernels]:
    """Return the kernels of each arm by its name: all, all but one that runs, and none."""
    used: set[str] = set()

    def recorded(name: str, kernel: Callable[..., object]) -> Callable[..., object]:
        def run(*arguments: object, **options: object) -> object:
            used.add(name)
            return kernel(*arguments, **options)

        return run

    kernels = CPU_KERNELS
    select(Kernels(**{name: recorded(name, k) for name, k in kernels._asdict().items()}))
    trainer.update(batch)
    without = {
        f"without {name}": kernels._replace(**{name: getattr(REFERENCE, name)})
        for name in Kernels._fields
        if name in used
    }
    return {"all kernels": kernels, **without, "reference": REFERENCE}


def select(kernels: Kernels) -> None:
    """Use these kernels on CPUs."""
    selection.CPU_KERNELS = kernels  # type: ignore[misc]
    selection.select_kernels.cache_clear()


def load_batches(run: RunDir, config: Config, count: int) -> tuple[list[MicroBatch], int]:
    """Return the first batches of the first epoch, and the size of the target vocabulary."""
    tokenizers, corpus = load_tokenizers(run), Corpus.load(run.corpus / "train")
    window = build_epoch_planner(config, corpus, tokenizers).plan_window(0, 0)
    batches = [build_micro_batch(window.pairs, b, tokenizers) for b in window.batches[:count]]
    return batches, tokenizers.tgt.vocab_size


def main() -> None:
    """Measure all arms in one setting; print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("name")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--batches", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    prepare_cpu(1)
    run = RunDir(arguments.run)
    overrides = [f"model.{setting}" for setting in arguments.set]
    config = load_config(arguments.run, overrides)
    batches, vocab_size = load_batches(run, config, arguments.batches)
    trainer = Trainer(config, vocab_size, load_tokenizers(run).tgt.pad, arguments.precision)
    kernels = arms(batches[0], trainer)
    for choice in kernels.values():  # allocate memory and compile products
        select(choice)
        for batch in batches:
            trainer.update(batch)
    names = list(kernels)
    rounds: list[list[dict[str, float]]] = []
    for number in range(arguments.rounds):
        shift = number // 2 % len(names)
        order = names[shift:] + names[:shift]
        rounds.append([])
        for batch in batches:
            rounds[-1].append({})
            for name in order[::-1] if number % 2 else order:
                select(kernels[name])
                rounds[-1][-1][name] = trainer.update(batch)

    def seconds(name: str, chosen: list[list[dict[str, float]]]) -> float:
        return sum(min(times[name] for times in of_batch) for of_batch in zip(*chosen, strict=True))

    parts = [rounds, rounds[::2], rounds[1::2]]
    milliseconds = 1000 * seconds(names[0], rounds) / len(batches)
    for name in names[1:]:
        gain, *halves = (seconds(name, part) / seconds(names[0], part) - 1 for part in parts)
        print(
            f"| {arguments.name} | {arguments.precision} | {milliseconds:.0f} | {name} "
            f"| {gain:+.1%} ({halves[0]:+.1%}, {halves[1]:+.1%}) |",
            flush=True,
        )


if __name__ == "__main__":
    main()
