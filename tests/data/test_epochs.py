"""Planned epochs contain each pair, and are pure functions that can begin at any window."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nmt.data.batching import epochs as epochs_module
from nmt.data.batching.buckets import Int64Array
from nmt.data.batching.epochs import EpochPlanner

WINDOW = 512
"""Number of batches per window in these tests."""
Planned = list[tuple[list[int], int, int]]


class FakeCorpus:
    """Lengths of pairs without text."""

    aligned = False

    def __init__(self, *sizes: int, longest: int = 12) -> None:
        self.sizes = list(sizes)
        rng = np.random.default_rng(len(sizes))
        self.side_lengths = dict(
            zip(("src", "tgt"), rng.integers(0, longest, (2, sum(sizes))), strict=True)
        )

    def total(self, key: str) -> int:
        return int(self.side_lengths[key.removesuffix("_tokens")].sum())

    def lengths(self, side: str, rows: Int64Array | None = None) -> Int64Array:
        return self.side_lengths[side] if rows is None else self.side_lengths[side][rows]

    def row(self, name: str, i: int) -> NDArray[np.integer[Any]]:
        return np.zeros(self.side_lengths[name][i], np.int64)

    def links(self, i: int) -> NDArray[np.integer[Any]]:
        return np.empty((0, 2), np.int64)


@pytest.fixture(autouse=True)
def _short_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give a small text several windows."""
    monkeypatch.setattr(epochs_module, "WINDOW", WINDOW)


def plan_window(epochs: EpochPlanner, epoch: int, number: int) -> Planned:
    batches = epochs.plan_window(epoch, number).batches
    return [(b.rows.tolist(), b.src_length, b.tgt_length) for b in batches]


def plan_epoch(epochs: EpochPlanner, epoch: int) -> list[Planned]:
    return [plan_window(epochs, epoch, number) for number in range(epochs.num_windows)]


def rows_of(windows: list[Planned]) -> list[int]:
    return [row for batches in windows for rows, _, _ in batches for row in rows]


def make_planner(weights: list[float] | None = None, **options: Any) -> EpochPlanner:
    """Return a planner with several windows of several text sets."""
    epochs = EpochPlanner(FakeCorpus(4000, 0, 9000), 3, 20, weights, **options)
    assert epochs.num_windows > 2
    return epochs


def test_epoch_contains_each_pair_once() -> None:
    epochs = make_planner()
    for epoch in (0, 1, 4):
        assert sorted(rows_of(plan_epoch(epochs, epoch))) == list(range(13_000))


def test_epoch_with_weights_samples_shares() -> None:
    epochs = make_planner([3.0, 1.0, 1.0])
    counts = Counter(rows_of(plan_epoch(epochs, 0)))
    assert counts.total() == 13_000
    assert sum(counts[row] for row in range(4000)) == 9750
    assert {counts[row] for row in range(4000)} == {2, 3}
    assert {counts[row] for row in range(4000, 13_000)} == {0, 1}


@pytest.mark.parametrize("max_shapes", [None, 5])
def test_plan_window_fits_rows_within_budget(max_shapes: int | None) -> None:
    epochs = make_planner(max_shapes=max_shapes)
    text = epochs.corpus
    for number in range(epochs.num_windows):
        for batch in epochs.plan_window(1, number).batches:
            src, tgt = (int(text.lengths(s, batch.rows).max()) + 1 for s in ("src", "tgt"))
            assert batch.tgt_tokens <= 20
            if max_shapes is None:
                assert (batch.src_length, batch.tgt_length) == (src, tgt)
            else:
                assert batch.src_length >= src
                assert batch.tgt_length >= tgt


@pytest.mark.parametrize("max_shapes", [1, 3, 10])
def test_plan_window_uses_at_most_max_shapes(max_shapes: int) -> None:
    epochs = make_planner(max_shapes=max_shapes)
    shapes = {
        (src, tgt) for e in (0, 1) for batches in plan_epoch(epochs, e) for _, src, tgt in batches
    }
    assert 1 <= len(shapes) <= max_shapes
    assert max(src for src, _ in shapes) == max(tgt for _, tgt in shapes) == 12


@pytest.mark.parametrize(("weights", "edges"), [([9.0, 1.0], {2, 9}), ([1.0, 9.0], {7, 9})])
def test_planner_shapes_depend_on_weights(weights: list[float], edges: set[int]) -> None:
    """One set has sources of 2 and 9 tokens, the other of 7; the rare length is padded more."""
    text = FakeCorpus(300, 100)
    text.side_lengths = {"src": np.repeat([1, 8, 6], [150, 150, 100]), "tgt": np.full(400, 4)}
    epochs = EpochPlanner(text, 1, 20, weights, max_shapes=2)
    assert {src for batches in plan_epoch(epochs, 0) for _, src, _ in batches} == edges


def test_plan_window_is_a_pure_function() -> None:
    planner = make_planner([3.0, 1.0, 1.0])
    expected = {
        (e, n): plan_window(planner, e, n) for e in (0, 1, 2) for n in range(planner.num_windows)
    }
    for epoch, number in [(2, 1), (0, planner.num_windows - 1), (2, 0), (2, 1)]:
        assert plan_window(make_planner([3.0, 1.0, 1.0]), epoch, number) == expected[epoch, number]
        assert plan_window(planner, epoch, number) == expected[epoch, number]


def test_plan_window_differs_by_seed_epoch_and_window() -> None:
    text = FakeCorpus(13_000)
    windows = [
        frozenset(
            tuple(rows) for rows, _, _ in plan_window(EpochPlanner(text, seed, 20), epoch, number)
        )
        for seed in (1, 2)
        for epoch in (0, 1)
        for number in (0, 1)
    ]
    assert len(set(windows)) == len(windows)


def test_plan_window_shuffles_batches() -> None:
    lengths = [tgt for _, _, tgt in plan_window(make_planner(), 0, 0)]
    assert lengths not in (sorted(lengths), sorted(lengths, reverse=True))


def test_plan_window_windows_have_equal_mean_lengths() -> None:
    epochs = make_planner()
    means = [
        float(epochs.corpus.lengths("tgt", np.array(rows_of([batches]))).mean())
        for batches in plan_epoch(epochs, 0)
    ]
    # Lengths are uniform from 0 to 11, deviation 3.5; the mean of 1000 rows deviates by 0.11.
    assert max(abs(mean - 5.5) for mean in means) < 6 * 0.11


@pytest.mark.parametrize(("pairs", "batch_tokens"), [(1, 4096), (50, 64), (9000, 20), (9000, 40)])
def test_plan_window_has_about_window_batches(pairs: int, batch_tokens: int) -> None:
    epochs = EpochPlanner(FakeCorpus(pairs), 1, batch_tokens)
    tokens = int((epochs.corpus.lengths("tgt") + 1).sum())
    assert epochs.num_windows == max(1, round(tokens / batch_tokens / WINDOW))
    counts = [len(batches) for batches in plan_epoch(epochs, 0)]
    assert all(counts)
    if epochs.num_windows > 1:  # incomplete batches add a third at this budget
        assert max(counts) < 2 * WINDOW
        assert min(counts) > WINDOW / 2
