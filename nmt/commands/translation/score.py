"""`nmt score`: how likely a model finds given translations."""

from __future__ import annotations

import json
import math
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from nmt.core import files
from nmt.core.logging import say, show_progress
from nmt.core.outputs import check_outputs
from nmt.data.text.reader import chunks, count_lines, read_pairs
from nmt.decoding.loading import load_translator, open_models

WINDOW = 1000
"""Pairs scored together."""


def run(
    src: Path | None,
    tgt: Path,
    models: list[Path],
    output: Path | None,
    as_json: bool,
    overrides: list[str],
    device: str,
    progress: bool = False,
) -> None:
    """Write, for each line of `tgt`, its log-probability, that a token, and its perplexity.

    Tokens are the pieces and the end of the line; logarithms are natural.
    """
    check_outputs({"-o": output}, [src, tgt])
    first, *others = open_models(models, overrides)
    translator = load_translator(*first, device, ensemble_with=others)
    total, tokens = 0.0, 0
    with ExitStack() as stack:
        sink: BinaryIO = sys.stdout.buffer
        if output:
            sink = stack.enter_context(files.open_atomic(output))
        if progress or output or not sys.stdout.isatty():
            translator.progress = stack.enter_context(
                show_progress("scoring", count_lines(tgt), always=progress, unit="pairs")
            )
        for number, window in enumerate(chunks(read_pairs(src, tgt), WINDOW)):
            for forced in translator.score_pairs(window, number * WINDOW):
                mean = forced.log_prob / forced.tokens
                sink.write(_row(forced.log_prob, mean, forced.tokens, as_json).encode())
                total, tokens = total + forced.log_prob, tokens + forced.tokens
            sink.flush()
    for message in translator.statistics.pair_messages("scored"):
        say(message)
    if tokens:
        say(
            f"{tokens} tokens, log-probability {total / tokens:.4f} a token, "
            f"perplexity {perplexity(total / tokens):.4f}"
        )


def _row(log_prob: float, mean: float, tokens: int, as_json: bool) -> str:
    if not as_json:
        return f"{log_prob:.4f}\t{mean:.4f}\t{perplexity(mean):.4f}\n"
    its = perplexity(mean)
    content = {
        "log_prob": round(log_prob, 4),
        "log_prob_token": round(mean, 4),
        "perplexity": round(its, 4) if math.isfinite(its) else None,
        "tokens": tokens,
    }
    return json.dumps(content) + "\n"


def perplexity(mean: float) -> float:
    """Return the perplexity of a log-probability a token; infinite where it is too large."""
    return math.exp(-mean) if mean > -700 else math.inf
