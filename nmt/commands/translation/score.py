"""`nmt score`: log-probabilities of given translations."""

from __future__ import annotations

import json
import logging
import math
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from nmt.core import files
from nmt.core.console import show_progress
from nmt.core.outputs import check_outputs
from nmt.data.text.reader import count_lines, read_pairs, split_into_chunks
from nmt.decoding.lines.translation import PairScore, dual_cross_entropy_score
from nmt.decoding.loading import (
    load_translator,
    model_languages,
    open_models,
    require_direction,
)

logger = logging.getLogger(__name__)

WINDOW = 1000
"""Number of pairs that are sorted by length together."""
MIN_MEAN_LOG_PROB = -700
"""Mean log-probability below which the perplexity would exceed the range of a float."""


@dataclass(frozen=True)
class ScoreOptions:
    """Options of `nmt score`."""

    tgt: Path
    """Translations."""
    src: Path | None = None
    """Source text; None for stdin."""
    models: tuple[Path, ...] = ()
    """Run folders of the ensemble; by default the newest finished run."""
    reverse: Path | None = None
    """Run of the other direction, for the score of dual cross-entropy."""
    output: Path | None = None
    """Output; None for stdout."""
    json: bool = False
    """Write one JSON object per line."""
    overrides: tuple[str, ...] = ()
    """Settings that replace those of the config."""
    device: str = "auto"
    progress: bool = False
    """Report progress even if stderr is no terminal."""


def run(options: ScoreOptions) -> None:
    """Write log-probability, log-probability per token, and perplexity of each translation.

    Tokens include eos; logarithms are natural. With a reverse model, write the score of dual
    cross-entropy too.
    """
    check_outputs({"-o": options.output}, [options.src, options.tgt])
    (run_dir, config), *ensemble_with = open_models(options.models, list(options.overrides))
    reverse_model = open_models([options.reverse], [])[0] if options.reverse else None
    if reverse_model is not None:
        require_direction("--reverse", reverse_model[1], model_languages(config)[::-1])
    translator = load_translator(run_dir, config, options.device, ensemble_with=ensemble_with)
    reverse = load_translator(*reverse_model, options.device) if reverse_model else None
    total_log_prob, total_tokens = 0.0, 0
    with ExitStack() as stack:
        sink: BinaryIO = sys.stdout.buffer
        if options.output:
            sink = stack.enter_context(files.open_atomic(options.output))
        if options.progress or options.output or not sys.stdout.isatty():
            pair_count = count_lines(options.tgt)
            translator.progress = stack.enter_context(
                show_progress("scoring", pair_count, always=options.progress, unit="pairs")
            )
        for index, window in enumerate(
            split_into_chunks(read_pairs(options.src, options.tgt), WINDOW)
        ):
            scores = translator.score_pairs(window, index * WINDOW)
            dual_scores: list[float] | None = None
            if reverse is not None:
                backward = reverse.score_pairs([pair[::-1] for pair in window], index * WINDOW)
                dual_scores = list(map(dual_cross_entropy_score, scores, backward))
            for i, pair in enumerate(scores):
                dual = dual_scores[i] if dual_scores else None
                sink.write(_format_pair(pair, dual, options.json).encode())
                total_log_prob += pair.log_prob
                total_tokens += pair.tokens
            sink.flush()
    translator.statistics.log_pair_segments()
    if total_tokens:
        mean = total_log_prob / total_tokens
        logger.info(
            f"{total_tokens} tokens, log-probability {mean:.4f} per token, "
            f"perplexity {perplexity(mean):.4f}"
        )


def _format_pair(pair: PairScore, dual: float | None, as_json: bool) -> str:
    """Return the output line of a pair, as a JSON object or as columns divided by tabs.

    The columns are log-probability, log-probability per token, perplexity and, unless it is None,
    the score of dual cross-entropy. JSON has no number for an infinite perplexity, so it becomes
    null.
    """
    mean = pair.log_prob / pair.tokens
    pair_perplexity = perplexity(mean)
    if not as_json:
        column = "" if dual is None else f"\t{dual:.6f}"
        return f"{pair.log_prob:.4f}\t{mean:.4f}\t{pair_perplexity:.4f}{column}\n"
    values = {
        "log_prob": round(pair.log_prob, 4),
        "log_prob_token": round(mean, 4),
        "perplexity": round(pair_perplexity, 4) if math.isfinite(pair_perplexity) else None,
        "tokens": pair.tokens,
    }
    if dual is not None:
        values["dual"] = round(dual, 6)
    return json.dumps(values) + "\n"


def perplexity(mean_log_prob: float) -> float:
    """Return the perplexity of a mean log-probability per token in nats; inf if too large."""
    return math.exp(-mean_log_prob) if mean_log_prob > MIN_MEAN_LOG_PROB else math.inf
