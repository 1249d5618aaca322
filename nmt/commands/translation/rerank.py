"""`nmt rerank`: rerank n-best lists by other models."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from nmt.config.loader import load_config
from nmt.core import files
from nmt.core.console import show_progress
from nmt.core.outputs import check_outputs
from nmt.core.run_dir import open_model
from nmt.data.text.reader import read_lines, split_into_chunks
from nmt.decoding.loading import load_translator, require_tags
from nmt.decoding.reranking import (
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
from nmt.errors import ConfigError, DataError
from nmt.evaluation.metrics import line_statistics, make_metrics

logger = logging.getLogger(__name__)

WINDOW = 1000
"""Number of pairs that are sorted by length together."""
NBestLists = list[list[Entry]]


@dataclass(frozen=True)
class RerankOptions:
    """Options of `nmt rerank`. Exactly one of `weights` and `tune` is set."""

    nbest: Path
    """N-best lists."""
    src: Path
    """Source text."""
    models: tuple[Path, ...] = ()
    """Runs that score translations."""
    reverse_models: tuple[Path, ...] = ()
    """Runs of the reverse direction, which score sources."""
    weights: Path | None = None
    """File with the feature weights."""
    tune: Path | None = None
    """File for weights that are tuned on `ref`."""
    ref: Path | None = None
    """Reference translation."""
    tgt_lang: str = ""
    """Target language, for the BLEU tokenizer."""
    keep: int = 1
    """Number of translations per line; 1 writes text only."""
    output: Path | None = None
    """Output; None for stdout."""
    overrides: tuple[str, ...] = ()
    """Settings that replace those of the configs."""
    device: str = "auto"

    def feature_names(self) -> list[str]:
        """Return the names of the features in weight files."""
        models = [f"model {number}" for number in range(1, len(self.models) + 1)]
        reverse = [f"reverse {number}" for number in range(1, len(self.reverse_models) + 1)]
        return [*models, *reverse, LENGTH]


def run(options: RerankOptions) -> None:
    """Rerank the hypotheses of each line by weights, or tune the weights on a reference."""
    _check_options(options)
    nbest_lists = read_nbest(options.nbest)
    sources = list(read_lines(options.src))
    if len(sources) != len(nbest_lists):
        raise DataError(
            f"{options.nbest}: expected lists of {len(sources)} lines, as in {options.src}, "
            f"got lists of {len(nbest_lists)}"
        )
    if options.weights is not None:
        _rerank(options, options.weights, sources, nbest_lists)
    elif options.tune is not None and options.ref is not None:
        _tune(options, options.tune, options.ref, sources, nbest_lists)


def _check_options(options: RerankOptions) -> None:
    """Raise ConfigError if options contradict each other or the output cannot be written."""
    if (options.weights is None) == (options.tune is None):
        count = "none" if options.tune is None else "both"
        raise ConfigError([f"--weights, --tune: expected exactly one, got {count}"])
    if (options.ref is None) != (options.tune is None):
        raise ConfigError(["--tune, --ref: expected both or none, got one"])
    if options.tune is not None and options.output is not None:
        raise ConfigError(
            ["--tune, --output: expected at most one, got both (--tune writes only weights)"]
        )
    inputs = [options.nbest, options.src, options.weights, options.ref]
    check_outputs({"-o": options.output, "--tune": options.tune}, inputs)


def _rerank(
    options: RerankOptions, weights_file: Path, sources: Sequence[str], nbest_lists: NBestLists
) -> None:
    """Write the best hypotheses by the weights of a file."""
    weights = read_weights(weights_file, options.feature_names())
    features = _compute_features(options, sources, nbest_lists)
    reranked: NBestLists = []
    for entries, line_features in zip(nbest_lists, features, strict=True):
        order = rank([entry.score for entry in entries], line_features, weights)
        reranked.append([entries[index] for index in order[: options.keep]])
    with ExitStack() as stack:
        sink: BinaryIO = sys.stdout.buffer
        if options.output:
            sink = stack.enter_context(files.open_atomic(options.output))
        for line in _format_lines(reranked, options.keep):
            sink.write(line.encode())


def _tune(
    options: RerankOptions,
    weights_file: Path,
    reference_file: Path,
    sources: Sequence[str],
    nbest_lists: NBestLists,
) -> None:
    """Tune the weights for BLEU and write them to a file."""
    references = list(read_lines(reference_file))
    if len(references) != len(nbest_lists):
        raise DataError(
            f"{reference_file}: expected {len(sources)} lines, as in {options.src}, "
            f"got {len(references)}"
        )
    if not nbest_lists:
        raise DataError(f"{options.nbest}: expected n-best lists to tune on, got an empty file")
    statistics = _bleu_statistics(nbest_lists, references, options.tgt_lang)
    features = _compute_features(options, sources, nbest_lists)
    scores = [[entry.score for entry in entries] for entries in nbest_lists]
    tuned = tune_weights(scores, features, statistics)
    names = options.feature_names()
    write_weights(weights_file, names, tuned)
    weights = ", ".join(
        f"{name} {weight:.4f}" for name, weight in zip(names, tuned.weights, strict=True)
    )
    logger.info(f"BLEU {tuned.before:.2f} -> {tuned.after:.2f}; {weights}")
    logger.info(f"wrote {weights_file}")


def _compute_features(
    options: RerankOptions, sources: Sequence[str], nbest_lists: NBestLists
) -> list[Array]:
    """Return n x F features for each line with its n hypotheses."""
    pairs = [
        (source, entry.text)
        for source, entries in zip(sources, nbest_lists, strict=True)
        for entry in entries
    ]
    reverse_pairs = [(text, source) for source, text in pairs]
    log_probs = [
        *(_log_probs(model, pairs, options) for model in options.models),
        *(_log_probs(model, reverse_pairs, options) for model in options.reverse_models),
    ]
    return list(feature_matrices(nbest_lists, log_probs))


def _log_probs(model: Path, pairs: list[tuple[str, str]], options: RerankOptions) -> list[float]:
    """Return the log-probability of each pair's target under the model of a run."""
    run_dir = open_model(model)
    config = load_config(run_dir.config, list(options.overrides))
    require_tags(config)
    translator = load_translator(run_dir, config, options.device)
    task = f"{model}: scoring {len(pairs)} pairs"
    log_probs: list[float] = []
    with show_progress(task, len(pairs), always=True, unit="pairs") as translator.progress:
        for index, window in enumerate(split_into_chunks(pairs, WINDOW)):
            scores = translator.score_pairs(window, index * WINDOW)
            log_probs += [score.log_prob for score in scores]
    if translator.statistics.long_pairs:
        logger.warning(f"{len(translator.statistics.long_pairs)} long pairs were scored in parts")
    return log_probs


def _bleu_statistics(nbest_lists: NBestLists, references: list[str], tgt_lang: str) -> list[Array]:
    """Return n x 10 statistics of sacreBLEU for each line with its n hypotheses."""
    texts = [entry.text for entries in nbest_lists for entry in entries]
    repeated_references = [
        reference
        for reference, entries in zip(references, nbest_lists, strict=True)
        for _ in entries
    ]
    metrics = {"bleu": make_metrics(tgt_lang, ())["bleu"]}
    [statistics] = line_statistics(metrics, [texts], [repeated_references])
    line_ends = np.cumsum([len(entries) for entries in nbest_lists])
    return np.split(statistics["bleu"], line_ends[:-1])


def _format_lines(nbest_lists: NBestLists, keep: int) -> Iterator[str]:
    """Yield the best text of each line, or n-best lists with the original scores."""
    for index, entries in enumerate(nbest_lists):
        if keep == 1:
            yield f"{entries[0].text}\n"
        else:
            for entry in entries:
                yield f"{index} ||| {entry.text} ||| {entry.score:.4f}\n"
