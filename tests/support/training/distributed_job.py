"""Train models in float64 without dropout on one or more ranks, and record each step.

usage: python -m tests.support.training.distributed_job FOLDER RUN ... [--compile]

RUN has phases SIZE:PARALLEL:STEPS,... with SIZE ranks until step STEPS; each continues the previous
one. For example, 1:ddp:20 2:fsdp:6,1:ddp:20 are two runs. FOLDER/RUN/results.json receives the
results of the last phase.
"""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch._dynamo  # before the fork; the optimizer of each rank would import it

from nmt.core.distributed.process_group import ProcessGroup, connect_processes
from nmt.core.run_dir import RunDir
from nmt.data.batching.loader import RankBatch
from nmt.data.corpus.corpus import Corpus
from nmt.device.precision import Precision
from nmt.device.seeding import seed_everything
from nmt.models.build import build_model
from nmt.training import compilation
from nmt.training.monitoring.run_log import RunLog
from nmt.training.optimization.data_parallel import full_tensor
from nmt.training.trainer import Trainer
from tests.support.data.memory_chunks import corpus_from_pairs
from tests.support.forked_ranks import run_ranks
from tests.support.training.tiny_trainer import batches_of, make_config, make_pairs, make_tokenizers

MODELS: dict[str, dict[str, Any]] = {
    "luong": {"attention": "luong", "num_layers": 2},
    "bahdanau": {"attention": "bahdanau", "score": "additive"},
    "transformer": {"arch": "transformer", "d_model": 8, "d_ff": 16, "num_heads": 2},
    "simcut": {"arch": "transformer", "d_model": 8, "d_ff": 16, "num_heads": 2},
}
SIMCUT = {"alpha": 2.0, "p": 1 - 1e-9}
"""All token embeddings of the second pass are zero, so that no random number counts."""


def make_trainer(
    folder: Path, name: str, parallel: str, ranks: ProcessGroup, compiles: bool = False
) -> Trainer:
    """Return a trainer of one model, with batches of two to nine pairs."""
    pairs = make_pairs()
    tokenizers = make_tokenizers(pairs)
    with ranks.main_first():
        if ranks.is_main and not (folder / "corpus").exists():
            corpus_from_pairs(pairs, tokenizers, folder / "corpus")
    settings: dict[str, Any] = {
        "batch_tokens": 48,
        "micro_batch_tokens": 24,
        "parallel": parallel,
        "lr": 1e-2,
    }
    if name == "simcut":
        settings["simcut"] = SIMCUT
    settings |= {"ema": 0.7, "compile": "on" if compiles else "off"}
    model = MODELS[name] | {"dropout": 0.0}
    values = {f"train__{key}": value for key, value in settings.items()}
    values |= {f"model__{key}": value for key, value in model.items()}
    config = make_config(**values)
    run = RunDir(folder / name)
    run.path.mkdir(exist_ok=True)
    seed_everything(1)
    size = tokenizers.tgt.vocab_size
    network = build_model(config.model, size, size, tokenizers.tgt.pad).double()
    log = RunLog(run.log, run.metrics, mute=True)
    precision = Precision("fp32", torch.device("cpu"))
    corpus = Corpus(folder / "corpus")
    return Trainer(config, run, log, network, corpus, tokenizers, precision, ranks)


def rows_of(batch: RankBatch) -> list[str]:
    """Return the pairs of this rank that count in the loss, in their order."""
    return [
        str(pair)
        for micro_batch in batch.micro_batches
        if micro_batch.tgt_tokens
        for pair in zip(micro_batch.src.tolist(), micro_batch.tgt_in.tolist(), strict=True)
    ]


def train_steps(trainer: Trainer, max_steps: int) -> dict[str, Any]:
    """Train until `max_steps`; return pairs, losses and gradient norms of each step."""
    results: dict[str, Any] = {"pairs": [], "losses": [], "norms": []}
    ranks = trainer.ranks
    while trainer.state.step < max_steps:
        batches = batches_of(trainer, trainer.state.epoch)
        batch = trainer.micro_batcher.build(trainer.corpus, batches[trainer.state.batch])
        losses, norm = trainer.train_step(batch)
        total = losses.translation + losses.divergence
        translation = ranks.all_reduce_sum(total) / batch.tgt_tokens
        results["pairs"].append(sorted(ranks.all_gather(rows_of(batch))))
        results["losses"].append(float(translation))
        results["norms"].append(float(full_tensor(norm)))
        state = trainer.state
        state.step, state.batch = state.step + 1, state.batch + 1
        if state.batch == len(batches):
            state.epoch, state.batch = state.epoch + 1, 0
    trainer.save()
    weights = [parameter.detach() for parameter in trainer.model.parameters()]
    assert trainer.ema is not None
    averages = list(trainer.ema.weights.values())
    with trainer.ema.replace_weights(), trainer.parallel.full_weights():
        validated = squares([parameter.detach() for parameter in trainer.model.parameters()])
    return results | {
        "weights": squares(weights),
        "averages": squares(averages),
        "validated": validated,
    }


def squares(weights: list[torch.Tensor]) -> list[float]:
    """Return the sum of squares of each full weight."""
    return [float(full_tensor(weight).square().sum()) for weight in weights]


def run_rank(folder: Path, parallel: str, max_steps: int, resumes: bool, compiles: bool) -> None:
    """Run one rank of a phase."""
    results = {}
    with connect_processes() as ranks:
        for name in MODELS:
            trainer = make_trainer(folder, name, parallel, ranks, compiles)
            if resumes:
                trainer.resume()
            trainer.compile()
            results[name] = train_steps(trainer, max_steps)
        if ranks.is_main:
            (folder / "results.json").write_text(json.dumps(results))


def main() -> None:
    folder, *runs = (argument for argument in sys.argv[1:] if argument != "--compile")
    compilation.BACKEND = "aot_eager"  # traces the passes, but generates no code
    for run in runs:
        run_folder = Path(folder) / run
        run_folder.mkdir()
        for number, phase in enumerate(run.split(",")):
            size, parallel, max_steps = phase.split(":")
            flags = number > 0, "--compile" in sys.argv
            run_ranks(int(size), partial(run_rank, run_folder, parallel, int(max_steps), *flags))


if __name__ == "__main__":
    main()
