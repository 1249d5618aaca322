"""Mixtures contain the share of each set, repeat pairs equally, and can be sampled in parts."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nmt.data.batching.mixture import Mixture, temperature_weights

CASES = settings(max_examples=60, derandomize=True, deadline=None)
SETS = st.lists(
    st.tuples(st.integers(0, 40), st.sampled_from([0.1, 1.0, 2.5, 7.0, 30.0])),
    min_size=1,
    max_size=5,
).filter(lambda sets: any(size for size, _ in sets))
Sets = list[tuple[int, float]]


def sample_epoch(mixture: Mixture, epoch: int) -> list[tuple[int, int]]:
    """Return (row, pass) of all positions of an epoch."""
    rows, passes = mixture.sample(epoch, np.arange(mixture.total))
    return list(zip(rows.tolist(), passes.tolist(), strict=True))


def make_mixture(sets: Sets, seed: int = 1) -> Mixture:
    return Mixture([size for size, _ in sets], [weight for _, weight in sets], seed)


@given(sizes=st.lists(st.integers(0, 60), min_size=1, max_size=5).filter(any))
@CASES
def test_sample_without_weights_contains_each_pair_once(sizes: list[int]) -> None:
    mixture = Mixture(sizes, None, seed=2)
    for epoch in (0, 1, 5):
        assert sorted(sample_epoch(mixture, epoch)) == [(row, epoch) for row in range(sum(sizes))]


@given(SETS)
@CASES
def test_mixture_counts_are_rounded_shares(sets: Sets) -> None:
    counts = make_mixture(sets).counts
    total = sum(size for size, _ in sets)
    weights = [Fraction(weight) if size else Fraction(0) for size, weight in sets]
    assert sum(counts) == total
    for count, weight in zip(counts, weights, strict=True):
        assert abs(count - weight / sum(weights) * total) < 1
        assert count == 0 or weight > 0


@given(SETS, st.integers(0, 3))
@CASES
def test_sample_epoch_matches_counts(sets: Sets, epoch: int) -> None:
    mixture = make_mixture(sets)
    ends = np.cumsum(mixture.sizes)
    counts = Counter(
        np.searchsorted(ends, [row for row, _ in sample_epoch(mixture, epoch)], "right")
    )
    assert [counts[i] for i in range(len(sets))] == mixture.counts


@given(SETS, st.integers(1, 6))
@CASES
def test_sample_repeats_pairs_of_a_set_equally(sets: Sets, epochs: int) -> None:
    mixture = make_mixture(sets)
    counts = Counter(row for epoch in range(epochs) for row, _ in sample_epoch(mixture, epoch))
    begin = 0
    for size, count in zip(mixture.sizes, mixture.counts, strict=True):
        row_counts = [counts[row] for row in range(begin, begin + size)]
        assert sum(row_counts) == epochs * count
        if size:
            minimum = epochs * count // size
            assert set(row_counts) <= {minimum, minimum + 1}
        begin += size


@given(SETS)
@CASES
def test_sample_pass_contains_each_pair_once(sets: Sets) -> None:
    mixture = make_mixture(sets)
    epochs = 6
    pairs = [pair for epoch in range(epochs) for pair in sample_epoch(mixture, epoch)]
    assert len(set(pairs)) == len(pairs)
    begin = 0
    for size, count in zip(mixture.sizes, mixture.counts, strict=True):
        passes = Counter(number for row, number in pairs if begin <= row < begin + size)
        if size:
            complete, remainder = divmod(epochs * count, size)
            assert passes == Counter(
                dict.fromkeys(range(complete), size) | ({complete: remainder} if remainder else {})
            )
        begin += size


@given(SETS, st.booleans(), st.tuples(st.integers(0, 200), st.integers(0, 200)))
@CASES
def test_sample_range_equals_part_of_epoch(
    sets: Sets, by_weight: bool, cuts: tuple[int, int]
) -> None:
    mixture = make_mixture(sets) if by_weight else Mixture([size for size, _ in sets], None, 1)
    begin, end = sorted(min(cut, mixture.total) for cut in cuts)
    rows, passes = mixture.sample(3, np.arange(begin, end))
    assert (
        list(zip(rows.tolist(), passes.tolist(), strict=True))
        == sample_epoch(mixture, 3)[begin:end]
    )


@pytest.mark.parametrize("weights", [None, [1.0, 6.0, 3.0]], ids=["natural", "weighted"])
def test_sample_mixes_sets_in_every_window(weights: list[float] | None) -> None:
    sizes = [700_000, 50_000, 250_000]
    mixture = Mixture(sizes, weights, seed=5)
    ends = np.cumsum(sizes)
    exact = np.array(weights or sizes) / sum(weights or sizes)
    window = 100_000
    for begin in range(0, mixture.total, window):
        rows, _ = mixture.sample(0, np.arange(begin, begin + window))
        shares = np.bincount(np.searchsorted(ends, rows, "right"), minlength=3) / window
        assert np.abs(shares - exact).max() < 0.01  # six deviations of 100,000 fair draws


def test_sample_order_differs_by_epoch_and_seed() -> None:
    orders = [
        tuple(row for row, _ in sample_epoch(Mixture([300, 200], weights, seed), epoch))
        for weights in (None, [2.0, 1.0])
        for seed in (1, 2)
        for epoch in (0, 1)
    ]
    assert len(set(orders)) == len(orders)


def test_sample_order_differs_by_pass() -> None:
    mixture = Mixture([400, 400], [1.0, 3.0], seed=1)
    halves = [{row for row, _ in sample_epoch(mixture, epoch) if row < 400} for epoch in range(4)]
    assert halves[0] | halves[1] == halves[2] | halves[3] == set(range(400))
    # Two halves by chance share 100 rows, deviation 5.
    assert abs(len(halves[0] & halves[2]) - 100) < 6 * 5


def test_sample_equal_sets_have_independent_orders() -> None:
    mixture = Mixture([400, 400, 200], [1.0, 1.0, 8.0], seed=1)
    rows = [row for row, _ in sample_epoch(mixture, 0)]
    first, second = ({row % 400 for row in rows if row // 400 == i} for i in (0, 1))
    # 100 of 400 rows each; about 25 would be equal by chance, deviation below 5.
    assert len(first) == len(second) == 100
    assert len(first & second) < 25 + 6 * 5


def test_mixture_counts_of_empty_sets_are_0() -> None:
    mixture = Mixture([0, 30, 0, 10], [50.0, 1.0, 50.0, 1.0], seed=1)
    assert mixture.counts == [0, 20, 0, 20]
    rows = Counter(row for row, _ in sample_epoch(mixture, 0))
    assert sum(rows[row] for row in range(30)) == 20
    assert [rows[row] for row in range(30, 40)] == [2] * 10


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=6))
@CASES
def test_temperature_weights_1_returns_sizes(sizes: list[int]) -> None:
    assert temperature_weights(sizes, 1) == sizes


def test_temperature_weights_2_returns_square_roots() -> None:
    assert temperature_weights([100, 900, 0], 2) == pytest.approx([10, 30, 0])


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=6))
@CASES
def test_temperature_weights_high_are_uniform(sizes: list[int]) -> None:
    weights = temperature_weights(sizes, 1e6)
    assert max(weights) / min(weights) < 1.0001


def test_temperature_weights_flatten_and_keep_order() -> None:
    sizes = [1_000_000, 10_000, 100]
    shares = [
        [weight / sum(weights) for weight in weights]
        for weights in (temperature_weights(sizes, t) for t in (1, 2, 5))
    ]
    assert all(a > b > c for a, b, c in shares)
    largest, smallest = [row[0] for row in shares], [row[-1] for row in shares]
    assert largest == sorted(largest, reverse=True)
    assert smallest == sorted(smallest)
