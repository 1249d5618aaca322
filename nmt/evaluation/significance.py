"""Is B better than A? sacreBLEU's paired tests, for any number of lines.

Both tests are sacreBLEU's own: the same random numbers (its seed), scores and p-values, so the
figures are those of `sacrebleu --paired-bs` and `--paired-ar`. Only the resampled sums are made
otherwise: a stretch of samples at a time as a product of two matrices, for all systems and metrics
at once. sacreBLEU copies the statistics of every line for every sample, which takes 12 GB for
100,000 lines.

n lines, K statistics of all systems and metrics side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from sacrebleu.significance import _compute_p_value, estimate_ci

from nmt.evaluation.metrics import Metrics, Statistics, scored
from nmt.evaluation.reports.report import Interval

SAMPLES = 1000
"""Bootstrap resamples (Koehn 2004)."""
TRIALS = 10_000
"""Shuffles of approximate randomisation (Riezler & Maxwell 2005)."""
SEED = 12345
"""sacreBLEU's."""
CELLS = 2**22
"""Lines times samples in one stretch."""
BOOLS_A_DRAW = 32
"""numpy draws so many at a time, so a stretch of shuffles must have whole draws."""

Numbers = NDArray[np.float64]
Drawn = TypeVar("Drawn")
Advance = Callable[[int], object]
"""Told how many samples are done."""


@dataclass(frozen=True)
class Paired:
    """A system beside the first, by one metric."""

    difference: float
    """Its score less the first one's."""
    p_bootstrap: float
    p_randomisation: float


def bootstrap_sums(stats: Numbers, samples: int = SAMPLES, advance: Advance = bool) -> Numbers:
    """Return samples x K sums over n lines drawn with replacement."""
    lines = len(stats)
    rng = np.random.default_rng(SEED)

    def draw(rows: int) -> NDArray[np.int64]:
        return rng.choice(lines, size=(rows, lines), replace=True)

    def sums(drawn: NDArray[np.int64]) -> Numbers:
        counts = np.stack([np.bincount(row, minlength=lines) for row in drawn])
        return counts.astype(np.float64) @ stats

    return _in_stretches(draw, sums, samples, max(1, CELLS // lines), advance)


def swapped_sums(changes: Numbers, trials: int = TRIALS, advance: Advance = bool) -> Numbers:
    """Return trials x K sums of `changes` over the lines that each trial swaps, about half."""
    lines = len(changes)
    rng = np.random.default_rng(SEED)

    def draw(rows: int) -> NDArray[np.bool_]:
        return rng.integers(2, size=(rows, lines), dtype=bool)

    def sums(drawn: NDArray[np.bool_]) -> Numbers:
        return drawn.astype(np.float64) @ changes

    stretch = max(BOOLS_A_DRAW, CELLS // lines // BOOLS_A_DRAW * BOOLS_A_DRAW)
    return _in_stretches(draw, sums, trials, stretch, advance)


def _in_stretches(
    draw: Callable[[int], Drawn],
    sums: Callable[[Drawn], Numbers],
    total: int,
    stretch: int,
    advance: Advance,
) -> Numbers:
    """Draw a stretch of samples in a thread while the one before is summed up in this one."""
    sizes = [min(stretch, total - begin) for begin in range(0, total, stretch)]
    found = []
    with ThreadPoolExecutor(1) as ahead:
        drawn = ahead.submit(draw, sizes[0])
        for size, following in zip(sizes, [*sizes[1:], 0], strict=True):
            now = drawn.result()
            if following:
                drawn = ahead.submit(draw, following)
            found.append(sums(now))
            advance(size)
    return np.concatenate(found)


def side_by_side(stats: Sequence[Statistics]) -> Numbers:
    """Return n x K: the statistics of all metrics of all systems."""
    return np.concatenate([part for its in stats for part in its.values()], 1)


def _apart(sums: NDArray[Any], like: Sequence[Statistics]) -> Iterator[dict[str, NDArray[Any]]]:
    """Yield each system's part of samples x K, by metric."""
    place = 0
    for its in like:
        parts = {}
        for name, stats in its.items():
            parts[name] = sums[:, place : place + stats.shape[1]]
            place += stats.shape[1]
        yield parts


def bootstrap(
    metrics: Metrics, stats: Sequence[Statistics], advance: Advance = bool
) -> list[dict[str, Numbers]]:
    """Return of each system, by metric, its scores on SAMPLES resamples, the same for all."""
    sums = bootstrap_sums(side_by_side(stats), advance=advance).astype(np.float32)
    return [
        {name: _scores(metrics, name, parts[name]) for name in metrics}
        for parts in _apart(sums, stats)
    ]


def intervals(resampled: Mapping[str, Numbers]) -> dict[str, Interval]:
    """Return a system's confidence intervals from its resampled scores, by metric."""
    found = {}
    for name, its in resampled.items():
        mean, half = map(float, estimate_ci(its))
        found[name] = Interval(mean=mean, half=half)
    return found


def compare(
    metrics: Metrics,
    stats: Sequence[Statistics],
    resampled: Sequence[Mapping[str, Numbers]],
    advance: Advance = bool,
) -> list[dict[str, Paired]]:
    """Return each system but the first beside the first, by metric.

    `resampled` are the scores of `bootstrap`.
    """
    if len(stats) < 2:
        return []
    first, *others = stats
    totals = [{name: part.sum(0) for name, part in its.items()} for its in stats]
    changes = [{name: first[name] - its[name] for name in metrics} for its in others]
    sums = swapped_sums(side_by_side(changes), advance=advance)
    found = []
    for i, swapped in enumerate(_apart(sums, changes), 1):
        pairs = {}
        for name in metrics:
            one, other = (
                float(scored(metrics[name], totals[which][name]).score) for which in (0, i)
            )
            real = abs(one - other)
            spread = np.abs(resampled[i][name] - resampled[0][name])
            # in a trial some lines of the second system are the first one's, and the reverse
            second, back = totals[i][name] + swapped[name], totals[0][name] - swapped[name]
            shuffled = np.abs(_scores(metrics, name, second) - _scores(metrics, name, back))
            pairs[name] = Paired(
                other - one,
                float(_compute_p_value(spread - spread.mean(), real)),
                float(_compute_p_value(shuffled, real)),
            )
        found.append(pairs)
    return found


def _scores(metrics: Metrics, name: str, sums: NDArray[Any]) -> Numbers:
    return np.array([scored(metrics[name], row).score for row in sums])  # of the sums' type
