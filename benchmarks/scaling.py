"""The efficiency that data parallel training can have on many GPUs, from a step and the links.

    python benchmarks/scaling.py --parameters 213e6 --step 0.067 [--node 8]
        [--within 450] [--between 50] [--latency 2e-5]

An update of `--step` seconds on one GPU, of which two thirds are the backward pass. Gradients of
four bytes a parameter are summed by rings, within a node at `--within` GB/s a GPU, between nodes at
`--between`; each hop costs `--latency` seconds for each bucket of 25 MB. All but the last bucket
can hide behind the backward pass. Prints Markdown.
"""

from __future__ import annotations

import argparse
import math

BUCKET = 25e6
"""Bytes; DistributedDataParallel's own."""


def all_reduce_seconds(gpus: int, arguments: argparse.Namespace) -> tuple[float, float]:
    """Return the seconds of the all-reduce over `gpus` GPUs, in total and for one bucket."""
    total = 4 * arguments.parameters
    speed = (arguments.within if gpus <= arguments.node else arguments.between) * 1e9
    nodes = max(1, gpus // arguments.node)
    hops = 2 * (gpus - 1 if gpus <= arguments.node else nodes - 1 + arguments.node - 1)
    buckets = math.ceil(total / BUCKET)
    moved = 2 * total * (gpus - 1) / gpus / speed
    total_seconds = moved + hops * arguments.latency * buckets
    return total_seconds, total_seconds / buckets


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parameters", type=float, default=213e6)
    parser.add_argument("--step", type=float, default=0.067)
    parser.add_argument("--tokens", type=float, default=25_000, help="target tokens a GPU and step")
    parser.add_argument("--node", type=int, default=8)
    parser.add_argument("--within", type=float, default=450.0)
    parser.add_argument("--between", type=float, default=50.0)
    parser.add_argument("--latency", type=float, default=2e-5)
    arguments = parser.parse_args()
    print("| GPUs | all-reduce | exposed | efficiency | tokens per step |")
    print("|---|---|---|---|---|")
    for gpus in (2, 8, 64, 512):
        total_seconds, bucket = all_reduce_seconds(gpus, arguments)
        exposed = max(bucket, total_seconds - 2 / 3 * arguments.step)
        share = arguments.step / (arguments.step + exposed)
        print(
            f"| {gpus} | {1e3 * total_seconds:.1f} ms | {1e3 * exposed:.1f} ms | {share:.0%} "
            f"| {gpus * arguments.tokens:,.0f} |"
        )


if __name__ == "__main__":
    main()
