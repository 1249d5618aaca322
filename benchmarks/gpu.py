"""Measure training and decoding on one GPU in a few minutes, training beside transformers.

    python benchmarks/gpu.py [--device cuda] [--settings big ...] [--rounds 3] [--updates 10]
        [--tiny]

`ours` is compiled with torch.compile, as `train.compile: on` does. `transformers` runs if it is
installed. `scripts/gpu-check` calls this script.

The Transformer in the sizes base and big of Vaswani et al. 2017; an LSTM with attention as large
as GNMT's (Wu et al. 2016: width 1,024, four layers), with and without input feeding; the widths of
the shipped Multi30k configs, with a vocabulary of 8,000. bf16, batches of random pieces with the
lengths of WMT sentences, the same for all. Prints Markdown: target tokens/s, ratio to the peer,
peak memory on the device, and the share of the rate of plain bf16 matrix products, measured in the
same run. Then the base Transformer decodes with beam 5. `--tiny` runs the same in a size for which
a CPU will do and without compilation, to see that it runs.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gpu_readiness import BEAM, build, make_config, make_search, narrow
from training import COMMON, HERE, LUONG, TRANSFORMER, System, compare, print_header, write_batches

from nmt.decoding.constraints.lexical_constraints import LexicalConstraints
from nmt.decoding.search.request_queue import Request, RequestQueue
from nmt.models.interface import evaluation_mode
from nmt.models.quantization import convert_weights

WMT = {**COMMON, "vocab_size": 32000}
GNMT = {**LUONG, **WMT, "d_embed": 1024, "d_hidden": 1024, "num_layers": 4}
SETTINGS: dict[str, dict[str, Any]] = {
    "base": {**TRANSFORMER, **WMT, "d_model": 512, "d_ff": 2048, "num_heads": 8, "num_layers": 6},
    "big": {**TRANSFORMER, **WMT, "d_model": 1024, "d_ff": 4096, "num_heads": 16, "num_layers": 6},
    "GNMT": {**GNMT, "input_feeding": False},
    "GNMT, input feeding": {**GNMT, "input_feeding": True},
    "Multi30k Transformer": TRANSFORMER,
    "Multi30k luong": {**LUONG, "score": "additive", "d_hidden": 384, "input_feeding": False},
}
BATCH_TOKENS = 25_000
PAIRS = 40_000
MEAN_LENGTH, LONGEST = 27, 100
"""Of WMT sentences in pieces, about."""
DECODING_BATCH = 256
"""Sentences that are decoded together."""


def lengths() -> list[Any]:
    """Return source and target lengths of PAIRS pairs, including eos."""
    rng = np.random.default_rng(1)
    src = rng.gamma(3.0, MEAN_LENGTH / 3, PAIRS)
    tgt = src * rng.normal(1.0, 0.15, PAIRS)
    return [side.clip(2, LONGEST).astype(np.int64) for side in (src, tgt)]


def measure_decoding(setting: dict[str, Any], device: str, sentences: int) -> str:
    """Decode with random weights in bf16; return the speed in words.

    Such a model almost never predicts eos, so each translation has its maximum length. This is the
    length of a target sentence of WMT.
    """
    target = torch.device(device)
    config = make_config(setting)
    src_lengths, tgt_lengths = (side[:sentences].tolist() for side in lengths())
    vocab_size = setting["vocab_size"]
    rng = np.random.default_rng(2)
    requests = [
        Request(
            index,
            rng.integers(4, vocab_size, src_length - 1).tolist(),
            LexicalConstraints(),
            tgt_length,
        )
        for index, (src_length, tgt_length) in enumerate(zip(src_lengths, tgt_lengths, strict=True))
    ]
    torch.manual_seed(1)
    model = build(config, vocab_size, device)
    convert_weights(model, "bf16")
    search = make_search(model, config, target)
    with evaluation_mode(model):
        for part in (requests[:DECODING_BATCH], requests):  # the first is to warm up
            queue = RequestQueue(part, DECODING_BATCH, 10**6)
            start = time.perf_counter()
            search.run(queue)
            seconds = time.perf_counter() - start
    tokens = sum(len(hypotheses[0].tokens) for hypotheses in queue.results.values())
    return (
        f"Decoding, beam {BEAM}, batches of {DECODING_BATCH} sentences: "
        f"{tokens / seconds:,.0f} target tokens/s ({tokens:,} tokens in {seconds:.1f} s)"
    )


def main() -> None:
    """Run all settings, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--settings", nargs="+", default=list(SETTINGS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--updates", type=int, default=10)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--tiny", action="store_true")
    arguments = parser.parse_args()
    name = torch.cuda.get_device_name() if arguments.device == "cuda" else arguments.device
    commit = subprocess.run(
        ["git", "-C", str(HERE), "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    date = f"{datetime.now(UTC):%Y-%m-%d}"
    print(f"{name}, torch {torch.__version__}, commit {commit or 'unknown'}, {date}\n")
    print_header()
    common = {"threads": arguments.threads, "device": arguments.device, "precision": "bf16"}
    batch_tokens = BATCH_TOKENS // 50 if arguments.tiny else BATCH_TOKENS
    with tempfile.TemporaryDirectory() as folder:
        for title in arguments.settings:
            setting = SETTINGS[title] | common
            if arguments.tiny:
                setting = narrow(setting)
            batches = Path(folder) / "batches.safetensors"
            write_batches(lengths(), setting["vocab_size"], batch_tokens, batches)
            plain = System(sys.executable, "train_ours.py", setting, str(HERE))
            compiled = plain._replace(setting=setting | {"compile": True})
            systems = {"ours": plain}
            if not arguments.tiny:
                systems = {"ours": compiled, "ours, not compiled": plain}
            if setting["arch"] == "transformer" and find_spec("transformers"):
                peer = System(sys.executable, "train_transformers.py", setting)
                systems["transformers"] = peer
            compare(title, systems, batches, arguments.rounds, arguments.updates)
    print()
    base = SETTINGS["base"]
    base = narrow(base) if arguments.tiny else base
    print(measure_decoding(base, arguments.device, 8 if arguments.tiny else 2048))


if __name__ == "__main__":
    main()
