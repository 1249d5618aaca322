"""Measure without a GPU how training and decoding would use one.

    python benchmarks/gpu_readiness.py [--settings base big ...]

Prints Markdown tables for the models of gpu.py: operators started per update and per decoding step
(beam 5), and the time that they cost at 5 microseconds each, next to the time of the matrix
products; synchronizations of host and device; tensors on the wrong device; graphs and graph breaks
of the training step; memory of activations per token. operator_modes.py describes how.

The counts do not depend on widths and batch sizes. Target sequences have 27 tokens, the mean of
gpu.py, because recurrent loops start operators for each position.
"""

from __future__ import annotations

import argparse
import subprocess
import warnings
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from operator_modes import OperatorCounter, SavedBytes, count_operators, fake_mode
from torch._dynamo.utils import counters

from nmt.config.model_config import TransformerConfig
from nmt.config.schema import Config
from nmt.data.batching.loader import MicroBatch
from nmt.decoding.constraints.lexical_constraints import LexicalConstraints
from nmt.decoding.search.beam_search import BeamSearch
from nmt.decoding.search.beam_state import Ranking, SearchRules
from nmt.decoding.search.candidates import build_candidate_selector
from nmt.decoding.search.request_queue import Request, RequestQueue
from nmt.decoding.search.vocabulary import FullVocabulary
from nmt.device.precision import Precision
from nmt.models.build import AnyModel, build_model
from nmt.models.interface import evaluation_mode
from nmt.training.monitoring.flops import FLOPS_PER_WEIGHT, count_flops
from nmt.training.optimization.loss import ModelWithLoss
from nmt.training.optimization.optimizer import build_optimizer

PEAK_FLOPS, UTILIZATION = 989e12, 0.45
"""Dense bf16 products of an H100 SXM per second, and the fraction that an update may reach."""
LAUNCH_SECONDS = 5e-6
LENGTH = 27
"""Source and target length in tokens."""
TRAIN_TOKENS = 25_000
"""Target tokens of an update."""
SENTENCES, BEAM, STEPS = 64, 5, 16
"""Sentences of a decoding batch, beam size, and number of decoding steps that are counted."""
EXPLAINED_LENGTH = 4
"""Length of the sequences for the graph breaks: they are the same at all positions of a loop."""
GPU = "cuda:0"
"""With an index, which torch would otherwise ask of CUDA."""
SPECIAL = {"pad": 0, "unk": 1, "bos": 2, "eos": 3}


class UpdateCounts(NamedTuple):
    """Operators of an update."""

    forward: OperatorCounter
    backward: OperatorCounter
    optimizer: OperatorCounter

    @property
    def launches(self) -> int:
        """Number of operators that start a kernel."""
        return sum(part.launches.total() for part in self)

    @property
    def synchronizations(self) -> Counter[str]:
        """Places where the host waits for the device."""
        return sum((part.synchronizations for part in self), Counter())


class GraphCounts(NamedTuple):
    """Graphs of the parts that `train.compile` compiles."""

    graphs: int
    breaks: int
    reasons: list[str]


def make_config(setting: dict[str, Any]) -> Config:
    """Return the config of a setting of gpu.py."""
    names = ["arch", "d_model", "d_ff", "num_heads", "num_layers", "tie", "d_embed", "d_hidden"]
    names += ["cell", "attention", "score", "input_feeding"]
    rate = setting["dropout"]
    model = {name: setting[name] for name in names if name in setting} | {"dropout": rate}
    if setting["arch"] == "transformer":
        model |= {"attention_dropout": rate, "activation_dropout": rate}
    data = {"train": [Path("none")], "valid": 1}
    train = {"label_smoothing": setting["label_smoothing"]}
    values = {"data": data, "model": model, "train": train}
    return Config.model_validate(values).with_defaults(frozenset())


def make_batch(sentences: int, length: int) -> MicroBatch:
    """Return a batch of sentences of one length."""
    tokens = torch.full((sentences, length), 5)
    none = torch.empty(0, dtype=torch.int64)
    return MicroBatch(
        src=tokens,
        src_len=torch.full((sentences,), length),
        tgt_in=tokens,
        targets=tokens.flatten(),
        positions=torch.arange(sentences * length),
        link_tgt_positions=none,
        link_src_positions=none,
        link_weights=torch.empty(0),
    )


def build(config: Config, vocab_size: int, device: str = "cpu") -> AnyModel:
    """Return the model of a config on a device."""
    with torch.device(device):
        return build_model(config.model, vocab_size, vocab_size, SPECIAL["pad"])


def count_update(config: Config, vocab_size: int, length: int = LENGTH) -> UpdateCounts:
    """Count the operators of one update in bf16: both passes on fake tensors of the CPU.

    Torch without CUDA cannot run a backward pass on fake tensors of a GPU, but the optimizer.
    """
    precision = Precision("bf16", torch.device("cpu"))
    with fake_mode():
        module = ModelWithLoss(build(config, vocab_size), config.train)
        batch = make_batch(2, length)
        with count_operators() as forward, precision.autocast():
            losses = module(batch)
        with count_operators() as backward:
            precision.backward(module.total(losses))
        model, precision = build(config, vocab_size, GPU), Precision("bf16", torch.device(GPU))
        optimizer = build_optimizer(model, config.train, precision.device)
        for weight in model.parameters():
            weight.grad = torch.zeros_like(weight)
        precision.step(optimizer, config.train.clip_norm)  # the first step allocates moments
        with count_operators(GPU) as step:
            precision.step(optimizer, config.train.clip_norm)
            optimizer.zero_grad(set_to_none=True)
    return UpdateCounts(forward, backward, step)


def count_forward_on_gpu(config: Config, vocab_size: int, length: int = LENGTH) -> OperatorCounter:
    """Count the operators of the forward pass on fake tensors of a GPU, to find misplaced ones."""
    with fake_mode():
        module = ModelWithLoss(build(config, vocab_size, GPU), config.train)
        batch = make_batch(2, length).to(torch.device(GPU))
        with count_operators(GPU) as counter, torch.no_grad():
            module(batch)
    return counter


def make_search(model: AnyModel, config: Config, device: torch.device) -> BeamSearch:
    """Return a search with beam 5 and the full vocabulary."""
    symbols = SimpleNamespace(**SPECIAL, never_output=[0, 1, 2])
    settings = config.decode.model_copy(update={"beam_size": BEAM})
    return BeamSearch(
        model=model,
        tokenizers=SimpleNamespace(src=symbols, tgt=symbols),  # type: ignore[arg-type]
        device=device,
        nbest=1,
        groups=1,
        beam_size=BEAM,
        rules=SearchRules(symbols.eos, settings.stop, Ranking.from_settings(settings)),
        vocabulary=FullVocabulary(model, symbols, device),  # type: ignore[arg-type]
        processors=[],
        selector=build_candidate_selector(settings),
    )


def count_decoding(
    config: Config, vocab_size: int, steps: int = STEPS, sentences: int = 4
) -> OperatorCounter:
    """Count the operators of some decoding steps on fake tensors of a GPU, with beam 5."""
    with fake_mode():
        model = build(config, vocab_size, GPU)
        search = make_search(model, config, torch.device(GPU))
        source = [5] * (LENGTH - 1)
        requests = [
            Request(index, source, LexicalConstraints(), 4 * steps) for index in range(sentences)
        ]
        queue = RequestQueue([], sentences, 10**6)
        with evaluation_mode(model):
            with count_operators(GPU):  # the first step has one row per sentence
                batch = search.step(search.start(requests, rows=1), queue)
            with count_operators(GPU) as counter:
                for _ in range(steps):
                    assert batch is not None
                    batch = search.step(batch, queue)
    return counter


def saved_bytes_per_token(config: Config, vocab_size: int, length: int = LENGTH) -> float:
    """Return the bytes that the forward pass in bf16 saves per pair of source and target token.

    The difference of two batch sizes leaves out what does not grow with it, such as bf16 weights.
    """
    totals = []
    for sentences in (8, 16):
        with fake_mode():
            module = ModelWithLoss(build(config, vocab_size), config.train)
            saved = SavedBytes(list(module.parameters()))
            precision = Precision("bf16", torch.device("cpu"))
            with count_operators(), precision.autocast(), saved.hooks():
                losses = module(make_batch(sentences, length))
            totals.append(saved.total)
            del losses
    return (totals[1] - totals[0]) / (8 * length)


def minimum_bytes_per_token(model: TransformerConfig) -> int:
    """Return the bytes that a pre-norm Transformer must save per pair of source and target token.

    A matrix product saves its bf16 input, a norm its fp32 input, dropout one byte per element,
    fused attention its queries, keys, values, output and the fp32 log-sum of each head. ReLU with
    dropout saves its output alone. The loss saves its input, no logits. D = d_model, F = d_ff:

        norm and the product that reads it    4 D + 2 D
        self-attention                        6 D + 2 D + 4 H, and dropout D
        cross-attention                       2 D + 2 D + 4 H, dropout D, source keys, values 4 D
        feed-forward network                  2 F, and dropout D
        embedding, last norm                  D + 6 D
    """
    d, f, h = model.d_model, model.d_ff, model.num_heads
    norm, dropout = 6 * d, d
    self_attention = norm + 8 * d + 4 * h + dropout
    cross_attention = norm + 4 * d + 4 * h + dropout + 4 * d
    feed_forward = norm + 2 * f + dropout
    encoder = self_attention + feed_forward
    decoder = self_attention + cross_attention + feed_forward
    return model.num_layers * (encoder + decoder) + 2 * (dropout + norm)


def count_graphs(config: Config, vocab_size: int = 100) -> GraphCounts:
    """Return the graphs and graph breaks of the parts that training compiles, on real tensors."""
    module = ModelWithLoss(build(config, vocab_size), config.train).train()
    parts = module.model.compiled_parts
    torch.compiler.reset()
    counters.clear()
    for part in [module] if parts is None else parts:
        part.forward = torch.compile(part.forward, backend="eager", dynamic=True)
    module(make_batch(2, EXPLAINED_LENGTH))
    reasons = [str(reason).splitlines()[0] for reason in counters["graph_break"]]
    breaks = sum(counters["graph_break"].values())
    graphs = counters["stats"]["unique_graphs"]
    torch.compiler.reset()
    return GraphCounts(graphs, breaks, reasons)


def narrow(setting: dict[str, Any]) -> dict[str, Any]:
    """Return the setting with small widths."""
    small = {"d_model": 32, "d_ff": 64, "num_heads": 2, "d_embed": 16, "d_hidden": 32}
    return setting | {key: value for key, value in small.items() if key in setting}


def milliseconds(seconds: float) -> str:
    """Return a time in ms with two or more digits."""
    return f"{1000 * seconds:.{0 if seconds > 0.01 else 2}f}"


def describe(title: str, setting: dict[str, Any]) -> tuple[list[str], list[str], list[str]]:
    """Return the cells of a model in the tables of updates and decoding steps, and its notes."""
    config, vocab_size = make_config(setting), setting["vocab_size"]
    update, forward = count_update(config, vocab_size), count_forward_on_gpu(config, vocab_size)
    decoding = count_decoding(config, vocab_size)
    graphs = count_graphs(make_config(narrow(setting)))
    saved = saved_bytes_per_token(config, vocab_size)
    with fake_mode():
        flops = count_flops(build(config, vocab_size))
    update_seconds = flops.total(TRAIN_TOKENS, TRAIN_TOKENS) / PEAK_FLOPS / UTILIZATION
    step_flops = flops.per_tgt_token * 2 // FLOPS_PER_WEIGHT * SENTENCES * BEAM
    waits = update.synchronizations | forward.synchronizations
    minimum = "-"
    if isinstance(config.model, TransformerConfig):
        minimum = f"{saved / minimum_bytes_per_token(config.model):.2f}"
    parts = " + ".join(str(part.launches.total()) for part in update)
    launches = decoding.launches.total() / STEPS
    update_cells = [
        title,
        f"{update.launches} ({parts})",
        milliseconds(update.launches * LAUNCH_SECONDS),
        milliseconds(update_seconds),
        str(waits.total()),
        str(forward.misplaced.total()),
        f"{graphs.graphs}, {graphs.breaks}",
        f"{saved / 1024:.0f}",
        minimum,
    ]
    decoding_cells = [
        title,
        f"{launches:.0f}",
        milliseconds(launches * LAUNCH_SECONDS),
        milliseconds(step_flops / PEAK_FLOPS / UTILIZATION),
        f"{decoding.synchronizations.total() / STEPS:.2f}",
        f"{decoding.misplaced.total() / STEPS:.2f}",
    ]
    notes = [f"update: {place}" for place in {**waits, **forward.misplaced}]
    notes += [f"graph break: {reason}" for reason in dict.fromkeys(graphs.reasons)]
    notes += [
        f"decoding step: {place}, {count / STEPS:.2f} per step"
        for place, count in (decoding.synchronizations + decoding.misplaced).items()
    ]
    return update_cells, decoding_cells, [f"- {title}: {note}" for note in notes]


UPDATE_HEADER = [
    *("model", "launches per update (forward + backward + optimizer)", "launches, ms"),
    *("products, ms", "waits", "wrong device", "graphs, breaks", "KiB saved per token"),
    "of the minimum",
]
DECODING_HEADER = [
    *("model", "launches per decoding step", "launches, ms", "products, ms", "waits"),
    "wrong device",
]


def table(header: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def main() -> None:
    """Measure all settings, and print the tables."""
    from gpu import SETTINGS
    from training import RNN

    wmt = {**SETTINGS["GNMT"], "attention": "bahdanau", "score": "additive", "num_layers": 1}
    settings = {name: SETTINGS[name] for name in ("base", "big", "GNMT", "GNMT, input feeding")}
    settings["bahdanau"] = {**wmt, "d_embed": RNN["d_embed"], "d_hidden": 1024}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", nargs="+", default=list(settings))
    arguments = parser.parse_args()
    folder = Path(__file__).parent
    commit = subprocess.run(
        ["git", "-C", str(folder), "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    date = f"{datetime.now(UTC):%Y-%m-%d}"
    print(f"commit {commit or 'unknown'}, {date}, torch {torch.__version__}\n")
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # of Dynamo
    results = [describe(title, settings[title]) for title in arguments.settings]
    updates, steps, notes = zip(*results, strict=True)
    print(table(UPDATE_HEADER, list(updates)), end="\n\n")
    print(table(DECODING_HEADER, list(steps)), end="\n\n")
    print("\n".join(line for lines in notes for line in lines))


if __name__ == "__main__":
    main()
