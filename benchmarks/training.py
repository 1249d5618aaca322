"""Measure training speed side by side with other toolkits.

    python benchmarks/training.py RUN [--settings transformer luong ...] [--rounds 5]
        [--updates 6] [--threads 2] [--precision fp32] [--ours OTHER_CHECKOUT]
        [--transformers] [--opennmt PYTHON] [--eole PYTHON] [--joeynmt PYTHON]

The corpus of the run folder RUN provides the lengths. All systems train on the same batches of
4,096 padded target tokens with random pieces of a joint vocabulary of 8,000. Each system runs in
its own process (peers/train_*.py) with its own model, loss and optimizer: Adam, gradient clipping,
label smoothing 0.1, and dropout 0.1 at the same positions. The systems alternate for `--rounds`
rounds; the median counts. transformers runs in this Python environment, the others in their own.
Ours runs in `--precision`, and so does transformers if that is bf16; the others support only fp32
on a CPU. Prints Markdown: tokens/s, the ratio of ours to each, peak memory, and the model FLOPs
utilization of ours, relative to matrix products measured in the same precision after each of its
rounds.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from served import Served

HERE = Path(__file__).parents[1]
PEERS = Path(__file__).parent / "peers"
Lengths = NDArray[np.int64]
SPECIAL = {"pad": 0, "unk": 1, "bos": 2, "eos": 3}
COMMON = {"dropout": 0.1, "label_smoothing": 0.1, "vocab_size": 8000, **SPECIAL}
TRANSFORMER = {
    **COMMON,
    "arch": "transformer",
    "d_model": 256,
    "d_ff": 1024,
    "num_heads": 4,
    "num_layers": 3,
    "tie": "all",
}
RNN = {**COMMON, "arch": "rnn", "d_embed": 256, "d_hidden": 512, "cell": "lstm", "tie": "none"}
LUONG = {**RNN, "attention": "luong", "score": "general"}
SETTINGS: dict[str, dict[str, Any]] = {
    "transformer": TRANSFORMER,
    "luong, input feeding": {**LUONG, "input_feeding": True},
    "luong": {**LUONG, "input_feeding": False},
    "bahdanau": {**RNN, "attention": "bahdanau", "score": "additive"},
}
COMPARED_WITH = {"bahdanau": "luong, input feeding"}
"""Settings that peers do not have, with the setting that they are compared with."""
BATCH_TOKENS = 4096
BATCHES = 60


class System(NamedTuple):
    """A toolkit: a script of peers/ and the Python environment that runs it."""

    python: str
    script: str
    setting: dict[str, Any]
    path: str = ""
    """PYTHONPATH, if the toolkit is not installed."""


def corpus_lengths(run: Path) -> list[Lengths]:
    """Return the tokens of all rows of a run's corpus, source and target, eos included."""
    from nmt.core.run_dir import RunDir
    from nmt.data.corpus.corpus import Corpus

    corpus = Corpus.load(RunDir(run).corpus / "train")
    return [corpus.lengths(side) + 1 for side in ("src", "tgt")]


def write_batches(lengths: list[Lengths], vocab_size: int, batch_tokens: int, file: Path) -> None:
    """Write batches of random pieces with these row lengths."""
    import torch
    from safetensors.torch import save_file

    from nmt.data.batching.batches import plan_eval_batches

    rng = np.random.default_rng(1)
    arrays: dict[str, Any] = {}

    def rows(lengths: Lengths, width: int) -> Any:
        matrix = rng.integers(4, vocab_size, (len(lengths), width))
        positions = np.arange(width)
        matrix[positions == lengths[:, None] - 1] = SPECIAL["eos"]
        matrix[positions >= lengths[:, None]] = SPECIAL["pad"]
        return matrix

    src_lengths, tgt_lengths = lengths
    plan = plan_eval_batches(src_lengths, tgt_lengths, batch_tokens)
    order = rng.permutation(len(plan))[:BATCHES]
    for i, batch in enumerate(plan[number] for number in order):
        src, tgt = (side[batch.rows] for side in lengths)
        begin = np.full((len(tgt), 1), SPECIAL["bos"])
        arrays[f"src.{i}"] = rows(src, int(src.max()))
        arrays[f"src_len.{i}"] = src
        arrays[f"tgt.{i}"] = np.concatenate([begin, rows(tgt, int(tgt.max()))], 1)
    save_file({name: torch.from_numpy(array) for name, array in arrays.items()}, file)


def print_header() -> None:
    """Print the head of the table that `compare` adds to."""
    print("| setting | system | target tokens/s | ours is | peak MB | share of the ceiling |")
    print("|---|---|---|---|---|---|")


def compare(
    name: str, systems: dict[str, System], batches: Path, rounds: int, updates: int
) -> None:
    """Run the systems alternately over the same batches; print a row for each."""
    served: dict[str, Served] = {}
    for kind, (python, script, setting, path) in systems.items():
        file = batches.with_name(f"{kind}.json")
        file.write_text(json.dumps(setting))
        line = [python, str(PEERS / script), str(file), str(batches)]
        served[kind] = Served(line, PYTHONPATH=path)
    answers: dict[str, list[dict[str, float]]] = {kind: [] for kind in systems}
    for number in range(rounds):
        for kind, system in served.items():
            answer = system.ask(updates)
            answers[kind].append(answer)
            speed = answer["tokens"] / answer["seconds"]
            print(f"{name} {number} {kind}: {speed:.0f} {answer['loss']:.2f}", file=sys.stderr)
    speeds = {
        kind: median(answer["tokens"] / answer["seconds"] for answer in results)
        for kind, results in answers.items()
    }
    for kind, results in answers.items():
        share = median(answer.get("ceiling_share", math.nan) for answer in results)
        ratio = speeds["ours"] / speeds[kind]
        print(
            f"| {name} | {kind} | {speeds[kind]:.0f} | {ratio:.2f} | {results[-1]['peak']:.0f} "
            f"| {'' if math.isnan(share) else f'{share:.0%}'} |",
            flush=True,
        )
    for system in served.values():
        system.close()


def main() -> None:
    """Run all systems in all settings, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--settings", nargs="+", default=list(SETTINGS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--updates", type=int, default=6)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--ours", type=Path, help="another checkout of ours to compare with")
    for peer in ("opennmt", "eole", "joeynmt"):
        parser.add_argument(f"--{peer}")
    parser.add_argument("--transformers", action="store_true")
    arguments = parser.parse_args()
    common = {"threads": arguments.threads, "device": "cpu", "precision": arguments.precision}
    print_header()
    with tempfile.TemporaryDirectory() as folder:
        batches = Path(folder) / "batches.safetensors"
        write_batches(corpus_lengths(arguments.run), COMMON["vocab_size"], BATCH_TOKENS, batches)
        for name in arguments.settings:
            ours = SETTINGS[name] | common
            theirs = SETTINGS[COMPARED_WITH.get(name, name)] | common
            systems = {"ours": System(sys.executable, "train_ours.py", ours, str(HERE))}
            if arguments.ours:
                systems["other checkout"] = systems["ours"]._replace(path=str(arguments.ours))
            if arguments.transformers and ours["arch"] == "transformer":
                for precision in sorted({"fp32", arguments.precision}):
                    setting = theirs | {"precision": precision}
                    kind = f"transformers {precision}"
                    systems[kind] = System(sys.executable, "train_transformers.py", setting)
            for peer in ("opennmt", "eole", "joeynmt"):
                if getattr(arguments, peer):
                    systems[peer] = System(getattr(arguments, peer), f"train_{peer}.py", theirs)
            compare(name, systems, batches, arguments.rounds, arguments.updates)


if __name__ == "__main__":
    main()
