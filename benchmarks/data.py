"""The data path at scale: planning 100 million pairs, padding by shapes, preparing a corpus.

    python benchmarks/data.py plan [--pairs 100000000]
    python benchmarks/data.py padding NAME=SRC,TGT ... [--model SENTENCEPIECE]
    python benchmarks/data.py prepare SRC TGT --model SENTENCEPIECE [--rounds 3] [--repeat 1]

SRC and TGT are text files, plain or compressed. `prepare` takes turns with SentencePiece's own
batch encoder on the same lines and cores: once with all lines in one call, once in calls of 10,000,
which is faster. Peak memory is the sum over our processes of what each holds for itself.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import sentencepiece

from nmt.data.batching.batches import plan_batches
from nmt.data.batching.buckets import (
    WeightedLengths,
    choose_shapes,
    choose_unlimited_shapes,
    length_histogram,
)
from nmt.data.batching.epochs import WINDOW, EpochPlanner
from nmt.data.text.reader import read_lines
from nmt.data.tokenizer.tokenizer import Tokenizer

BATCH_TOKENS = 4096
MAX_LENGTH = 200


class Synthetic:
    """A corpus of which there are only lengths: log-normal, both sides alike."""

    aligned = False

    def __init__(self, pairs: int) -> None:
        rng = np.random.default_rng(1)
        self._lengths = {side: np.empty(pairs, np.uint8) for side in ("src", "tgt")}
        for start in range(0, pairs, 2**20):
            size = min(2**20, pairs - start)
            common = rng.normal(3.1, 0.6, size)
            for own in self._lengths.values():
                drawn = np.exp(common + rng.normal(0, 0.2, size)).clip(1, MAX_LENGTH)
                own[start : start + size] = drawn.astype(np.uint8)
        self.sizes = [pairs]

    def lengths(self, side: str, rows: np.ndarray | None = None) -> np.ndarray:
        own = self._lengths[side]
        return (own if rows is None else own[rows]).astype(np.int64)

    def total(self, key: str) -> int:
        return int(self._lengths[key.removesuffix("_tokens")].sum(dtype=np.int64))


def plan(pairs: int) -> None:
    """Plan the first window of an epoch, then some more."""
    corpus = Synthetic(pairs)
    begin = time.perf_counter()
    epochs = EpochPlanner(corpus, 1, BATCH_TOKENS)  # type: ignore[arg-type]
    first = epochs.plan_window(0, 0)
    seconds = time.perf_counter() - begin
    print(f"{pairs:,} pairs, {epochs.num_windows} windows: the first batch after {seconds:.1f} s")
    begin = time.perf_counter()
    for number in range(1, 11):
        epochs.plan_window(0, number)
    window_seconds = (time.perf_counter() - begin) / 10
    print(f"a window of {len(first.batches)} batches: {window_seconds:.2f} s")
    print(f"an epoch: {window_seconds * epochs.num_windows:.0f} s")
    begin = time.perf_counter()
    epochs.plan_window(7, epochs.num_windows - 1)
    print(f"the last window of epoch 8, from nothing: {time.perf_counter() - begin:.2f} s")
    print(f"peak memory {own_memory(Path('/proc/self/status'), 'VmHWM') / 2**20:.2f} GiB")


def padding(texts: list[str], model: Path) -> None:
    """Print the share of padding of a whole epoch, with 16 shapes, with 64 and with any number."""
    tokenizer = Tokenizer.load(model) if model else None
    print("| corpus | pairs | shapes | target | source | both |\n|---|---|---|---|---|---|")
    for text in texts:
        name, files = text.split("=")
        lines = [list(read_lines(Path(file))) for file in files.split(",")]
        used = tokenizer or trained(lines)
        src, tgt = (np.array([len(row) + 1 for row in used.encode_arrays(side)]) for side in lines)
        fits = np.maximum(src, tgt) <= MAX_LENGTH + 1
        order = np.random.default_rng(1).permutation(np.flatnonzero(fits))
        counts = length_histogram([WeightedLengths(src[order], tgt[order], 1.0)])
        windows = max(1, round(tgt[order].sum() / BATCH_TOKENS / WINDOW))
        for max_shapes in (16, 64, None):
            shapes = choose_unlimited_shapes(counts, BATCH_TOKENS, windows)
            if max_shapes is not None:
                shapes = choose_shapes(counts, max_shapes)
            distinct, padded = set(), np.zeros(2)
            for rows in np.array_split(order, windows):
                for b in plan_batches(
                    src[rows], tgt[rows], BATCH_TOKENS, shapes, max_shapes is None
                ):
                    distinct.add((b.src_length, b.tgt_length))
                    padded += len(b.rows) * np.array([b.src_length, b.tgt_length])
            real = np.array([src[order].sum(), tgt[order].sum()])
            parts = [(real[1], padded[1]), (real[0], padded[0]), (real.sum(), padded.sum())]
            limit = "any" if max_shapes is None else str(max_shapes)
            row = " | ".join(f"{1 - tokens / places:.1%}" for tokens, places in parts)
            print(f"| {name} | {len(order):,} | {limit} ({len(distinct)}) | {row} |", flush=True)


def trained(lines: list[list[str]]) -> Tokenizer:
    """Return a joint unigram model of 8,000 pieces."""
    from nmt.config.sections.tokenizer import TokenizerConfig
    from nmt.data.tokenizer.training import train_tokenizer

    config = TokenizerConfig(vocab_size=8000)
    return Tokenizer(train_tokenizer([line for side in lines for line in side], config, True, "x"))


def own_memory(status: Path, key: str) -> int:
    """Return a figure of /proc/PID/status, in KiB."""
    for line in status.read_text().split("\n"):
        if line.startswith(f"{key}:"):
            return int(line.split()[1])
    return 0


class Watch(threading.Thread):
    """Samples the memory that a process and its children hold, each page once."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid, self.peak, self.over = pid, 0, False

    def run(self) -> None:
        while not self.over:
            total = 0
            for pid in [self.pid, *children(self.pid)]:
                try:
                    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
                except OSError:
                    continue
                total += sum(
                    int(row.split()[1]) for row in text.split("\n") if row.startswith("Pss:")
                )
            self.peak = max(self.peak, total)
            time.sleep(0.2)


def children(pid: int) -> list[int]:
    """Return the processes below a process."""
    try:
        own = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [int(child) for child in own] + [c for child in own for c in children(int(child))]


def prepare(src: Path, tgt: Path, model: Path, rounds: int, repeat: int) -> None:
    """Take turns: `nmt prepare`, SentencePiece's batch encoder in one call and in many."""
    processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        train = [{"src": str(src.resolve()), "tgt": str(tgt.resolve())}] * repeat
        for side, file in (("en", src), ("fr", tgt)):
            lines = list(read_lines(file))[:100]
            (folder / f"valid.{side}").write_text("".join(f"{line}\n" for line in lines))
        data = {"src": "en", "tgt": "fr", "train": train, "valid": str(folder / "valid")}
        config = folder / "a.yaml"
        config.write_text(json.dumps({"data": data, "tokenizer": {"model": str(model.resolve())}}))
        run = folder / "r"
        command = [sys.executable, "-m", "nmt", "prepare", str(config), "--run", str(run)]
        for _ in range(rounds):
            seconds, peak = timed(command)
            again, _ = timed(command)
            metas = [json.loads(file.read_text()) for file in run.glob("corpus/train/*/meta.json")]
            pairs = sum(meta["pairs"] for meta in metas)
            shutil.rmtree(run)
            rate = f"{1e6 * seconds / pairs:.2f} us per pair, peak {peak / 2**20:.2f} GiB"
            print(f"nmt prepare: {pairs:,} pairs in {seconds:.1f} s, {rate}; again {again:.2f} s")
            for chunk in (None, 10_000) if repeat == 1 else ():
                spent = sum(
                    encoding(processor, list(read_lines(file)), chunk) for file in (src, tgt)
                )
                ratio = f"ours {spent / seconds:.2f} times as fast"
                print(f"SentencePiece, {chunk or 'all'} lines a call: {spent:.1f} s, {ratio}")


def encoding(
    processor: sentencepiece.SentencePieceProcessor, lines: list[str], chunk: int | None
) -> float:
    """Return the seconds of SentencePiece's batch encoder on all cores."""
    size = chunk or len(lines)
    begin = time.perf_counter()
    for start in range(0, len(lines), size):
        processor.encode(lines[start : start + size], num_threads=os.cpu_count())
    return time.perf_counter() - begin


def timed(command: list[str]) -> tuple[float, int]:
    """Run a command; return its seconds and the peak memory of its processes in KiB."""
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    watch = Watch(process.pid)
    watch.start()
    if process.wait():
        raise SystemExit(f"{' '.join(command)}: exit code {process.returncode}")
    seconds = time.perf_counter() - begin
    watch.over = True
    watch.join()
    return seconds, watch.peak


def main() -> None:
    """Read the command line."""
    raw = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parts = parser.add_subparsers(dest="part", required=True)
    subparser = parts.add_parser("plan")
    subparser.add_argument("--pairs", type=int, default=100_000_000)
    subparser = parts.add_parser("padding")
    subparser.add_argument("texts", nargs="+")
    subparser.add_argument("--model", type=Path)
    subparser = parts.add_parser("prepare")
    subparser.add_argument("src", type=Path)
    subparser.add_argument("tgt", type=Path)
    subparser.add_argument("--model", type=Path, required=True)
    subparser.add_argument("--rounds", type=int, default=3)
    subparser.add_argument("--repeat", type=int, default=1)
    arguments = vars(parser.parse_args())
    {"plan": plan, "padding": padding, "prepare": prepare}[arguments.pop("part")](**arguments)


if __name__ == "__main__":
    main()
