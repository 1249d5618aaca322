"""`nmt rerank`: n-best lists ranked anew by other models."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import numpy as np

from nmt import files
from nmt.configfile import load_config
from nmt.data.text import chunks, read_lines
from nmt.decoding.load import load_translator, require_tags
from nmt.errors import ConfigError, DataError
from nmt.evaluation.metrics import make_metrics, statistics
from nmt.evaluation.rerank import (
    LENGTH,
    Entry,
    features_of,
    ranked,
    read_nbest,
    read_weights,
    tune,
    write_weights,
)
from nmt.log import say
from nmt.rundir import open_run

WINDOW = 1000
"""Pairs scored together."""


def run(
    nbest: Path,
    src: Path,
    models: list[Path],
    reverse: list[Path],
    weights: Path | None,
    tuned: Path | None,
    ref: Path | None,
    tgt_lang: str,
    keep: int,
    output: Path | None,
    overrides: list[str],
    device: str,
) -> None:
    """Rank each line's hypotheses by the weights, or find weights (`tuned`) by a reference."""
    if (weights is None) == (tuned is None):
        raise ConfigError(["--weights and --tune: give one of them"])
    if (ref is None) != (tuned is None):
        raise ConfigError(["--tune and --ref: one needs the other"])
    lists = read_nbest(nbest)
    sources = list(read_lines(src))
    if len(sources) != len(lists):
        raise DataError(f"{nbest}: has lists of {len(lists)} lines, {src} has {len(sources)}")
    names = [
        *(f"model {number}" for number in range(1, len(models) + 1)),
        *(f"reverse {number}" for number in range(1, len(reverse) + 1)),
        LENGTH,
    ]
    known = None if weights is None else read_weights(weights, names)
    references = list(read_lines(ref)) if ref else []
    if ref and len(references) != len(lists):
        raise DataError(f"{ref}: has {len(references)} lines, {src} has {len(sources)}")
    pairs = [
        (source, entry.text) for source, its in zip(sources, lists, strict=True) for entry in its
    ]
    columns = [
        *(_log_probs(model, pairs, overrides, device) for model in models),
        *(
            _log_probs(model, [(text, source) for source, text in pairs], overrides, device)
            for model in reverse
        ),
    ]
    features = list(features_of(lists, columns))
    scores = [[entry.score for entry in its] for its in lists]
    if known is not None:
        orders = [ranked(*its, known) for its in zip(scores, features, strict=True)]
        _write(lists, orders, keep, output)
        return
    assert tuned is not None
    if not lists:
        raise DataError(f"{nbest}: must hold lists to tune on, is empty")
    metrics = make_metrics(tgt_lang)
    wanted = [ref for ref, its in zip(references, lists, strict=True) for _ in its]
    [found] = statistics({"bleu": metrics["bleu"]}, [[text for _, text in pairs]], [wanted])
    ends = np.cumsum([len(its) for its in lists])[:-1]
    result = tune(scores, features, np.split(found["bleu"], ends))
    write_weights(tuned, names, result)
    told = ", ".join(f"{name} {w:.4f}" for name, w in zip(names, result.weights, strict=True))
    say(f"BLEU {result.before:.2f} -> {result.after:.2f}; {told}")
    say(f"wrote {tuned}")


def _log_probs(
    model: Path, pairs: list[tuple[str, str]], overrides: list[str], device: str
) -> list[float]:
    """Return the log-probability of each pair's target by the model of a run."""
    run_dir = open_run(model)
    config = load_config(run_dir.config, overrides)
    require_tags(config)
    translator = load_translator(run_dir, config, device)
    say(f"{model}: scoring {len(pairs)} pairs")
    return [
        forced.log_prob for window in chunks(pairs, WINDOW) for forced in translator.force(window)
    ]


def _write(
    lists: list[list[Entry]], orders: list[list[int]], keep: int, output: Path | None
) -> None:
    with ExitStack() as stack:
        sink: BinaryIO = sys.stdout.buffer
        if output:
            sink = stack.enter_context(files.open_atomic(output))
        for line in _lines(lists, orders, keep):
            sink.write(line.encode())


def _lines(lists: list[list[Entry]], orders: list[list[int]], keep: int) -> Iterator[str]:
    """Yield the best of each list, or the `keep` best as an n-best list with their old scores."""
    for number, (its, order) in enumerate(zip(lists, orders, strict=True)):
        best = [its[place] for place in order[:keep]]
        if keep == 1:
            yield f"{best[0].text}\n"
        else:
            yield from (f"{number} ||| {each.text} ||| {each.score:.4f}\n" for each in best)
