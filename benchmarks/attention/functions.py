"""Which attention function aligns best (Luong et al. 2015, tables 4 and 6), on the demo corpus.

    python benchmarks/attention/functions.py WORK_FOLDER PLOT.png [--threads 2]

Trains `configs/demo.yaml` once for every score and window; prints validation perplexity, BLEU of
the two test sets and the alignment error rate against gold, as Markdown, and draws the last.
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path

import yaml

from runs import ROOT, Config, aer, bars, commit, merged, minutes, perplexity, test_scores, train

DEMO = ROOT / "data" / "demo"
SCORES = ("additive", "dot", "scaled_dot", "general", "location")
"""concat is additive under its other name: the same class, the same weights from the same seed."""
WINDOWS = ("global", "local_m", "local_p")


def demo() -> Config:
    """Return the demo config with its texts named from here."""
    config: Config = yaml.safe_load((ROOT / "configs" / "demo.yaml").read_text(encoding="utf-8"))
    sets = {name: str(DEMO / name) for name in ("train", "valid", "test", "long")}
    texts = {"train": [sets["train"]], "valid": sets["valid"], "test": [sets["test"], sets["long"]]}
    return merged(config, {"data": texts})


def main() -> None:
    """Train all models and print their scores."""
    parser = argparse.ArgumentParser()
    parser.add_argument("work", type=Path)
    parser.add_argument("plot", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    rows, spent = [], 0.0
    errors: dict[str, dict[str, float]] = {score: {} for score in SCORES}
    for score, window in product(SCORES, WINDOWS):
        config = merged(demo(), {"model": {"score": score, "window": window}})
        run = train(config, args.work.resolve() / f"{score}-{window}", args.threads)
        scores = test_scores(run)
        error = aer(run, DEMO / "test.en", DEMO / "test.fr", DEMO / "test.align")
        errors[score][window] = error
        spent += minutes(run)
        bleu = " | ".join(f"{scores[name]['bleu']:.2f}" for name in ("test", "long"))
        rows.append(f"| {score} | {window} | {perplexity(run):.3f} | {bleu} | {error:.3f} |")
    bars(args.plot, errors, "alignment error rate")
    print(f"Commit {commit()}, seed 1, {spent:.0f} minutes of training.\n")
    print("| score | window | perplexity (valid) | BLEU test | BLEU long | AER |")
    print("|---|---|---|---|---|---|", *rows, sep="\n")


if __name__ == "__main__":
    main()
