"""Count the lines with a translation that depends on the other lines of the input.

    python benchmarks/same_lines.py RUN SRC [--lines 1000] [--beams 1 5]

Translates with continuous batches of 64, then with batches of 1, 7 and 64, shuffled, and not
continuous. A line may differ only if the scores of two candidates differ by less than 1e-4, the
rounding of fp32; these lines are counted and printed. Other differences end with exit code 1.
"""

from __future__ import annotations

import argparse
import random
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

from nmt.config.loader import load_config
from nmt.core.run_dir import open_run
from nmt.decoding.engines.torch_engine import TorchEngine
from nmt.decoding.loading import load_engine
from nmt.decoding.search.hypothesis import Hypothesis

CLOSE = 1e-4
VARIANTS: dict[str, dict[str, Any]] = {
    "batches of 1": {"batch_size": 1},
    "batches of 7": {"batch_size": 7},
    "batches of 7, not continuous": {"batch_size": 7, "continuous": False},
    "batches of 64, not continuous": {"continuous": False},
    "batches of 64, shuffled": {"shuffled": True},
}


def search(
    engine: TorchEngine, sources: list[list[int]], changes: dict[str, Any]
) -> list[Hypothesis]:
    """Return the best hypothesis of each source with changed settings."""
    options = dict(changes)
    order = list(range(len(sources)))
    if options.pop("shuffled", False):
        random.Random(1).shuffle(order)
    usual = engine.settings
    engine.settings = usual.model_copy(update=options)
    results = engine.search([sources[i] for i in order])
    engine.settings = usual
    best = dict(zip(order, (hypotheses[0] for hypotheses in results), strict=True))
    return [best[i] for i in range(len(sources))]


def closest(engine: TorchEngine, source: list[int]) -> float:
    """Return the smallest score difference between a kept candidate and a dropped one.

    The source is searched alone; the finished hypotheses are compared too.
    """
    k, eos = engine.settings.beam_size, engine.tokenizers.tgt.eos
    _, steps = engine.trace_beam(source)
    gaps = []
    for step in steps:
        going = [c.log_prob for c in step if c.tokens[-1] != eos]
        for ranked in ([c.log_prob for c in step], going):
            if len(ranked) > k:
                gaps.append(ranked[k - 1] - ranked[k])
    hypotheses = engine.search([source], nbest=k)[0]
    gaps += [first.score - second.score for first, second in pairwise(hypotheses)]
    return min(gaps)


def main() -> None:
    """Compare all variants and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("src", type=Path)
    parser.add_argument("--lines", type=int, default=1000)
    parser.add_argument("--beams", type=int, nargs="+", default=[1, 5])
    args = parser.parse_args()
    run = open_run(args.run)
    lines = args.src.read_text(encoding="utf-8").split("\n")[: args.lines]
    failed = False
    print("| beam | against batches of 64 | lines that differ | of these near ties |")
    print("|---|---|---|---|")
    for beam in args.beams:
        engine = load_engine(run, load_config(run.config, [f"decode.beam_size={beam}"]), "cpu")
        sources = engine.tokenizers.src.encode(lines)
        usual = search(engine, sources, {})
        for name, changes in VARIANTS.items():
            variant = search(engine, sources, changes)
            pairs = enumerate(zip(usual, variant, strict=True))
            differ = [i for i, (first, second) in pairs if first.tokens != second.tokens]
            gaps = {i: closest(engine, sources[i]) for i in differ}
            near = [i for i in differ if gaps[i] < CLOSE]
            failed |= len(near) < len(differ)
            print(f"| {beam} | {name} | {len(differ)} of {len(lines)} | {len(near)} |", flush=True)
            for i in differ:
                print(f"line {i + 1}: closest {gaps[i]:.1e}: {lines[i]}", file=sys.stderr)
    sys.exit(int(failed))


if __name__ == "__main__":
    main()
