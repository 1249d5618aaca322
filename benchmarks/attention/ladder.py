"""Luong's ladder (Luong et al. 2015, table 1): what each step adds, on 2,000 demo pairs.

    python benchmarks/attention/ladder.py WORK_FOLDER [--threads 2]

Every rung keeps what the rung below it has. Prints the table as Markdown.
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path
from statistics import mean

from runs import ROOT, Config, commit, merged, minutes, paired, test_scores, train

PAIRS = 2_000
SEEDS = (1, 2, 3)
DEMO = ROOT / "data" / "demo"

BASE: Config = {
    "tokenizer": {"type": "bpe", "vocab_size": 1500},
    "model": {"cell": "lstm", "wiring": "none", "d_embed": 128, "d_hidden": 128, "dropout": 0.0},
    "train": {
        "batch_tokens": 512,
        "lr": 3e-3,
        "schedule": "plateau",
        "max_epochs": 40,
        "validate_every": "epoch",
        "patience": None,
    },
}

RUNGS: list[tuple[str, Config]] = [
    ("base", {}),
    ("+ reverse", {"model": {"reverse_source": True}}),
    ("+ dropout", {"model": {"dropout": 0.3}}),
    ("+ global attention", {"model": {"wiring": "luong", "score": "general"}}),
    ("+ input feeding", {"model": {"input_feeding": True}}),
    ("+ local_p", {"model": {"window": "local_p"}}),
]


def data(folder: Path) -> Config:
    """Write the first pairs of the demo corpus into `folder`; return the data section."""
    folder.mkdir(parents=True, exist_ok=True)
    for side in ("en", "fr"):
        with (DEMO / f"train.{side}").open(encoding="utf-8", newline="\n") as lines:
            text = "".join(line for line, _ in zip(lines, range(PAIRS), strict=False))
        (folder / f"train.{side}").write_text(text, encoding="utf-8")
    sets = {"train": [str(folder / "train")], "valid": str(DEMO / "valid")}
    return {"data": {"src": "en", "tgt": "fr", **sets, "test": [str(DEMO / "test")]}}


def main() -> None:
    """Train all rungs, seed by seed, and print what they reached."""
    parser = argparse.ArgumentParser()
    parser.add_argument("work", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    work = args.work.resolve()
    corpus = data(work / "data")
    bleu: dict[str, list[float]] = {name: [] for name, _ in RUNGS}
    spent = 0.0
    for seed in SEEDS:
        config = merged(corpus, BASE, {"train": {"seed": seed}})
        for number, (name, change) in enumerate(RUNGS):
            config = merged(config, change)
            run = train(config, work / f"rung{number}-seed{seed}", args.threads)
            bleu[name].append(test_scores(run)["test"]["bleu"])
            spent += minutes(run)
    print(f"Commit {commit()}, seeds {SEEDS}, {spent:.0f} minutes of training.\n")
    print("| rung | BLEU by seed | mean | gain over the rung below |\n|---|---|---|---|")
    for (below, _), (name, _) in pairwise([RUNGS[0], *RUNGS]):
        gain, error = paired(bleu[below], bleu[name])
        by_seed = ", ".join(f"{score:.2f}" for score in bleu[name])
        gained = "" if name == "base" else f"{gain:+.2f} ± {error:.2f}"
        print(f"| {name} | {by_seed} | {mean(bleu[name]):.2f} | {gained} |")


if __name__ == "__main__":
    main()
