"""What a peer's process needs to run a pre-norm Transformer of ours beside us (see decoding.py).

Each peer is a script that decoding.py starts in the Python that has the peer:

    PYTHON benchmarks/peers/run_PEER.py MODEL.safetensors PIECES HEADS SRC THREADS

PIECES holds our vocabulary, a piece a line; SRC the source in pieces, each line ending in eos.
The script answers `beam batch` lines on stdin with JSON: seconds, translations, peak memory in MB.
"""

from __future__ import annotations

import json
import logging
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file

Named = dict[str, torch.Tensor]


class Weights:
    """The weights of a pre-norm run, for a peer that interleaves sines and cosines.

    We set them side by side, so everything of the model's width is permuted; no result changes.
    """

    def __init__(self, file: str) -> None:
        self.ours = load_file(file)
        self.width = self.ours["encoder_norm.weight"].numel()
        self.d_ff = self.ours["encoder.0.feed_forward.into.weight"].size(0)
        self.order = torch.arange(self.width).view(2, -1).t().flatten()  # sine 0, cosine 0, ...

    def layers(self, side: str) -> int:
        """Return the number of the encoder's or decoder's layers."""
        count = 0
        while f"{side}.{count}.feed_forward.into.weight" in self.ours:
            count += 1
        return count

    @property
    def embedding(self) -> torch.Tensor:
        """The V x D embeddings, which are the output's weights too."""
        return self.ours["src.embedding.weight"][:, self.order]

    @property
    def output_bias(self) -> torch.Tensor:
        """The V biases of the output."""
        return self.ours["output.bias"]

    def norm(self, theirs: str, ours: str) -> Named:
        """Return a layer norm under the peer's name."""
        return {f"{theirs}.{p}": self.ours[f"{ours}.{p}"][self.order] for p in ("weight", "bias")}

    def linear(self, theirs: str, ours: str, reads: bool, writes: bool) -> Named:
        """Return a linear map that reads or writes vectors of the model's width, or both."""
        weight = self.ours[f"{ours}.weight"]
        bias = self.ours.get(f"{ours}.bias", torch.zeros(weight.size(0)))
        weight = weight[:, self.order] if reads else weight
        return {
            f"{theirs}.weight": weight[self.order] if writes else weight,
            f"{theirs}.bias": bias[self.order] if writes else bias,
        }

    def attention(self, ours: str, query: str, key: str, value: str, output: str) -> Named:
        """Return an attention block under the peer's four names."""
        found = self.linear(output, f"{ours}.output", reads=False, writes=True)
        for theirs, part in ((query, "query"), (key, "key"), (value, "value")):
            found |= self.linear(theirs, f"{ours}.{part}", reads=True, writes=False)
        return found

    def feed_forward(self, ours: str, norm: str, into: str, out: str) -> Named:
        """Return a feed-forward net and the norm before it under the peer's names."""
        return {
            **self.norm(norm, f"{ours}_sum.norm"),
            **self.linear(into, f"{ours}.into", reads=True, writes=False),
            **self.linear(out, f"{ours}.out", reads=False, writes=True),
        }


class Given:
    """The command line of a peer's script."""

    def __init__(self) -> None:
        file, vocabulary, heads, src, threads = sys.argv[1:]
        torch.set_num_threads(int(threads))
        logging.disable()
        self.weights = Weights(file)
        self.pieces = Path(vocabulary).read_text(encoding="utf-8").split("\n")[:-1]
        self.heads = int(heads)
        self.src = src
        self.lines = Path(src).read_text(encoding="utf-8").split("\n")[:-1]


def text_of(pieces: str) -> str:
    """Return the text of pieces with spaces between them."""
    return pieces.replace(" ", "").replace("\u2581", " ").strip()


def serve(prepare: Callable[[int, int], Callable[[], list[str]]]) -> None:
    """Answer; `prepare(beam, batch)` returns what is timed, which returns translations."""
    print("ready", flush=True)
    for asked in sys.stdin:
        beam, batch = map(int, asked.split())
        translate = prepare(beam, batch)
        begin = time.perf_counter()
        found = translate()
        seconds = time.perf_counter() - begin
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"seconds": seconds, "found": found, "peak": peak}), flush=True)
