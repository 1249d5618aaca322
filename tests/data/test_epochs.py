"""The batches of every epoch: each pair once, a pure function, and begun anywhere."""

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
"""Batches of a window here."""
Planned = list[tuple[list[int], int, int]]


class Text:
    """Lengths of pairs, without any text."""

    aligned = False

    def __init__(self, *sizes: int, longest: int = 12) -> None:
        self.sizes = list(sizes)
        rng = np.random.default_rng(len(sizes))
        self.of_side = dict(
            zip(("src", "tgt"), rng.integers(0, longest, (2, sum(sizes))), strict=True)
        )

    def total(self, key: str) -> int:
        return int(self.of_side[key.removesuffix("_tokens")].sum())

    def lengths(self, side: str, rows: Int64Array | None = None) -> Int64Array:
        return self.of_side[side] if rows is None else self.of_side[side][rows]

    def row(self, name: str, i: int) -> NDArray[np.integer[Any]]:
        return np.zeros(self.of_side[name][i], np.int64)

    def links(self, i: int) -> NDArray[np.integer[Any]]:
        return np.empty((0, 2), np.int64)


@pytest.fixture(autouse=True)
def _short_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a small text have several."""
    monkeypatch.setattr(epochs_module, "WINDOW", WINDOW)


def window(epochs: EpochPlanner, epoch: int, number: int) -> Planned:
    batches = epochs.plan_window(epoch, number).batches
    return [(b.rows.tolist(), b.src_length, b.tgt_length) for b in batches]


def epoch_of(epochs: EpochPlanner, epoch: int) -> list[Planned]:
    return [window(epochs, epoch, number) for number in range(epochs.num_windows)]


def rows_of(planned: list[Planned]) -> list[int]:
    return [row for its in planned for rows, _, _ in its for row in rows]


def several(weights: list[float] | None = None, **options: Any) -> EpochPlanner:
    """Some windows of some text sets."""
    epochs = EpochPlanner(Text(4000, 0, 9000), 3, 20, weights, **options)
    assert epochs.num_windows > 2
    return epochs


def test_epoch_contains_each_pair_once() -> None:
    epochs = several()
    for epoch in (0, 1, 4):
        assert sorted(rows_of(epoch_of(epochs, epoch))) == list(range(13_000))


def test_epoch_with_weights_samples_shares() -> None:
    epochs = several([3.0, 1.0, 1.0])
    counts = Counter(rows_of(epoch_of(epochs, 0)))
    assert counts.total() == 13_000
    assert sum(counts[row] for row in range(4000)) == 9750
    assert {counts[row] for row in range(4000)} == {2, 3}
    assert {counts[row] for row in range(4000, 13_000)} == {0, 1}


@pytest.mark.parametrize("max_shapes", [None, 5])
def test_plan_window_fits_rows_within_budget(max_shapes: int | None) -> None:
    epochs = several(max_shapes=max_shapes)
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


@pytest.mark.parametrize("most", [1, 3, 10])
def test_plan_window_uses_at_most_max_shapes(most: int) -> None:
    epochs = several(max_shapes=most)
    shapes = {(src, tgt) for e in (0, 1) for its in epoch_of(epochs, e) for _, src, tgt in its}
    assert 1 <= len(shapes) <= most
    assert max(src for src, _ in shapes) == max(tgt for _, tgt in shapes) == 12


@pytest.mark.parametrize(("weights", "edges"), [([9.0, 1.0], {2, 9}), ([1.0, 9.0], {7, 9})])
def test_planner_shapes_depend_on_weights(weights: list[float], edges: set[int]) -> None:
    """One set has sources of 2 and 9 tokens, the other of 7: what is rare goes up to the next."""
    text = Text(300, 100)
    text.of_side = {"src": np.repeat([1, 8, 6], [150, 150, 100]), "tgt": np.full(400, 4)}
    epochs = EpochPlanner(text, 1, 20, weights, max_shapes=2)
    assert {src for its in epoch_of(epochs, 0) for _, src, _ in its} == edges


def test_plan_window_is_a_pure_function() -> None:
    going = several([3.0, 1.0, 1.0])
    through = {(e, n): window(going, e, n) for e in (0, 1, 2) for n in range(going.num_windows)}
    for epoch, number in [(2, 1), (0, going.num_windows - 1), (2, 0), (2, 1)]:
        assert window(several([3.0, 1.0, 1.0]), epoch, number) == through[epoch, number]
        assert window(going, epoch, number) == through[epoch, number]


def test_plan_window_differs_by_seed_epoch_and_window() -> None:
    text = Text(13_000)
    found = [
        frozenset(tuple(rows) for rows, _, _ in window(EpochPlanner(text, seed, 20), epoch, number))
        for seed in (1, 2)
        for epoch in (0, 1)
        for number in (0, 1)
    ]
    assert len(set(found)) == len(found)


def test_plan_window_shuffles_batches() -> None:
    lengths = [tgt for _, _, tgt in window(several(), 0, 0)]
    assert lengths not in (sorted(lengths), sorted(lengths, reverse=True))


def test_plan_window_windows_have_equal_mean_lengths() -> None:
    epochs = several()
    means = [
        float(epochs.corpus.lengths("tgt", np.array(rows_of([its]))).mean())
        for its in epoch_of(epochs, 0)
    ]
    # Int64Array are even from 0 to 11, deviation 3.5; of 1000 rows or more the mean strays by 0.11.
    assert max(abs(mean - 5.5) for mean in means) < 6 * 0.11


@pytest.mark.parametrize(("pairs", "batch_tokens"), [(1, 4096), (50, 64), (9000, 20), (9000, 40)])
def test_plan_window_has_about_window_batches(pairs: int, batch_tokens: int) -> None:
    epochs = EpochPlanner(Text(pairs), 1, batch_tokens)
    tokens = int((epochs.corpus.lengths("tgt") + 1).sum())
    assert epochs.num_windows == max(1, round(tokens / batch_tokens / WINDOW))
    counts = [len(its) for its in epoch_of(epochs, 0)]
    assert all(counts)
    if epochs.num_windows > 1:  # what fits no batch to the brim makes a third more, at this budget
        assert max(counts) < 2 * WINDOW
        assert min(counts) > WINDOW / 2
