"""The paired tests against sacreBLEU's own command, for every block size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nmt.evaluation import significance
from nmt.evaluation.metrics import LineStatistics, Metrics, line_statistics, make_metrics
from nmt.evaluation.significance import (
    SAMPLES,
    bootstrap_scores,
    bootstrap_sums,
    compare_systems,
    confidence_intervals,
    swapped_sums,
)
from tests.support.evaluation.system_outputs import (
    random_lines,
    replace_words,
    sacrebleu_paired_test,
)

REFERENCES = [random_lines(70, seed=1), random_lines(70, seed=2)]
SYSTEMS = [
    replace_words(REFERENCES[0], 0.3, seed=3),
    replace_words(REFERENCES[0], 0.25, seed=4),
    replace_words(REFERENCES[0], 0.4, seed=5),
]
NAMES = ("bleu", "chrf", "ter")


def compute_line_statistics() -> tuple[Metrics, list[LineStatistics]]:
    metrics = make_metrics("en")
    stats = line_statistics(metrics, SYSTEMS, REFERENCES)
    return dict(metrics), stats  # type: ignore[return-value]


@pytest.mark.parametrize("cells", [significance.MAX_BLOCK_CELLS, 7 * 70])
def test_compare_systems_equals_sacrebleu_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cells: int
) -> None:
    monkeypatch.setattr(significance, "MAX_BLOCK_CELLS", cells)
    metrics, stats = compute_line_statistics()
    resampled = bootstrap_scores(metrics, stats)
    comparisons = compare_systems(metrics, stats, resampled)
    for flag, name in (("--paired-bs", "p_bootstrap"), ("--paired-ar", "p_randomisation")):
        sacrebleu_rows = sacrebleu_paired_test(tmp_path, SYSTEMS, REFERENCES, flag)
        assert [len(row) for row in sacrebleu_rows] == [3, 3, 3]
        for i, row in enumerate(sacrebleu_rows):
            for column, metric in enumerate(NAMES):
                if i:
                    paired = comparisons[i - 1][metric]
                    assert f"{getattr(paired, name):.4f}" == f"{row[column][-1]:.4f}"
                    gain = row[column][0] - sacrebleu_rows[0][column][0]
                    assert paired.difference == pytest.approx(gain, abs=2e-6)
                if flag == "--paired-bs":
                    interval = confidence_intervals(resampled[i])[metric]
                    assert [interval.mean, interval.half] == pytest.approx(
                        row[column][1:3], abs=2e-6
                    )


def test_resampled_sums_equal_sums_of_drawn_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    stats = np.random.default_rng(7).integers(0, 50, (33, 4)).astype(np.float64)
    rows = np.random.default_rng(significance.SEED).choice(33, size=(40, 33), replace=True)
    swaps = np.random.default_rng(significance.SEED).integers(2, size=(70, 33), dtype=bool)
    for cells in (1, 33 * 5, 2**20):
        monkeypatch.setattr(significance, "MAX_BLOCK_CELLS", cells)
        steps: list[int] = []
        assert (bootstrap_sums(stats, 40, steps.append) == stats[rows].sum(1)).all()
        assert (swapped_sums(stats, 70, steps.append) == swaps @ stats).all()
        assert sum(steps) == 110


def test_compare_systems_single_system_has_no_comparison() -> None:
    metrics, stats = compute_line_statistics()
    [resampled] = bootstrap_scores(metrics, stats[:1])
    assert {name: len(scores) for name, scores in resampled.items()} == dict.fromkeys(
        NAMES, SAMPLES
    )
    assert compare_systems(metrics, stats[:1], [resampled]) == []
