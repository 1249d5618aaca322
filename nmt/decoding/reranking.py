"""Rerank n-best lists by a weighted sum of scores, and tune the weights for BLEU.

A hypothesis is ranked by its score in the list plus sum_k w_k f_k over the features: its
log-probabilities under other models, the log-probabilities of the source under models of the
reverse direction, and its length in words. With zero weights the order stays as it is.

Weights are tuned by minimum error rate training (Och 2003). Along one weight, the best hypothesis
of each line changes at a few points only, so BLEU is computed once between successive points.

Shapes: n hypotheses of a line (n differs between lines), F features.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nmt.core import files
from nmt.data.text.reader import read_lines
from nmt.errors import DataError, show_value

Array = NDArray[np.float64]
LENGTH = "length"
"""Name of the length feature."""
STARTING_POINTS = 8
"""Number of starting points of tuning: zero weights, and random weights."""
SEED = 1
MIN_GAIN = 1e-6
"""Smallest gain in BLEU for which tuning continues."""
MIN_INTERVAL = 1e-12
"""Smallest distance of two points between which a weight can lie."""
SEPARATOR = " ||| "
MOSES_FEATURES = re.compile(r"\w+= ")
"""Beginning of the feature scores that Moses writes between text and score."""


@dataclass(frozen=True)
class Entry:
    """A hypothesis of an n-best list."""

    text: str
    score: float
    """Score in the list."""


def read_nbest(file: Path) -> list[list[Entry]]:
    """Read n-best lists in the format of Moses, `LINE ||| TEXT ||| SCORE`, with lines from 0.

    Feature scores of Moses between text and score are ignored. Raises DataError with the line
    number if a line has another format, or if the lists are not in order.
    """
    lists: list[list[Entry]] = []
    for number, text in enumerate(read_lines(file), 1):
        line, entry = _parse_entry(f"{file}:{number}", text)
        if line == len(lists):
            lists.append([])
        if line != len(lists) - 1:
            raise DataError(f"{file}:{number}: expected line number {len(lists)}, got {line}")
        lists[line].append(entry)
    return lists


def _parse_entry(location: str, line: str) -> tuple[int, Entry]:
    """Return the line number and the hypothesis of a line of an n-best file."""
    cells = line.split(SEPARATOR)
    try:
        number, score = int(cells[0]), float(cells[-1])
    except ValueError:
        number, score = -1, math.nan
    if len(cells) < 3 or number < 0 or not math.isfinite(score):
        raise DataError(f"{location}: expected NUMBER ||| TEXT ||| SCORE, got {show_value(line)}")
    text = [cells[1], *takewhile(lambda cell: not MOSES_FEATURES.match(cell), cells[2:-1])]
    return number, Entry(SEPARATOR.join(text), score)


def rank(scores: Sequence[float], features: Array, weights: Array) -> list[int]:
    """Return the indices of a list's hypotheses, best first; ties keep their order.

    `scores` has n values, `features` is n x F, `weights` has F values.
    """
    ranks = np.asarray(scores) + features @ weights
    order: list[int] = (-ranks).argsort(kind="stable").tolist()
    return order


@dataclass(frozen=True)
class TunedWeights:
    """Feature weights with the BLEU, 0 to 100, of the lines that they were tuned on."""

    weights: Array
    before: float
    """BLEU of the first hypotheses before reranking."""
    after: float


class _TuningLine(NamedTuple):
    """The hypotheses of a line."""

    scores: Array
    """n scores in the list."""
    features: Array
    """n x F."""
    stats: Array
    """n x 10 statistics of BLEU."""


def tune_weights(
    scores: Sequence[Sequence[float]], features: Sequence[Array], stats: Sequence[Array]
) -> TunedWeights:
    """Return the weights with the best corpus BLEU.

    Each line has n scores, n x F features, and n x 10 statistics of sacreBLEU.
    """
    feature_count = features[0].shape[1]
    rng = np.random.default_rng(SEED)
    spread = np.concatenate(features).std(0)
    zero = np.zeros(feature_count)
    starts = [zero]
    for _ in range(STARTING_POINTS - 1):
        starts.append(rng.normal(size=feature_count) / np.maximum(spread, 1e-9))
    lines = [
        _TuningLine(np.asarray(line_scores), line_features, line_stats)
        for line_scores, line_features, line_stats in zip(scores, features, stats, strict=True)
    ]
    before = _corpus_bleu(lines, zero)
    after, best = before, zero
    for start in starts:
        weights = _ascend(lines, start)
        bleu = _corpus_bleu(lines, weights)
        if bleu > after:
            after, best = bleu, weights
    return TunedWeights(best, before, after)


def _ascend(lines: Sequence[_TuningLine], weights: Array) -> Array:
    """Change the weight that increases BLEU most until none increases it; return the weights."""
    best = _corpus_bleu(lines, weights)
    while True:
        moves = [_search_weight(lines, weights, feature) for feature in range(len(weights))]
        feature = max(range(len(moves)), key=lambda index: moves[index].bleu)
        move = moves[feature]
        if move.bleu <= best + MIN_GAIN:
            return weights
        best = move.bleu
        weights = np.where(np.arange(len(weights)) == feature, move.value, weights)


class _WeightChange(NamedTuple):
    """The best value of one weight, and the BLEU that it reaches."""

    bleu: float
    value: float


def _search_weight(lines: Sequence[_TuningLine], weights: Array, feature: int) -> _WeightChange:
    """Return the value of one weight with the best BLEU while the other weights stay."""
    other_weights = np.where(np.arange(len(weights)) == feature, 0.0, weights)
    first_stats = np.zeros(lines[0].stats.shape[1])
    points: list[float] = []
    changes: list[Array] = []
    for line in lines:
        heights = line.scores + line.features @ other_weights
        (_, winner), *segments = upper_envelope(heights, line.features[:, feature])
        first_stats = first_stats + line.stats[winner]
        for point, next_winner in segments:
            points.append(point)
            changes.append(line.stats[next_winner] - line.stats[winner])
            winner = next_winner
    if not points:
        return _WeightChange(float(bleu_from_statistics(first_stats[None])[0]), weights[feature])
    order = np.argsort(points)
    edges = np.array(points)[order]
    sums = np.concatenate([first_stats[None], first_stats + np.cumsum(np.array(changes)[order], 0)])
    bleu = bleu_from_statistics(sums)
    bleu[1:-1][np.diff(edges) < MIN_INTERVAL] = -1.0
    best = int(bleu.argmax())
    low = edges[best - 1] if best > 0 else edges[0] - 2.0
    high = edges[best] if best < len(edges) else edges[-1] + 2.0
    return _WeightChange(float(bleu[best]), float((low + high) / 2))


def upper_envelope(heights: Array, slopes: Array) -> list[tuple[float, int]]:
    """Return the maximum of the lines height + slope * x as (start x, line index) segments."""
    # Of equal lines, the first in the list comes last and stays, as in `rank`.
    order = np.lexsort((-np.arange(len(heights)), heights, slopes))
    segments: list[tuple[float, int]] = []
    for line in order.tolist():
        begin = -math.inf
        while segments:
            point, top = segments[-1]
            slope_change = slopes[line] - slopes[top]
            # a parallel line that comes later is higher, so it replaces the line before
            begin = (heights[top] - heights[line]) / slope_change if slope_change > 0 else -math.inf
            if begin > point:
                break
            segments.pop()
            begin = -math.inf
        segments.append((begin, line))
    return segments


def bleu_from_statistics(sums: Array) -> Array:
    """Return the corpus BLEU, 0 to 100, of each row of M x 10 statistics, as M values.

    A row contains the sums over all lines of hypothesis length and reference length in tokens,
    n-gram matches for n = 1 to 4, and n-grams of the hypothesis for n = 1 to 4. Without smoothing
    (Papineni et al. 2002): BLEU is 0 if there is no match for some n.
    """
    hypothesis_lengths, reference_lengths = sums[:, 0], sums[:, 1]
    matches, totals = sums[:, 2:6], sums[:, 6:10]
    with np.errstate(divide="ignore", invalid="ignore"):
        log_precision = np.log(matches / totals).mean(1)
        log_brevity = np.minimum(0.0, 1.0 - reference_lengths / hypothesis_lengths)
        bleu: Array = 100 * np.exp(log_precision + log_brevity)
    return np.nan_to_num(bleu, nan=0.0)  # 0 / 0: no hypothesis has n tokens


def _corpus_bleu(lines: Sequence[_TuningLine], weights: Array) -> float:
    """Return the BLEU of the best hypothesis of each line."""
    best = [line.stats[rank(line.scores.tolist(), line.features, weights)[0]] for line in lines]
    return float(bleu_from_statistics(np.sum(best, 0)[None])[0])


def write_weights(file: Path, names: Sequence[str], tuned: TunedWeights) -> None:
    """Write weights by the name of their feature, with the BLEU before and after."""
    content = {
        "weights": dict(zip(names, tuned.weights.tolist(), strict=True)),
        "bleu": {"before": tuned.before, "after": tuned.after},
    }
    files.write_text(file, json.dumps(content, indent=1) + "\n")


def read_weights(file: Path, names: Sequence[str]) -> Array:
    """Read the weights of the named features.

    Raises DataError if the file has no weights, or weights of other features.
    """
    try:
        content: Any = json.loads(file.read_bytes())
    except FileNotFoundError:
        raise DataError(f"{file}: no such file") from None
    except ValueError:
        content = None
    weights = content.get("weights") if isinstance(content, dict) else None
    if not isinstance(weights, dict) or not all(
        isinstance(value, int | float) and math.isfinite(value) for value in weights.values()
    ):
        raise DataError(
            f"{file}: expected weights from `nmt rerank --tune`, got {show_value(weights)}"
        )
    if set(weights) != set(names):
        raise DataError(
            f"{file}: expected weights of {', '.join(names)}, got weights of {', '.join(weights)}"
        )
    return np.array([float(weights[name]) for name in names])


def feature_matrices(
    nbest_lists: Sequence[Sequence[Entry]], log_probs: Sequence[Sequence[float]]
) -> Iterator[Array]:
    """Yield the n x F features of the hypotheses of each line.

    `log_probs` are the first F - 1 features. Each has one value for every hypothesis, list after
    list. The last feature is the length in words.
    """
    lengths = [float(len(entry.text.split())) for entries in nbest_lists for entry in entries]
    table = np.array([*log_probs, lengths]).T
    begin = 0
    for entries in nbest_lists:
        yield table[begin : begin + len(entries)]
        begin += len(entries)
