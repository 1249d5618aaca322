"""BLEU against source length (Bahdanau et al. 2015, figure 2), with and without attention.

    python benchmarks/attention/length.py WORK_FOLDER PLOT.png [--corpus FOLDER] [--gold FOLDER]

Trains three models alike, without attention, with Bahdanau's and with Luong's, on a folder that
holds train, valid and test in English and French (statutes, say; else the demo corpus with its long
test set), and scores the test lines in buckets of ten source words up to 60; longer ones are left
out. With --gold FOLDER, holding `hansards_test.{en,fr,align}`, also their alignment error rate on
real gold alignments.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from matplotlib.figure import Figure
from sacrebleu.metrics import BLEU

from runs import ROOT, Config, aer, commit, minutes, train, translate

DEMO = ROOT / "data" / "demo"
BUCKETS = [(low + 1, low + 10) for low in range(0, 60, 10)]
LEAST_LINES = 20
"""A bucket with fewer lines says nothing."""
MODELS: dict[str, dict[str, object]] = {
    "none": {"attention": "none"},
    "bahdanau": {"attention": "bahdanau", "score": "additive"},
    "luong": {"attention": "luong", "score": "additive"},
}


def config_of(corpus: Path, model: dict[str, object], epochs: int) -> Config:
    """Return the config of one model: all three have the same but for their attention."""
    sizes = {"d_embed": 256, "d_hidden": 384, "dropout": 0.2}
    return {
        "data": {
            "src": "en",
            "tgt": "fr",
            "train": [str(corpus / "train")],
            "valid": str(corpus / "valid"),
            "test": [str(corpus / "test")],
            "max_length": 100,
        },
        "tokenizer": {"type": "unigram"},
        "model": {**sizes, **model},
        "train": {
            "batch_tokens": 1536,
            "lr": 2e-3,
            "schedule": "linear",
            "max_epochs": epochs,
            "validate_every": 1000,
        },
    }


def lines_of(files: list[Path]) -> list[str]:
    """Return the lines of files, one after the other."""
    return [line for file in files for line in file.read_text(encoding="utf-8").split("\n")[:-1]]


def by_bucket(src: list[str], hyp: list[str], ref: list[str]) -> list[float | None]:
    """Return the BLEU (13a) of each bucket of source words; None where it has too few lines."""
    scores: list[float | None] = []
    for low, high in BUCKETS:
        chosen = [i for i, line in enumerate(src) if low <= len(line.split()) <= high]
        if len(chosen) < LEAST_LINES:
            scores.append(None)
            continue
        bleu = BLEU().corpus_score([hyp[i] for i in chosen], [[ref[i] for i in chosen]])
        scores.append(float(bleu.score))
    return scores


def plot(file: Path, scores: dict[str, list[float | None]]) -> None:
    """Draw one line a model over the buckets."""
    figure = Figure(figsize=(6, 4))
    axes = figure.add_subplot()
    for name, values in scores.items():
        points = [(high, v) for (_, high), v in zip(BUCKETS, values, strict=True) if v is not None]
        axes.plot(*zip(*points, strict=True), marker="o", label=name)
    axes.set_xlabel("source words, up to")
    axes.set_ylabel("BLEU (13a)")
    axes.set_ylim(bottom=0)
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(file, dpi=150, bbox_inches="tight")


def main() -> None:
    """Train the three, score their buckets, draw and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("work", type=Path)
    parser.add_argument("plot", type=Path)
    parser.add_argument("--corpus", type=Path, default=DEMO)
    parser.add_argument("--gold", type=Path)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    corpus = args.corpus.resolve()
    names = ["test", "long"] if corpus == DEMO else ["test"]
    src, ref = (lines_of([corpus / f"{n}.{side}" for n in names]) for side in ("en", "fr"))
    scores: dict[str, list[float | None]] = {}
    errors: dict[str, float] = {}
    spent = 0.0
    for name, model in MODELS.items():
        run = train(config_of(corpus, model, args.epochs), args.work.resolve() / name, args.threads)
        spent += minutes(run)
        scores[name] = by_bucket(src, translate(run, src), ref)
        if args.gold and name != "none":
            texts = [args.gold / f"hansards_test.{end}" for end in ("en", "fr", "align")]
            errors[name] = aer(run, *texts)
    plot(args.plot, scores)
    print(f"Commit {commit()}, seed 1, {args.epochs} epochs, {spent:.0f} minutes, beam 5.\n")
    print("| model |", " | ".join(f"{low}-{high}" for low, high in BUCKETS), "| last / first |")
    print("|---|" + "---|" * (len(BUCKETS) + 1))
    for name, values in scores.items():
        defined = [v for v in values if v is not None]
        cells = " | ".join("" if v is None else f"{v:.2f}" for v in values)
        share = f"{defined[-1] / defined[0]:.2f}" if defined and defined[0] else ""
        print(f"| {name} | {cells} | {share} |")
    for name, error in errors.items():
        print(f"\nAER of {name} on the Hansards: {error:.3f}")


if __name__ == "__main__":
    main()
