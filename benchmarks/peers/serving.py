"""Functions that run our pre-norm Transformer in another toolkit (see decoding.py).

decoding.py starts one script per toolkit in its Python environment:

    PYTHON benchmarks/peers/run_PEER.py MODEL.safetensors PIECES HEADS SRC THREADS

PIECES contains our vocabulary, one piece per line. SRC contains the source as pieces with eos.
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
from typing import NamedTuple

import torch
from safetensors.torch import load_file

Named = dict[str, torch.Tensor]


class Names(NamedTuple):
    """Names of the parameters of a toolkit; each name follows that of its layer or block."""

    encoder: str
    """A layer, with {} for its number."""
    decoder: str
    maps: tuple[str, str, str, str]
    """Query, key, value and output map of an attention block."""
    attention: tuple[str, str]
    """The encoder's attention block, and the norm before it."""
    past: tuple[str, str]
    """The same of the decoder's attention to its past."""
    cross: tuple[str, str]
    """The same of the decoder's attention to the source."""
    feed_forward: tuple[str, str, str]
    """The norm before the feed-forward net, and its two maps."""


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

    def layers_under(self, names: Names) -> Named:
        """Return all layers and the norms after the last under the peer's names."""
        model: Named = {}
        for side in ("encoder", "decoder"):
            model |= self.norm(f"{side}.layer_norm", f"{side}_norm")
        for i in range(self.layers("encoder")):
            theirs, ours = names.encoder.format(i), f"encoder.{i}"
            model |= self._attention(theirs, f"{ours}.attention", names.maps, names.attention)
            model |= self._feed_forward(theirs, f"{ours}.feed_forward", names.feed_forward)
        for i in range(self.layers("decoder")):
            theirs, ours = names.decoder.format(i), f"decoder.{i}"
            model |= self._attention(theirs, f"{ours}.past", names.maps, names.past)
            model |= self._attention(theirs, f"{ours}.cross", names.maps, names.cross)
            model |= self._feed_forward(theirs, f"{ours}.feed_forward", names.feed_forward)
        return model

    def _attention(
        self, theirs: str, ours: str, maps: tuple[str, ...], names: tuple[str, str]
    ) -> Named:
        block, norm = names
        *inward, outward = (f"{theirs}.{block}.{name}" for name in maps)
        weights = self.norm(f"{theirs}.{norm}", f"{ours}_sum.norm")
        weights |= self.linear(outward, f"{ours}.output", reads=False, writes=True)
        for name, part in zip(inward, ("query", "key", "value"), strict=True):
            weights |= self.linear(name, f"{ours}.{part}", reads=True, writes=False)
        return weights

    def _feed_forward(self, theirs: str, ours: str, names: tuple[str, str, str]) -> Named:
        norm, into, out = (f"{theirs}.{name}" for name in names)
        return {
            **self.norm(norm, f"{ours}_sum.norm"),
            **self.linear(into, f"{ours}.into", reads=True, writes=False),
            **self.linear(out, f"{ours}.out", reads=False, writes=True),
        }


class Arguments:
    """The command line of a script in this folder."""

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
    """Answer requests; `prepare(beam, batch)` returns the function to time, which translates."""
    print("ready", flush=True)
    for request in sys.stdin:
        beam, batch = map(int, request.split())
        translate = prepare(beam, batch)
        begin = time.perf_counter()
        translations = translate()
        seconds = time.perf_counter() - begin
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            json.dumps({"seconds": seconds, "translations": translations, "peak": peak}), flush=True
        )
