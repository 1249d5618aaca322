"""Target tokens a second in training, side by side with other toolkits.

    python benchmarks/training.py RUN [--settings transformer luong ...] [--rounds 5]
        [--updates 6] [--threads 2] [--precision fp32] [--ours OTHER_CHECKOUT]
        [--opennmt PYTHON] [--eole PYTHON] [--joeynmt PYTHON]

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
from typing import Any

import numpy as np
from served import Served

PEERS = Path(__file__).parent / "peers"
VOCABULARY = {"vocab_size": 8000, "pad": 0, "unk": 1, "bos": 2, "eos": 3}
COMMON = {"dropout": 0.1, "label_smoothing": 0.1, **VOCABULARY}
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


def write_batches(run: Path, file: Path) -> None:
    """Plan batches over the corpus of a run, and fill them with random pieces."""
    import torch
    from safetensors.torch import save_file

    from nmt.data.batching import plan_epoch
    from nmt.data.corpus import Corpus
    from nmt.rundir import RunDir

    corpus = Corpus(RunDir(run).corpus / "train")
    lengths = [corpus.lengths(side) + 1 for side in ("src", "tgt")]
    rng = np.random.default_rng(1)
    arrays: dict[str, Any] = {}

    def rows(lengths: Any, width: int) -> Any:
        found = rng.integers(4, VOCABULARY["vocab_size"], (len(lengths), width))
        place = np.arange(width)
        found[place == lengths[:, None] - 1] = VOCABULARY["eos"]
        found[place >= lengths[:, None]] = VOCABULARY["pad"]
        return found

    for i, batch in enumerate(plan_epoch(*lengths, 1, 0, BATCH_TOKENS)[:BATCHES]):
        src, tgt = (side[batch.rows] for side in lengths)
        begin = np.full((len(tgt), 1), VOCABULARY["bos"])
        arrays[f"src.{i}"] = rows(src, int(src.max()))
        arrays[f"src_len.{i}"] = src
        arrays[f"tgt.{i}"] = np.concatenate([begin, rows(tgt, int(tgt.max()))], 1)
    save_file({name: torch.from_numpy(array) for name, array in arrays.items()}, file)


def compare(
    systems: dict[str, Served], rounds: int, updates: int
) -> dict[str, list[dict[str, float]]]:
    """Let the systems run in turn; return what each said."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in systems}
    for number in range(rounds):
        for name, system in systems.items():
            found[name].append(system.ask(updates))
            said = found[name][-1]
            speed = said["tokens"] / said["seconds"]
            print(f"{number} {name}: {speed:.0f} {said['loss']:.2f}", file=sys.stderr)
    return found


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
    here = Path(__file__).parents[1]
    print("| setting | system | target tokens/s | ours is | peak MB | share of the ceiling |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        batches = Path(folder) / "batches.safetensors"
        write_batches(asked.run, batches)
        for name in asked.settings:
            scripts = {"ours": (sys.executable, "train_ours.py", here)}
            if asked.ours:
                scripts["other checkout"] = (sys.executable, "train_ours.py", asked.ours)
            if asked.transformers and SETTINGS[name]["arch"] == "transformer":
                for precision in sorted({"fp32", asked.precision}):
                    kind = f"transformers {precision}"
                    scripts[kind] = (sys.executable, "train_transformers.py", here)
            for peer in ("opennmt", "eole", "joeynmt"):
                if getattr(asked, peer):
                    scripts[peer] = (getattr(asked, peer), f"train_{peer}.py", here)
            systems = {}
            for system, (python, script, path) in scripts.items():
                ours = script == "train_ours.py"
                setting = SETTINGS[name if ours else AS_GOOD_AS.get(name, name)]
                file = Path(folder) / f"{system}.json"
                precision = "fp32" if "fp32" in system else asked.precision
                extra = {"threads": asked.threads, "precision": precision}
                file.write_text(json.dumps({**setting, **extra}))
                line = [python, str(PEERS / script), str(file), str(batches)]
                systems[system] = Served(line, PYTHONPATH=str(path) if ours else "")
            found = compare(systems, asked.rounds, asked.updates)
            speeds = {
                system: median(said["tokens"] / said["seconds"] for said in its)
                for system, its in found.items()
            }
            for system, its in found.items():
                share = median(said.get("ceiling_share", math.nan) for said in its)
                print(
                    f"| {name} | {system} | {speeds[system]:.0f} "
                    f"| {speeds['ours'] / speeds[system]:.2f} | {its[-1]['peak']:.0f} "
                    f"| {'' if math.isnan(share) else f'{share:.0%}'} |",
                    flush=True,
                )
            for process in systems.values():
                process.close()


if __name__ == "__main__":
    main()
