"""Functions that train a model of another toolkit for comparison (see ../training.py).

Each peer is a script that training.py starts in the Python that has the peer:

    PYTHON benchmarks/peers/train_PEER.py SETTING.json BATCHES.safetensors

The script builds the model of the setting with the peer's own classes, loss and optimizer, and
answers a line `n` on stdin, after n more updates, with JSON: seconds, target tokens, the mean loss
a token of the last update, peak memory in MB. Only train_ours.py and train_transformers.py go by
`device`.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file


class Batch(NamedTuple):
    """One update, the same for all systems."""

    src: torch.Tensor
    """B x S, each row ended by eos, then pad."""
    src_len: torch.Tensor
    """B."""
    tgt: torch.Tensor
    """B x (T + 1): bos, tokens, eos, then pad."""

    def tokens(self, pad: int) -> int:
        """Return the real target tokens, eos included and bos not."""
        return int((self.tgt[:, 1:] != pad).sum())


def read_arguments() -> tuple[dict[str, Any], Iterator[Batch]]:
    """Return the setting and the batches, over and over, of the command line."""
    setting = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(setting["threads"])
    torch.manual_seed(1)
    stored = load_file(sys.argv[2])
    batches = [
        Batch(*(stored[f"{name}.{i}"] for name in Batch._fields))
        for i in range(len(stored) // len(Batch._fields))
    ]
    return setting, cycle(batches)


def pieces(setting: dict[str, Any], **renamed: str) -> list[str]:
    """Return a vocabulary with special pieces at our positions; `renamed` changes their names."""
    names = {"pad": "<pad>", "unk": "<unk>", "bos": "<s>", "eos": "</s>"} | renamed
    vocabulary = [f"piece{i}" for i in range(setting["vocab_size"])]
    for name, piece in names.items():
        vocabulary[setting[name]] = piece
    return vocabulary


def serve(
    setting: dict[str, Any],
    batches: Iterator[Batch],
    update: Callable[[Batch, int], float | torch.Tensor],
    share: Callable[[list[Batch], float], float] | None = None,
) -> None:
    """Answer requests; `update` takes a batch and its target tokens and returns its summed loss.

    `share` returns the model FLOPs utilization of the batches in the given number of seconds.
    """
    first = next(batches)
    update(first, first.tokens(setting["pad"]))
    print("ready", flush=True)
    for request in sys.stdin:
        chosen = [next(batches) for _ in range(int(request))]
        tokens = [batch.tokens(setting["pad"]) for batch in chosen]
        begin = time.perf_counter()
        for batch, count in zip(chosen, tokens, strict=True):
            loss = update(batch, count)
        loss = float(loss) / tokens[-1]  # waits for the device
        seconds = time.perf_counter() - begin
        answer = {"seconds": seconds, "tokens": sum(tokens), "loss": loss, "peak": peak_mb()}
        if share is not None:
            answer["ceiling_share"] = share(chosen, seconds)
        print(json.dumps(answer), flush=True)


def peak_mb() -> float:
    """Return the most memory used so far: of the GPU where one is used, else of this process."""
    if torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def update_of(
    optim: Any, measure: Callable[[Batch], tuple[torch.Tensor, Any]]
) -> Callable[[Batch, int], float]:
    """Return an update of OpenNMT-py or eole: their optimizer, and their loss with its sums."""

    def update(batch: Batch, tokens: int) -> float:
        optim.zero_grad(set_to_none=True)
        loss, stats = measure(batch)
        optim.backward(loss / tokens)
        optim.step()
        return float(stats.loss)

    return update
