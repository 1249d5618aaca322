"""Batch shapes have minimal padding and fit every pair; batches use these shapes."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nmt.data.batching.batches import plan_batches
from nmt.data.batching.buckets import (
    MAX_COUNTED_LENGTH,
    BatchShapes,
    FloatArray,
    Int64Array,
    WeightedLengths,
    choose_shapes,
    choose_unlimited_shapes,
    length_histogram,
)

CASES = settings(max_examples=40, derandomize=True, deadline=None)
HISTOGRAMS = st.dictionaries(st.integers(1, 20), st.integers(1, 9), min_size=1, max_size=9)
PAIRS = st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)), min_size=1, max_size=100)
BUDGETS = st.sampled_from([1, 20, 64, 100, 333, 1000])
Pairs = list[tuple[int, int]]


def columns(pairs: Pairs) -> tuple[Int64Array, Int64Array]:
    src, tgt = np.array(pairs, np.int64).T
    return src, tgt


def histogram_of(pairs: Pairs) -> FloatArray:
    return length_histogram([WeightedLengths(*columns(pairs), 1.0)])


def list_shapes(shapes: BatchShapes) -> list[tuple[int, int]]:
    """Return every (source, target) shape."""
    pairs = zip(shapes.src_lengths, shapes.tgt_lengths.tolist(), strict=True)
    return [(src, tgt) for sources, tgt in pairs for src in sources.tolist()]


def padding(histogram: dict[int, int], padded_lengths: tuple[int, ...]) -> int:
    """Return the padding if each length is padded to the next padded length."""
    return sum(
        count * (min(padded for padded in padded_lengths if padded >= length) - length)
        for length, count in histogram.items()
    )


def minimal_padding(histogram: dict[int, int], max_shapes: int) -> int:
    """Return the least padding of all sets of padded lengths."""
    lengths = sorted(histogram)
    return min(
        padding(histogram, (*padded_lengths, lengths[-1]))
        for size in range(min(max_shapes, len(lengths)))
        for padded_lengths in combinations(lengths[:-1], size)
    )


@given(HISTOGRAMS, st.integers(1, 10))
@CASES
def test_choose_shapes_source_lengths_are_optimal(
    histogram: dict[int, int], max_shapes: int
) -> None:
    pairs = [(length, 7) for length, count in histogram.items() for _ in range(count)]
    shapes = choose_shapes(histogram_of(pairs), max_shapes)
    assert shapes.tgt_lengths.tolist() == [7]
    [src_lengths] = shapes.src_lengths
    assert len(src_lengths) <= max_shapes
    assert padding(histogram, tuple(src_lengths.tolist())) == minimal_padding(histogram, max_shapes)


@given(
    HISTOGRAMS, st.integers(1, 4)
)  # with more than four shapes, some are reserved for source lengths
@CASES
def test_choose_shapes_target_lengths_are_optimal(
    histogram: dict[int, int], max_shapes: int
) -> None:
    pairs = [(7, length) for length, count in histogram.items() for _ in range(count)]
    shapes = choose_shapes(histogram_of(pairs), max_shapes)
    assert len(shapes) <= max_shapes
    assert {src for src, _ in list_shapes(shapes)} == {7}
    tgt_lengths = tuple(shapes.tgt_lengths.tolist())
    assert padding(histogram, tgt_lengths) == minimal_padding(histogram, max_shapes)


def test_choose_shapes_small_example_gives_expected_shapes() -> None:
    pairs = [(2, 5)] * 5 + [(3, 5)] + [(9, 5)] * 3
    assert list_shapes(choose_shapes(histogram_of(pairs), 1)) == [(9, 5)]
    assert list_shapes(choose_shapes(histogram_of(pairs), 2)) == [(3, 5), (9, 5)]
    assert list_shapes(choose_shapes(histogram_of(pairs), 3)) == [(2, 5), (3, 5), (9, 5)]
    assert list_shapes(choose_shapes(histogram_of(pairs), 4)) == [(2, 5), (3, 5), (9, 5)]


def test_choose_shapes_depends_on_weights() -> None:
    short = columns([(2, 5), (9, 5), (9, 5)])
    long = columns([(7, 5)])
    light, heavy = (
        length_histogram([WeightedLengths(*short, 1.0), WeightedLengths(*long, weight)])
        for weight in (0.5, 9.0)
    )
    # With two source lengths, either 7 is padded to 9 or 2 is padded to 7.
    assert list_shapes(choose_shapes(light, 2)) == [(2, 5), (9, 5)]
    assert list_shapes(choose_shapes(heavy, 2)) == [(7, 5), (9, 5)]


@given(PAIRS, st.integers(1, 30))
@CASES
def test_choose_shapes_fits_pairs_within_limit(pairs: Pairs, max_shapes: int) -> None:
    shapes = choose_shapes(histogram_of(pairs), max_shapes)
    assert len(shapes) == len(list_shapes(shapes)) <= max_shapes
    assert (np.diff(shapes.tgt_lengths) > 0).all()
    assert all((np.diff(sources) > 0).all() for sources in shapes.src_lengths)
    for src, tgt in pairs:
        bucket = int(np.searchsorted(shapes.tgt_lengths, tgt))
        assert shapes.padded_tgt_length(bucket, tgt) >= tgt
        assert shapes.padded_src_length(bucket, src) >= src
        assert (
            shapes.padded_src_length(bucket, src),
            shapes.padded_tgt_length(bucket, tgt),
        ) in list_shapes(shapes)


@given(HISTOGRAMS, st.booleans())
@CASES
def test_choose_shapes_more_shapes_never_pad_more(
    histogram: dict[int, int], of_source: bool
) -> None:
    lengths = [length for length, count in histogram.items() for _ in range(count)]
    counts = histogram_of([(n, 7) if of_source else (7, n) for n in lengths])
    paddings = [
        padding(histogram, tuple(shape[0 if of_source else 1] for shape in list_shapes(shapes)))
        for shapes in (choose_shapes(counts, max_shapes) for max_shapes in (1, 2, 3, 4, 6, 9))
    ]
    assert paddings == sorted(paddings, reverse=True)


def test_choose_shapes_many_shapes_pad_both_sides_less() -> None:
    src, tgt = np.random.default_rng(1).gamma(4, 6, (2, 5000)).astype(np.int64) + 1
    counts = length_histogram([WeightedLengths(src, tgt, 1.0)])
    ratios = []
    for max_shapes in (1, 4, 16, 64, 256):
        shapes = choose_shapes(counts, max_shapes)
        buckets = np.searchsorted(shapes.tgt_lengths, tgt)
        padded = sum(
            shapes.padded_src_length(c, s) + shapes.padded_tgt_length(c, t)
            for c, s, t in zip(buckets.tolist(), src.tolist(), tgt.tolist(), strict=True)
        )
        ratios.append(padded / (src.sum() + tgt.sum()))
    assert ratios == sorted(ratios, reverse=True)
    assert ratios[0] == pytest.approx(5000 * (src.max() + tgt.max()) / (src.sum() + tgt.sum()))
    # 16 buckets with 16 source lengths each: the padded lengths are about 6 tokens apart.
    assert ratios[-1] < 1.1


@given(PAIRS, st.integers(1, 4), st.sampled_from([5, 50, 500]))
@CASES
def test_choose_unlimited_shapes_number_depends_on_batches(
    pairs: Pairs, windows: int, batch_tokens: int
) -> None:
    shapes = choose_unlimited_shapes(histogram_of(pairs), batch_tokens, windows)
    batches = sum(tgt for _, tgt in pairs) / batch_tokens / windows
    assert 1 <= len(shapes) <= max(1, 1.4 * batches + 0.5)


def test_length_histogram_counts_weights_and_clips() -> None:
    counts = length_histogram(
        [
            WeightedLengths(*columns([(1, 2), (1, 2), (3, 1)]), 2.0),
            WeightedLengths(*columns([(5000, 2), (2000, 9000)]), 0.5),
        ]
    )
    assert counts[1, 2] == 4
    assert counts[3, 1] == 2
    assert counts[MAX_COUNTED_LENGTH, 2] == 0.5
    assert counts[MAX_COUNTED_LENGTH, MAX_COUNTED_LENGTH] == 0.5
    assert counts.sum() == 7


# Batches with given shapes


@given(PAIRS, PAIRS, BUDGETS, st.integers(1, 12), st.booleans())
@CASES
def test_plan_batches_with_any_shapes_fits_rows(
    shape_pairs: Pairs, pairs: Pairs, budget: int, max_shapes: int, pad_to_longest: bool
) -> None:
    """The shapes may be those of another text with shorter lines."""
    shapes = choose_shapes(histogram_of(shape_pairs), max_shapes)
    src, tgt = columns(pairs)
    batches = list(plan_batches(src, tgt, budget, shapes, pad_to_longest))
    rows = np.concatenate([batch.rows for batch in batches])
    assert sorted(rows.tolist()) == list(range(len(pairs)))
    for batch in batches:
        assert batch.tgt_tokens <= budget or len(batch.rows) == 1
        longest_src, longest_tgt = int(src[batch.rows].max()), int(tgt[batch.rows].max())
        if pad_to_longest:
            assert (batch.src_length, batch.tgt_length) == (longest_src, longest_tgt)
        else:
            assert batch.src_length >= longest_src
            assert batch.tgt_length >= longest_tgt


@given(PAIRS, BUDGETS, st.integers(1, 12), st.data())
@CASES
def test_plan_batches_uses_only_given_shapes(
    pairs: Pairs, budget: int, max_shapes: int, data: st.DataObject
) -> None:
    shapes = choose_shapes(histogram_of(pairs), max_shapes)
    drawn_pairs = data.draw(st.lists(st.sampled_from(pairs), min_size=1, max_size=80))
    batches = plan_batches(*columns(drawn_pairs), budget, shapes, pad_to_longest=False)
    assert {(batch.src_length, batch.tgt_length) for batch in batches} <= set(list_shapes(shapes))


@given(PAIRS, BUDGETS, st.integers(1, 12))
@CASES
def test_plan_batches_fills_all_but_last_batch(pairs: Pairs, budget: int, max_shapes: int) -> None:
    shapes = choose_shapes(histogram_of(pairs), max_shapes)
    batches = list(plan_batches(*columns(pairs), budget, shapes, pad_to_longest=False))
    assert all(len(b.rows) == max(1, budget // b.tgt_length) for b in batches[:-1])
    assert [b.tgt_length for b in batches] == sorted(b.tgt_length for b in batches)


def test_plan_batches_longer_pairs_get_larger_shapes() -> None:
    shapes = choose_shapes(histogram_of([(4, 4), (8, 8)]), 2)
    src, tgt = columns([(4, 4), (100, 3), (3, 100), (100, 200)])
    batches = list(plan_batches(src, tgt, 8, shapes, pad_to_longest=False))
    shape_of_row = {row: (b.src_length, b.tgt_length) for b in batches for row in b.rows.tolist()}
    assert shape_of_row[3] == (100, 200)
    for row, (src_length, tgt_length) in shape_of_row.items():
        assert src_length >= src[row]
        assert tgt_length >= tgt[row]


def test_plan_batches_small_example_gives_expected_batches() -> None:
    shapes = choose_shapes(histogram_of([(2, 3), (5, 3), (9, 6)]), 3)
    assert list_shapes(shapes) == [(2, 3), (5, 3), (9, 6)]
    src, tgt = columns([(5, 3), (2, 3), (1, 1), (9, 6), (4, 2)])
    to_shapes, to_longest = (
        [
            (b.rows.tolist(), b.src_length, b.tgt_length)
            for b in plan_batches(src, tgt, 6, shapes, pad_to_longest)
        ]
        for pad_to_longest in (False, True)
    )
    assert to_shapes == [([1, 2], 2, 3), ([0, 4], 5, 3), ([3], 9, 6)]
    assert to_longest == [([1, 2], 2, 3), ([0, 4], 5, 3), ([3], 9, 6)]
    src, tgt = columns(
        [(4, 1), (1, 1), (2, 2)]
    )  # one pair is left over and moves to the next bucket
    assert [
        (b.rows.tolist(), b.src_length, b.tgt_length)
        for b in plan_batches(src, tgt, 12, choose_shapes(histogram_of([(4, 1), (2, 6)]), 2), False)
    ] == [([0, 1], 4, 6), ([2], 4, 6)]
