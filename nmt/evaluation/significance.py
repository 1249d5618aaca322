"""Significance tests and confidence intervals of differences between systems.

Both tests are sacreBLEU's: the random numbers (its seed), scores and p-values equal those of
`sacrebleu --paired-bs` and `--paired-ar`. Only the sums over the resampled lines are computed
differently: as a matrix product for a block of samples, all systems and all metrics at once.
sacreBLEU copies the statistics of every line for every sample, which takes 12 GB for 100,000 lines.

Shapes: n lines, K statistics of all systems and metrics side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from sacrebleu.significance import _compute_p_value, estimate_ci

from nmt.evaluation.metrics import LineStatistics, Metrics, score_sums
from nmt.evaluation.report import ConfidenceInterval

SAMPLES = 1000
"""Number of bootstrap samples (Koehn 2004)."""
TRIALS = 10_000
"""Number of trials of approximate randomisation (Riezler & Maxwell 2005)."""
SEED = 12345
"""Seed of sacreBLEU."""
MAX_BLOCK_CELLS = 2**22
"""Approximate maximum of lines x samples in one block."""
BOOLEANS_PER_DRAW = 32
"""numpy draws this number of booleans at a time and discards unused ones. A block must contain
complete draws, so that its size does not change the random numbers."""

Array = NDArray[np.float64]
Draw = TypeVar("Draw")
Advance = Callable[[int], object]
"""Receives the number of samples computed since the last call; `bool` ignores it."""


@dataclass(frozen=True)
class PairedTest:
    """Result of comparing a system with the first system by one metric."""

    difference: float
    """Score of the system minus score of the first system."""
    p_bootstrap: float
    p_randomisation: float


def bootstrap_sums(stats: Array, samples: int = SAMPLES, advance: Advance = bool) -> Array:
    """Return samples x K sums of n x K `stats` over n lines drawn with replacement."""
    line_count = len(stats)
    rng = np.random.default_rng(SEED)

    def draw_lines(rows: int) -> NDArray[np.int64]:
        return rng.choice(line_count, size=(rows, line_count), replace=True)

    def sum_lines(drawn: NDArray[np.int64]) -> Array:
        counts = np.stack([np.bincount(row, minlength=line_count) for row in drawn])
        return counts.astype(np.float64) @ stats

    block_size = max(1, MAX_BLOCK_CELLS // line_count)
    return _sum_in_blocks(draw_lines, sum_lines, samples, block_size, advance)


def swapped_sums(changes: Array, trials: int = TRIALS, advance: Advance = bool) -> Array:
    """Return trials x K sums of n x K `changes` over the lines that a trial swaps.

    Each trial swaps a line with probability 1/2.
    """
    line_count = len(changes)
    rng = np.random.default_rng(SEED)

    def draw_swaps(rows: int) -> NDArray[np.bool_]:
        return rng.integers(2, size=(rows, line_count), dtype=bool)

    def sum_swapped(drawn: NDArray[np.bool_]) -> Array:
        return drawn.astype(np.float64) @ changes

    draws = MAX_BLOCK_CELLS // line_count // BOOLEANS_PER_DRAW
    block_size = max(BOOLEANS_PER_DRAW, draws * BOOLEANS_PER_DRAW)
    return _sum_in_blocks(draw_swaps, sum_swapped, trials, block_size, advance)


def _sum_in_blocks(
    draw: Callable[[int], Draw],
    compute_sums: Callable[[Draw], Array],
    sample_count: int,
    block_size: int,
    advance: Advance,
) -> Array:
    """Return sample_count x K sums, computed in blocks of `block_size` samples.

    `draw` draws a number of samples, and `compute_sums` returns one row of sums per sample. One
    thread draws all blocks, in order, so the random numbers do not depend on timing. It draws the
    next block while this thread sums the current one.
    """
    sizes = [min(block_size, sample_count - begin) for begin in range(0, sample_count, block_size)]
    sums = []
    with ThreadPoolExecutor(1) as executor:
        future = executor.submit(draw, sizes[0])
        for size, next_size in zip(sizes, [*sizes[1:], 0], strict=True):
            drawn = future.result()
            if next_size:
                future = executor.submit(draw, next_size)
            sums.append(compute_sums(drawn))
            advance(size)
    return np.concatenate(sums)


def join_statistics(systems: Sequence[LineStatistics]) -> Array:
    """Return n x K statistics of all metrics of all systems."""
    return np.concatenate([stats for system in systems for stats in system.values()], 1)


def _sums_by_system(
    sums: NDArray[Any], systems: Sequence[LineStatistics]
) -> Iterator[dict[str, NDArray[Any]]]:
    """Yield the part of samples x K sums that belongs to each system, by metric."""
    begin = 0
    for system in systems:
        parts = {}
        for name, stats in system.items():
            parts[name] = sums[:, begin : begin + stats.shape[1]]
            begin += stats.shape[1]
        yield parts


def bootstrap_scores(
    metrics: Metrics, systems: Sequence[LineStatistics], advance: Advance = bool
) -> list[dict[str, Array]]:
    """Return for each system, by metric, its scores on SAMPLES resamples of the lines.

    All systems use the same resamples.
    """
    sums = bootstrap_sums(join_statistics(systems), advance=advance).astype(np.float32)
    return [
        {name: _score_rows(metrics, name, parts[name]) for name in metrics}
        for parts in _sums_by_system(sums, systems)
    ]


def confidence_intervals(resampled: Mapping[str, Array]) -> dict[str, ConfidenceInterval]:
    """Return confidence intervals from the resampled scores of one system, by metric."""
    intervals = {}
    for name, scores in resampled.items():
        mean, half = map(float, estimate_ci(scores))
        intervals[name] = ConfidenceInterval(mean=mean, half=half)
    return intervals


def compare_systems(
    metrics: Metrics,
    systems: Sequence[LineStatistics],
    resampled: Sequence[Mapping[str, Array]],
    advance: Advance = bool,
) -> list[dict[str, PairedTest]]:
    """Compare each system except the first with the first; return results by metric.

    `resampled` is the result of `bootstrap_scores`.
    """
    if len(systems) < 2:
        return []
    first, *others = systems
    changes = [
        # the change of the system's statistics if a line is swapped
        {name: first[name] - system[name] for name in metrics}
        for system in others
    ]
    swapped = swapped_sums(join_statistics(changes), advance=advance)
    first_totals = {name: stats.sum(0) for name, stats in first.items()}
    results = []
    for i, system_swaps in enumerate(_sums_by_system(swapped, changes), 1):
        tests = {}
        for name in metrics:
            totals = systems[i][name].sum(0)
            first_score = float(score_sums(metrics[name], first_totals[name]).score)
            score = float(score_sums(metrics[name], totals).score)
            difference = abs(first_score - score)
            bootstrapped = np.abs(resampled[i][name] - resampled[0][name])
            # A trial exchanges some lines between the first system and this system.
            swapped_totals = totals + system_swaps[name]
            swapped_first_totals = first_totals[name] - system_swaps[name]
            shuffled = np.abs(
                _score_rows(metrics, name, swapped_totals)
                - _score_rows(metrics, name, swapped_first_totals)
            )
            tests[name] = PairedTest(
                difference=score - first_score,
                p_bootstrap=float(_compute_p_value(bootstrapped - bootstrapped.mean(), difference)),
                p_randomisation=float(_compute_p_value(shuffled, difference)),
            )
        results.append(tests)
    return results


def _score_rows(metrics: Metrics, name: str, sums: NDArray[Any]) -> Array:
    """Return the score of each row of sums; its floating point type is that of the sums."""
    return np.array([score_sums(metrics[name], row).score for row in sums])
