"""`nmt rerank`: n-best lists ranked anew by other models."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from nmt.config.loader import load_config
from nmt.core import files
from nmt.core.logging import say, show_progress
from nmt.core.outputs import check_outputs
from nmt.core.run_dir import open_model
from nmt.data.text.reader import chunks, read_lines
from nmt.decoding.loading import load_translator, require_tags
from nmt.errors import ConfigError, DataError
from nmt.evaluation.metrics import line_statistics, make_metrics
from nmt.evaluation.reranking import (
    LENGTH,
    Array,
    Entry,
    feature_matrices,
    rank,
    read_nbest,
    read_weights,
    tune_weights,
    write_weights,
)

WINDOW = 1000
"""Pairs scored together."""


@dataclass(frozen=True)
class Scorers:
    """What is looked at beside the score in a list."""

    models: list[Path]
    """Runs that score hypotheses."""
    reverse: list[Path]
    """Runs of the other direction, which score sources."""
    overrides: list[str]
    device: str

    @property
    def names(self) -> list[str]:
        """Return the names that weights have, one a feature."""
        kinds = {"model": self.models, "reverse": self.reverse}
        found = [f"{kind} {n}" for kind, its in kinds.items() for n in range(1, len(its) + 1)]
        return [*found, LENGTH]

    def features(self, sources: Sequence[str], lists: list[list[Entry]]) -> list[Array]:
        """Return n x F features for each line with its n hypotheses."""
        pairs = [
            (source, entry.text)
            for source, its in zip(sources, lists, strict=True)
            for entry in its
        ]
        turned = [(text, source) for source, text in pairs]
        columns = [
            *(self._log_probs(model, pairs) for model in self.models),
            *(self._log_probs(model, turned) for model in self.reverse),
        ]
        return list(feature_matrices(lists, columns))

    def _log_probs(self, model: Path, pairs: list[tuple[str, str]]) -> list[float]:
        """Return the log-probability of each pair's target by the model of a run."""
        run_dir = open_model(model)
        config = load_config(run_dir.config, self.overrides)
        require_tags(config)
        translator = load_translator(run_dir, config, self.device)
        what = f"{model}: scoring {len(pairs)} pairs"
        with show_progress(what, len(pairs), always=True, unit="pairs") as translator.progress:
            log_probs = [
                forced.log_prob
                for number, window in enumerate(chunks(pairs, WINDOW))
                for forced in translator.score_pairs(window, number * WINDOW)
            ]
        if translator.statistics.long_pairs:
            say(f"warning: {len(translator.statistics.long_pairs)} long pairs were scored in parts")
        return log_probs


def run(
    nbest: Path,
    src: Path,
    scorers: Scorers,
    weights: Path | None,
    tuned: Path | None,
    ref: Path | None,
    tgt_lang: str,
    keep: int,
    output: Path | None,
) -> None:
    """Rank each line's hypotheses by the weights, or find weights (`tuned`) by a reference."""
    if (weights is None) == (tuned is None):
        raise ConfigError(["--weights and --tune: give one of them"])
    if (ref is None) != (tuned is None):
        raise ConfigError(["--tune and --ref: one needs the other"])
    if tuned is not None and output is not None:
        raise ConfigError(["--tune and --output: give one of them; --tune writes weights only"])
    check_outputs({"-o": output, "--tune": tuned}, [nbest, src, weights, ref])
    lists = read_nbest(nbest)
    sources = list(read_lines(src))
    if len(sources) != len(lists):
        raise DataError(f"{nbest}: has lists of {len(lists)} lines, {src} has {len(sources)}")
    scores = [[entry.score for entry in its] for its in lists]
    if weights is not None:
        known = read_weights(weights, scorers.names)
        features = scorers.features(sources, lists)
        orders = [rank(*its, known) for its in zip(scores, features, strict=True)]
        _write(lists, orders, keep, output)
    elif tuned is not None and ref is not None:
        references = list(read_lines(ref))
        if len(references) != len(lists):
            raise DataError(f"{ref}: has {len(references)} lines, {src} has {len(sources)}")
        if not lists:
            raise DataError(f"{nbest}: expected n-best lists to tune on, got an empty file")
        stats = _bleu_statistics(lists, references, tgt_lang)
        found = tune_weights(scores, scorers.features(sources, lists), stats)
        write_weights(tuned, scorers.names, found)
        named = zip(scorers.names, found.weights, strict=True)
        told = ", ".join(f"{name} {weight:.4f}" for name, weight in named)
        say(f"BLEU {found.before:.2f} -> {found.after:.2f}; {told}")
        say(f"wrote {tuned}")


def _bleu_statistics(lists: list[list[Entry]], references: list[str], tgt_lang: str) -> list[Array]:
    """Return n x 10 statistics of sacreBLEU for each line with its n hypotheses."""
    texts = [entry.text for its in lists for entry in its]
    wanted = [ref for ref, its in zip(references, lists, strict=True) for _ in its]
    [found] = line_statistics({"bleu": make_metrics(tgt_lang, ())["bleu"]}, [texts], [wanted])
    return np.split(found["bleu"], np.cumsum([len(its) for its in lists])[:-1])


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
