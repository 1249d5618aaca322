"""n-best lists ranked anew by a weighted sum of scores, and the weights that give the best BLEU.

The rank of a hypothesis is its score in the list plus sum_k w_k f_k over the features: the
log-probabilities that models give it, those that models of the other direction give the source,
and its length in words. With all weights 0 a list stays as it is.

Weights are tuned by minimum error rate training (Och 2003): along one weight at a time the best
hypothesis of each line changes at a few points only, so BLEU is looked at between all of them.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nmt.core import files
from nmt.data.text.reader import read_lines
from nmt.errors import DataError, show_value

Numbers = NDArray[np.float64]
LENGTH = "length"
STARTS = 8
"""Points that tuning begins at: no weights, and random ones."""
SEED = 1
SEPARATOR = " ||| "
FEATURES = re.compile(r"\w+= ")
"""What the feature scores of Moses begin with, which stand between text and score."""


@dataclass(frozen=True)
class Entry:
    """A hypothesis of an n-best list."""

    text: str
    score: float
    """In the list."""


def read_nbest(file: Path) -> list[list[Entry]]:
    """Read an n-best list as Moses writes it, `LINE ||| TEXT ||| SCORE`, lines from 0.

    Feature scores of Moses between text and score are passed over. Raises DataError, with the line,
    where one is of another form or lists are not in order.
    """
    found: list[list[Entry]] = []
    for number, text in enumerate(read_lines(file), 1):
        line, entry = _entry(f"{file}:{number}", text)
        if line == len(found):
            found.append([])
        if line != len(found) - 1:
            raise DataError(f"{file}:{number}: expected line number {len(found)}, got {line}")
        found[line].append(entry)
    return found


def _entry(place: str, line: str) -> tuple[int, Entry]:
    cells = line.split(SEPARATOR)
    try:
        number, score = int(cells[0]), float(cells[-1])
    except ValueError:
        number, score = -1, math.nan
    if len(cells) < 3 or number < 0 or not math.isfinite(score):
        raise DataError(f"{place}: expected NUMBER ||| TEXT ||| SCORE, got {show_value(line)}")
    text = [cells[1], *takewhile(lambda cell: not FEATURES.match(cell), cells[2:-1])]
    return number, Entry(SEPARATOR.join(text), score)


def ranked(scores: Sequence[float], features: Numbers, weights: Numbers) -> list[int]:
    """Return the places of a list's hypotheses, best first; of equal ones the earlier first."""
    ranks = np.asarray(scores) + features @ weights
    order: list[int] = (-ranks).argsort(kind="stable").tolist()
    return order


@dataclass(frozen=True)
class Tuned:
    """Weights, and what they do on the lines they were tuned on."""

    weights: Numbers
    before: float
    """BLEU of the lists as they were, 0 to 100."""
    after: float


def tune(
    scores: Sequence[Sequence[float]], features: Sequence[Numbers], stats: Sequence[Numbers]
) -> Tuned:
    """Return the weights that give the best corpus BLEU.

    For each line: n scores, n x F features, and n x 10 of sacreBLEU's statistics.
    """
    size = features[0].shape[1]
    rng = np.random.default_rng(SEED)
    spread = np.concatenate(features).std(0)
    starts = [np.zeros(size)]
    starts += [rng.normal(size=size) / np.maximum(spread, 1e-9) for _ in range(STARTS - 1)]
    lists = [
        (np.asarray(line), its, counts)
        for line, its, counts in zip(scores, features, stats, strict=True)
    ]
    before = _bleu_with(lists, starts[0])
    found = [_climb(lists, start) for start in starts]
    after, best = max(
        ((_bleu_with(lists, weights), weights) for _, weights in found), key=lambda pair: pair[0]
    )
    if after <= before:
        after, best = before, starts[0]
    return Tuned(best, before, after)


_Lists = Sequence[tuple[Numbers, Numbers, Numbers]]


def _climb(lists: _Lists, weights: Numbers) -> tuple[float, Numbers]:
    """Change one weight after another for as long as BLEU grows."""
    best = _bleu_with(lists, weights)
    while True:
        moves = [_along(lists, weights, place) for place in range(len(weights))]
        gain, place, value = max(
            ((found, place, value) for place, (found, value) in enumerate(moves)),
            key=lambda move: move[0],
        )
        if gain <= best + 1e-6:
            return best, weights
        best, weights = gain, np.where(np.arange(len(weights)) == place, value, weights)


def _along(lists: _Lists, weights: Numbers, place: int) -> tuple[float, float]:
    """Return the best BLEU along one weight, and a value of it that gives that BLEU."""
    others = np.where(np.arange(len(weights)) == place, 0.0, weights)
    total = np.zeros(lists[0][2].shape[1])
    points: list[float] = []
    changes: list[Numbers] = []
    for scores, features, stats in lists:
        first, *rest = envelope(scores + features @ others, features[:, place])
        total = total + stats[first[1]]
        before = first[1]
        for point, winner in rest:
            points.append(point)
            changes.append(stats[winner] - stats[before])
            before = winner
    if not points:
        return float(bleu_of(total[None])[0]), weights[place]
    order = np.argsort(points)
    edges = np.array(points)[order]
    sums = np.concatenate([total[None], total + np.cumsum(np.array(changes)[order], 0)])
    found = bleu_of(sums)
    found[1:-1][np.diff(edges) < 1e-12] = -1.0  # no room between two points
    best = int(found.argmax())
    low = edges[best - 1] if best > 0 else edges[0] - 2.0
    high = edges[best] if best < len(edges) else edges[-1] + 2.0
    return float(found[best]), float((low + high) / 2)


def envelope(heights: Numbers, slopes: Numbers) -> list[tuple[float, int]]:
    """Return the lines a + b x that are highest somewhere: from which x on, and which line."""
    # of equal lines the first comes last, and stays: so `ranked` chooses too
    order = np.lexsort((-np.arange(len(heights)), heights, slopes))
    found: list[tuple[float, int]] = []
    for line in order.tolist():
        begin = -math.inf
        while found:
            point, top = found[-1]
            rise = slopes[line] - slopes[top]
            # of parallel lines the later in the order is the higher
            begin = (heights[top] - heights[line]) / rise if rise > 0 else -math.inf
            if begin > point:
                break
            found.pop()
            begin = -math.inf
        found.append((begin, line))
    return found


def bleu_of(sums: Numbers) -> Numbers:
    """Return BLEU, 0 to 100, of M x 10 summed statistics: lengths, 4 matches, 4 totals.

    Without smoothing: 0 where an order has no match (Papineni et al. 2002).
    """
    said, wanted, matches, totals = sums[:, 0], sums[:, 1], sums[:, 2:6], sums[:, 6:10]
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(matches / totals).mean(1)
        brevity = np.minimum(0.0, 1.0 - wanted / said)
        found: Numbers = 100 * np.exp(logs + brevity)
    return np.nan_to_num(found, nan=0.0)


def _bleu_with(lists: _Lists, weights: Numbers) -> float:
    chosen = [stats[ranked(scores.tolist(), its, weights)[0]] for scores, its, stats in lists]
    return float(bleu_of(np.sum(chosen, 0)[None])[0])


def write_weights(file: Path, names: Sequence[str], tuned: Tuned) -> None:
    """Write weights by the name of their feature, with the BLEU before and after."""
    content = {
        "weights": dict(zip(names, tuned.weights.tolist(), strict=True)),
        "bleu": {"before": tuned.before, "after": tuned.after},
    }
    files.write_text(file, json.dumps(content, indent=1) + "\n")


def read_weights(file: Path, names: Sequence[str]) -> Numbers:
    """Read weights; DataError where the file holds none, or others than of these features."""
    try:
        found: Any = json.loads(file.read_bytes())
    except FileNotFoundError:
        raise DataError(f"{file}: no such file") from None
    except ValueError:
        found = None
    weights = found.get("weights") if isinstance(found, dict) else None
    if not isinstance(weights, dict) or not all(
        isinstance(value, int | float) and math.isfinite(value) for value in weights.values()
    ):
        raise DataError(
            f"{file}: expected weights from `nmt rerank --tune`, got {show_value(weights)}"
        )
    if set(weights) != set(names):
        raise DataError(
            f"{file}: has weights of {', '.join(weights)}; the scorers given are {', '.join(names)}"
        )
    return np.array([float(weights[name]) for name in names])


def features_of(
    lists: Sequence[Sequence[Entry]], columns: Sequence[Sequence[float]]
) -> Iterator[Numbers]:
    """Yield n x F features for each line, of F columns over all hypotheses and the length."""
    lengths = [float(len(entry.text.split())) for its in lists for entry in its]
    table = np.array([*columns, lengths]).T
    begin = 0
    for its in lists:
        yield table[begin : begin + len(its)]
        begin += len(its)
