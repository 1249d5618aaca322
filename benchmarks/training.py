"""Target tokens a second in training, side by side with other toolkits.

    python benchmarks/training.py RUN [--settings transformer luong ...] [--rounds 5]
        [--updates 6] [--threads 2] [--precision fp32] [--ours OTHER_CHECKOUT]
        [--transformers] [--opennmt PYTHON] [--eole PYTHON] [--joeynmt PYTHON]

RUN is a run folder whose corpus gives the lengths: its pairs are planned into batches of 4,096
padded target tokens, filled with random pieces of a joint vocabulary of 8,000, and every system
trains on exactly these. Each lives in a process of its own (peers/train_*.py) with its own model,
loss and optimizer: Adam, gradients clipped, label smoothing 0.1, dropout 0.1 in the same places.
They run in turn, `--rounds` times; the median counts. transformers runs in this Python, the others
in the Pythons that have them (with safetensors). Ours runs in `--precision`, as does transformers
once more where that is bf16; the other toolkits know only fp32 on a CPU. Prints Markdown: tokens/s,
the ratio of ours to each, peak memory, and the share that ours reaches of the rate of plain matrix
products, measured in the same precision after each of its turns.
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
LUONG = {**RNN, "wiring": "luong", "score": "general"}
SETTINGS: dict[str, dict[str, Any]] = {
    "transformer": TRANSFORMER,
    "luong, input feeding": {**LUONG, "input_feeding": True},
    "luong": {**LUONG, "input_feeding": False},
    "bahdanau": {**RNN, "wiring": "bahdanau", "score": "additive"},
}
AS_GOOD_AS = {"bahdanau": "luong, input feeding"}
"""Peers have no such wiring: the setting of theirs that it is held against."""
BATCH_TOKENS = 4096
BATCHES = 60


class System(NamedTuple):
    """One of those compared: a script of peers/, run by a Python that has its toolkit."""

    python: str
    script: str
    setting: dict[str, Any]
    path: str = ""
    """Where it finds its own modules, if they are not installed."""


def corpus_lengths(run: Path) -> list[Lengths]:
    """Return the tokens of all rows of a run's corpus, source and target, eos included."""
    from nmt.core.run_dir import RunDir
    from nmt.data.corpus.corpus import Corpus

    corpus = Corpus.load(RunDir(run).corpus / "train")
    return [corpus.lengths(side) + 1 for side in ("src", "tgt")]


def write_batches(lengths: list[Lengths], vocab_size: int, batch_tokens: int, file: Path) -> None:
    """Plan batches over rows of these lengths, and fill them with random pieces."""
    import torch
    from safetensors.torch import save_file

    from nmt.data.batching.batches import plan_eval_batches

    rng = np.random.default_rng(1)
    arrays: dict[str, Any] = {}

    def rows(lengths: Lengths, width: int) -> Any:
        found = rng.integers(4, vocab_size, (len(lengths), width))
        place = np.arange(width)
        found[place == lengths[:, None] - 1] = SPECIAL["eos"]
        found[place >= lengths[:, None]] = SPECIAL["pad"]
        return found

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
    """Let systems, "ours" among them, run in turn over the same batches; print a row for each."""
    served: dict[str, Served] = {}
    for kind, (python, script, setting, path) in systems.items():
        file = batches.with_name(f"{kind}.json")
        file.write_text(json.dumps(setting))
        line = [python, str(PEERS / script), str(file), str(batches)]
        served[kind] = Served(line, PYTHONPATH=path)
    found: dict[str, list[dict[str, float]]] = {kind: [] for kind in systems}
    for number in range(rounds):
        for kind, system in served.items():
            said = system.ask(updates)
            found[kind].append(said)
            speed = said["tokens"] / said["seconds"]
            print(f"{name} {number} {kind}: {speed:.0f} {said['loss']:.2f}", file=sys.stderr)
    speeds = {
        kind: median(said["tokens"] / said["seconds"] for said in its)
        for kind, its in found.items()
    }
    for kind, its in found.items():
        share = median(said.get("ceiling_share", math.nan) for said in its)
        ratio = speeds["ours"] / speeds[kind]
        print(
            f"| {name} | {kind} | {speeds[kind]:.0f} | {ratio:.2f} | {its[-1]['peak']:.0f} "
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
    asked = parser.parse_args()
    common = {"threads": asked.threads, "device": "cpu", "precision": asked.precision}
    print_header()
    with tempfile.TemporaryDirectory() as folder:
        batches = Path(folder) / "batches.safetensors"
        write_batches(corpus_lengths(asked.run), COMMON["vocab_size"], BATCH_TOKENS, batches)
        for name in asked.settings:
            ours = SETTINGS[name] | common
            theirs = SETTINGS[AS_GOOD_AS.get(name, name)] | common
            systems = {"ours": System(sys.executable, "train_ours.py", ours, str(HERE))}
            if asked.ours:
                systems["other checkout"] = systems["ours"]._replace(path=str(asked.ours))
            if asked.transformers and ours["arch"] == "transformer":
                for precision in sorted({"fp32", asked.precision}):
                    setting = theirs | {"precision": precision}
                    kind = f"transformers {precision}"
                    systems[kind] = System(sys.executable, "train_transformers.py", setting)
            for peer in ("opennmt", "eole", "joeynmt"):
                if getattr(asked, peer):
                    systems[peer] = System(getattr(asked, peer), f"train_{peer}.py", theirs)
            compare(name, systems, batches, asked.rounds, asked.updates)


if __name__ == "__main__":
    main()
