"""Computed permutations are complete, look random, and can be computed in parts."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nmt.data.batching.permutation import mix64, permute

CASES = settings(max_examples=60, derandomize=True, deadline=None)


def permutation_of(size: int, *seed: int) -> list[int]:
    return permute(np.arange(size), size, *seed).tolist()


@pytest.mark.parametrize("seed", [(0,), (7, 3), (2**40, 5, 1)], ids=str)
def test_permute_contains_each_number_once(seed: tuple[int, ...]) -> None:
    for size in range(1, 301):
        assert sorted(permutation_of(size, *seed)) == list(range(size))


@given(size=st.integers(1, 5000), cuts=st.tuples(st.integers(0, 5000), st.integers(0, 5000)))
@CASES
def test_permute_range_equals_part_of_permutation(size: int, cuts: tuple[int, int]) -> None:
    begin, end = sorted(min(cut, size) for cut in cuts)
    assert permute(np.arange(begin, end), size, 4).tolist() == permutation_of(size, 4)[begin:end]


@given(positions=st.lists(st.integers(0, 999), max_size=50))
@CASES
def test_permute_accepts_any_positions(positions: list[int]) -> None:
    permutation = permutation_of(1000, 4)
    array = np.array(positions, np.int64)
    assert permute(array, 1000, 4).tolist() == [permutation[position] for position in positions]
    assert array.tolist() == positions


def test_permute_depends_on_all_seed_values() -> None:
    seeds = [(1,), (2,), (1, 1), (1, 2), (2, 1), (1, 1, 1), (1, 1, 2), (2**40,)]
    assert permutation_of(500, 1, 2) == permutation_of(500, 1, 2)
    assert len({tuple(permutation_of(500, *seed)) for seed in seeds}) == len(seeds)


@pytest.mark.parametrize("size", [10_000, 16_384, 16_385])
def test_permute_is_uncorrelated_with_positions(size: int) -> None:
    # The correlation of two independent orders has mean 0 and deviation 1 / sqrt(size - 1).
    positions, bound = np.arange(size), 5 / (size - 1) ** 0.5
    for seed in range(8):
        values = permute(positions, size, seed)
        assert abs(np.corrcoef(positions, values)[0, 1]) < bound
        assert abs(np.corrcoef(values[:-1], values[1:])[0, 1]) < bound
        other_values = permute(positions, size, seed + 100)
        assert abs(np.corrcoef(values, other_values)[0, 1]) < bound


def test_permute_separates_neighbors() -> None:
    size, seeds = 4096, 20
    neighbors = sum(
        int((np.abs(np.diff(permute(np.arange(size), size, seed))) == 1).sum())
        for seed in range(seeds)
    )
    # A random order has 2 such pairs on average, a Poisson count: 40 over all seeds.
    assert neighbors < 40 + 6 * 40**0.5


@pytest.mark.parametrize("size", [5, 7, 13])
def test_permute_is_about_uniform(size: int) -> None:
    seeds = 1500
    counts = Counter(
        position for seed in range(seeds) for position in enumerate(permutation_of(size, seed))
    )
    mean = seeds / size
    # Half of the mean is 5 to 10 deviations of fair counts; a network this small is not quite fair.
    assert len(counts) == size * size
    assert all(abs(count - mean) < mean / 2 for count in counts.values())


def test_permute_generates_all_orders_of_4() -> None:
    assert len({tuple(permutation_of(4, seed)) for seed in range(600)}) == 24


def test_permute_huge_size_needs_no_memory() -> None:
    size = 10**12
    positions = np.concatenate([np.arange(1000), np.arange(size - 1000, size)])
    values = permute(positions, size, 3)
    assert len(set(values.tolist())) == len(positions)
    assert values.min() >= 0
    assert values.max() < size
    assert permute(positions[::-1], size, 3).tolist() == values[::-1].tolist()
    # The mean of 2000 numbers drawn evenly has a deviation of size / sqrt(12 * 2000).
    assert abs(values.mean() / size - 0.5) < 6 / (12 * 2000) ** 0.5


def test_permute_without_positions_is_empty() -> None:
    assert permute(np.empty(0, np.int64), 10, 1).tolist() == []


def test_mix64_is_injective_and_flips_half_the_bits() -> None:
    numbers = np.arange(20_000, dtype=np.uint64)
    values = mix64(numbers)
    assert len(np.unique(values)) == len(numbers)
    flipped = np.bitwise_count(values ^ mix64(numbers ^ np.uint64(1)))
    # Of 64 fair bits 32 flip, deviation 4 for one number and 4 / sqrt(20000) for the mean.
    assert abs(flipped.mean() - 32) < 6 * 4 / 20_000**0.5
