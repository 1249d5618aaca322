"""Ablation of Luong et al. 2015, table 1: the gain of each step, on demo pairs or Multi30k.

    python benchmarks/attention/ladder.py WORK_FOLDER PLOT.png [--multi30k FOLDER] [--threads 2]

Every step adds one feature to the previous step. Draws the steps and prints a Markdown table.
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path
from statistics import mean

from runs import ROOT, Config, bars, commit, merged, minutes, paired, test_scores, train

PAIRS = 2_000
DEMO = ROOT / "data" / "demo"

RUNGS: list[tuple[str, Config]] = [
    ("base", {}),
    ("+ reverse", {"model": {"reverse_source": True}}),
    ("+ dropout", {"model": {"dropout": 0.3}}),
    ("+ global attention", {"model": {"attention": "luong", "score": "general"}}),
    ("+ input feeding", {"model": {"input_feeding": True}}),
    ("+ local_p", {"model": {"window": "local_p"}}),
]


def demo(folder: Path) -> Config:
    """Write the first demo pairs into `folder`; return the config of the base rung on them."""
    folder.mkdir(parents=True, exist_ok=True)
    for side in ("en", "fr"):
        with (DEMO / f"train.{side}").open(encoding="utf-8", newline="\n") as lines:
            text = "".join(line for line, _ in zip(lines, range(PAIRS), strict=False))
        (folder / f"train.{side}").write_text(text, encoding="utf-8")
    sets = {"train": [str(folder / "train")], "valid": str(DEMO / "valid")}
    return {
        "data": {"src": "en", "tgt": "fr", **sets, "test": [str(DEMO / "test")]},
        "tokenizer": {"type": "bpe", "vocab_size": 1500},
        "model": {
            "cell": "lstm",
            "attention": "none",
            "d_embed": 128,
            "d_hidden": 128,
            "dropout": 0.0,
        },
        "train": {
            "batch_tokens": 512,
            "lr": 3e-3,
            "schedule": "plateau",
            "max_epochs": 40,
            "validate_every": "epoch",
            "patience": None,
        },
    }


def multi30k(folder: Path) -> Config:
    """Return the config of the base rung on all of Multi30k, English to German."""
    sets = {"train": [str(folder / "train")], "valid": str(folder / "valid")}
    return {
        "data": {"src": "en", "tgt": "de", **sets, "test": [str(folder / "test_2016_flickr")]},
        "tokenizer": {"type": "unigram", "vocab_size": 5000},
        "model": {
            "cell": "lstm",
            "attention": "none",
            "d_embed": 256,
            "d_hidden": 256,
            "dropout": 0.0,
        },
        "train": {
            "batch_tokens": 1280,
            "lr": 2e-3,
            "schedule": "linear",
            "max_epochs": 8,
            "validate_every": "epoch",
        },
    }


def main() -> None:
    """Train all steps, seed by seed, and print their scores."""
    parser = argparse.ArgumentParser()
    parser.add_argument("work", type=Path)
    parser.add_argument("plot", type=Path)
    parser.add_argument("--multi30k", type=Path, help="folder of Multi30k, in place of the demo")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    work = args.work.resolve()
    base = multi30k(args.multi30k.resolve()) if args.multi30k else demo(work / "data")
    seeds = range(1, args.seeds + 1)
    bleu: dict[str, list[float]] = {name: [] for name, _ in RUNGS}
    spent = 0.0
    for seed in seeds:
        config = merged(base, {"train": {"seed": seed}})
        for number, (name, change) in enumerate(RUNGS):
            config = merged(config, change)
            run = train(config, work / f"rung{number}-seed{seed}", args.threads)
            [scores] = test_scores(run).values()
            bleu[name].append(scores["bleu"])
            spent += minutes(run)
    by_rung = {
        name: {f"seed {seed}": score for seed, score in zip(seeds, scores, strict=True)}
        for name, scores in bleu.items()
    }
    bars(args.plot, by_rung, "BLEU (13a)")
    print(f"Commit {commit()}, seeds {[*seeds]}, {spent:.0f} minutes of training.\n")
    print("| rung | BLEU by seed | mean | gain over the rung below |\n|---|---|---|---|")
    for (below, _), (name, _) in pairwise([RUNGS[0], *RUNGS]):
        gain, error = paired(bleu[below], bleu[name])
        by_seed = ", ".join(f"{score:.2f}" for score in bleu[name])
        gained = f"{gain:+.2f}" if args.seeds == 1 else f"{gain:+.2f} ± {error:.2f}"
        print(
            f"| {name} | {by_seed} | {mean(bleu[name]):.2f} | {'' if name == 'base' else gained} |"
        )


if __name__ == "__main__":
    main()
