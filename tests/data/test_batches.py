"""Planned batches contain each row once, within the budget and in the given shapes."""

from __future__ import annotations

from collections import Counter
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nmt.config.sections.tokenizer import TokenizerConfig
from nmt.data.batching.batches import (
    Batch,
    Int64Array,
    largest_batches,
    plan_batches,
    plan_eval_batches,
)
from nmt.data.batching.buckets import (
    MAX_COUNTED_LENGTH,
    BatchShapes,
    WeightedLengths,
    choose_shapes,
    length_histogram,
)
from nmt.data.text.reader import read_lines
from nmt.data.tokenizer.tokenizer import Tokenizer
from nmt.data.tokenizer.training import train_tokenizer
from tests.support.paths import CORPORA

MULTI30K = CORPORA / "multi30k"

PLANS = settings(max_examples=60, derandomize=True, deadline=None)
LENGTHS = st.lists(st.tuples(st.integers(1, 90), st.integers(1, 90)), min_size=1, max_size=120)
BUDGETS = st.sampled_from([1, 20, 64, 100, 333, 1000])
MAX_SHAPES = st.sampled_from([1, 2, 3, 8, 30, 1000])
"""Maximum number of shapes."""


def array(values: list[int]) -> Int64Array:
    return np.array(values, dtype=np.int64)


def columns(pairs: list[tuple[int, int]]) -> tuple[Int64Array, Int64Array]:
    return array([src for src, _ in pairs]), array([tgt for _, tgt in pairs])


def as_tuples(batches: list[Batch]) -> list[tuple[list[int], int, int]]:
    return [(batch.rows.tolist(), batch.src_length, batch.tgt_length) for batch in batches]


def shapes_of(pairs: list[tuple[int, int]], max_shapes: int) -> BatchShapes:
    return choose_shapes(length_histogram([WeightedLengths(*columns(pairs), 1.0)]), max_shapes)


def plan(
    pairs: list[tuple[int, int]], budget: int, max_shapes: int, pad_to_longest: bool = False
) -> list[Batch]:
    """Plan pairs of these lengths with the best shapes for them."""
    return list(plan_batches(*columns(pairs), budget, shapes_of(pairs, max_shapes), pad_to_longest))


def rows_of(batches: list[Batch]) -> list[list[int]]:
    return [batch.rows.tolist() for batch in batches]


def all_rows(batches: list[Batch]) -> list[int]:
    return sorted(row for rows in rows_of(batches) for row in rows)


@given(LENGTHS, BUDGETS, MAX_SHAPES, st.booleans())
@PLANS
def test_plan_batches_contains_each_row_once(
    pairs: list[tuple[int, int]], budget: int, max_shapes: int, pad_to_longest: bool
) -> None:
    assert all_rows(plan(pairs, budget, max_shapes, pad_to_longest)) == list(range(len(pairs)))


@given(LENGTHS, BUDGETS, MAX_SHAPES)
@PLANS
def test_plan_batches_fits_rows_within_budget(
    pairs: list[tuple[int, int]], budget: int, max_shapes: int
) -> None:
    src, tgt = columns(pairs)
    batches = plan(pairs, budget, max_shapes)
    shapes = shapes_of(pairs, max_shapes)
    allowed = {
        (int(s), int(t))
        for t, sources in zip(shapes.tgt_lengths, shapes.src_lengths, strict=True)
        for s in sources
    }
    for batch in batches:
        assert batch.tgt_tokens == len(batch.rows) * batch.tgt_length
        assert batch.tgt_tokens <= budget or len(batch.rows) == 1
        assert src[batch.rows].max() <= batch.src_length
        assert tgt[batch.rows].max() <= batch.tgt_length
        assert (batch.src_length, batch.tgt_length) in allowed
    assert len({(batch.src_length, batch.tgt_length) for batch in batches}) <= max_shapes


@given(LENGTHS, BUDGETS, MAX_SHAPES)
@PLANS
def test_plan_batches_pad_to_longest_keeps_rows(
    pairs: list[tuple[int, int]], budget: int, max_shapes: int
) -> None:
    src, tgt = columns(pairs)
    batches = plan(pairs, budget, max_shapes, pad_to_longest=True)
    assert rows_of(batches) == rows_of(plan(pairs, budget, max_shapes))
    for batch in batches:
        assert batch.src_length == src[batch.rows].max()
        assert batch.tgt_length == tgt[batch.rows].max()


@given(LENGTHS, LENGTHS, BUDGETS, MAX_SHAPES, st.booleans())
@PLANS
def test_plan_batches_with_foreign_shapes_fits_all_rows(
    pairs: list[tuple[int, int]],
    other_pairs: list[tuple[int, int]],
    budget: int,
    max_shapes: int,
    pad_to_longest: bool,
) -> None:
    """Online encoding can return longer text than that for which the shapes were chosen."""
    src, tgt = columns(pairs)
    batches = list(
        plan_batches(src, tgt, budget, shapes_of(other_pairs, max_shapes), pad_to_longest)
    )
    assert all_rows(batches) == list(range(len(pairs)))
    for batch in batches:
        assert src[batch.rows].max() <= batch.src_length
        assert tgt[batch.rows].max() <= batch.tgt_length
        assert batch.tgt_tokens <= budget or len(batch.rows) == 1


@pytest.mark.parametrize("pad_to_longest", [False, True])
@pytest.mark.parametrize("max_shapes", [1, 2, 8])
def test_plan_batches_beyond_counted_lengths_fits_rows(
    max_shapes: int, pad_to_longest: bool
) -> None:
    long_pairs = [
        (MAX_COUNTED_LENGTH + 400, 2 * MAX_COUNTED_LENGTH),
        (MAX_COUNTED_LENGTH + 70, 5),
        (5, MAX_COUNTED_LENGTH + 6),
        (MAX_COUNTED_LENGTH, MAX_COUNTED_LENGTH),
    ]
    pairs = [(3, 3)] * 10 + long_pairs
    src, tgt = columns(pairs)
    batches = plan(pairs, 1500, max_shapes, pad_to_longest)
    assert all_rows(batches) == list(range(len(pairs)))
    for batch in batches:
        assert src[batch.rows].max() <= batch.src_length
        assert tgt[batch.rows].max() <= batch.tgt_length
        assert batch.tgt_tokens <= 1500 or len(batch.rows) == 1


@given(LENGTHS, BUDGETS, MAX_SHAPES)
@PLANS
def test_plan_batches_only_last_batch_is_small(
    pairs: list[tuple[int, int]], budget: int, max_shapes: int
) -> None:
    batches = plan(pairs, budget, max_shapes)
    small = [b for b in batches if len(b.rows) < max(1, budget // b.tgt_length)]
    assert small in ([], batches[-1:])


@given(LENGTHS, BUDGETS, MAX_SHAPES)
@PLANS
def test_plan_batches_ascends_in_target_length(
    pairs: list[tuple[int, int]], budget: int, max_shapes: int
) -> None:
    lengths = [batch.tgt_length for batch in plan(pairs, budget, max_shapes)]
    assert lengths == sorted(lengths)


@given(LENGTHS, BUDGETS, MAX_SHAPES, st.booleans())
@PLANS
def test_plan_batches_is_a_pure_function(
    pairs: list[tuple[int, int]], budget: int, max_shapes: int, pad_to_longest: bool
) -> None:
    src, tgt = columns(pairs)
    shapes = shapes_of(pairs, max_shapes)
    state = np.random.get_state()[1].tolist()  # type: ignore[union-attr,index]
    first = list(plan_batches(src, tgt, budget, shapes, pad_to_longest))
    np.random.default_rng(9).random(3)
    assert as_tuples(list(plan_batches(src, tgt, budget, shapes, pad_to_longest))) == as_tuples(
        first
    )
    assert np.random.get_state()[1].tolist() == state  # type: ignore[union-attr,index]
    assert list(zip(src.tolist(), tgt.tolist(), strict=True)) == pairs


@given(LENGTHS, BUDGETS, MAX_SHAPES, st.randoms(use_true_random=False))
@PLANS
def test_plan_batches_batch_counts_ignore_pair_order(
    pairs: list[tuple[int, int]], budget: int, max_shapes: int, random: Random
) -> None:
    """Therefore all epochs have the same number of batches."""
    shuffled = list(pairs)
    random.shuffle(shuffled)
    counts = [
        Counter((len(b.rows), b.tgt_length) for b in plan(order, budget, max_shapes))
        for order in (pairs, shuffled)
    ]
    assert counts[0] == counts[1]


def test_plan_batches_pair_order_decides_composition() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 40, (500, 2))
    compositions = []
    for seed in (1, 2):
        order = np.random.default_rng(seed).permutation(len(lengths))
        batches = plan([(int(s), int(t)) for s, t in lengths[order]], 200, 30)
        compositions.append({tuple(sorted(order[batch.rows].tolist())) for batch in batches})
    assert compositions[0] != compositions[1]


def test_plan_batches_keeps_order_of_equal_lengths() -> None:
    [first, second] = plan([(5, 7)] * 4, 14, 8)
    assert rows_of([first, second]) == [[0, 1], [2, 3]]


@given(LENGTHS, BUDGETS)
@PLANS
def test_plan_eval_batches_pads_to_longest(pairs: list[tuple[int, int]], budget: int) -> None:
    src, tgt = columns(pairs)
    batches = plan_eval_batches(src, tgt, budget)
    assert all_rows(batches) == list(range(len(pairs)))
    for batch in batches:
        assert (batch.src_length, batch.tgt_length) == (
            src[batch.rows].max(),
            tgt[batch.rows].max(),
        )
        assert batch.tgt_tokens <= budget or len(batch.rows) == 1


def test_plan_batches_without_rows_is_empty() -> None:
    assert plan_eval_batches(array([]), array([]), 100) == []
    assert list(plan_batches(array([]), array([]), 100, shapes_of([(3, 3)], 2), False)) == []


@given(
    rows=st.integers(1, 40),
    length=st.integers(1, 30),
    tokens=st.one_of(st.none(), st.integers(1, 200)),
)
@PLANS
def test_batch_split_keeps_order_within_budget(rows: int, length: int, tokens: int | None) -> None:
    batch = Batch(np.arange(rows), 7, length)
    parts = list(batch.split(tokens))
    assert np.concatenate([part.rows for part in parts]).tolist() == list(range(rows))
    assert {(part.src_length, part.tgt_length) for part in parts} == {(7, length)}
    if tokens is None:
        assert len(parts) == 1
    else:
        assert all(part.tgt_tokens <= tokens or len(part.rows) == 1 for part in parts)
        assert sum(len(part.rows) < max(1, tokens // length) for part in parts) <= 1


def test_largest_batches_maximize_tokens_and_token_pairs() -> None:
    wide = Batch(np.arange(2), 50, 2)  # 104 tokens, 200 pairs of a source and a target token
    tall = Batch(np.arange(10), 2, 8)  # 100 and 160
    even = Batch(np.arange(9), 6, 6)  # 108 and 324
    long = Batch(np.arange(1), 20, 20)  # 40 and 400
    assert largest_batches([wide, tall, even, long]) == [even, long]


@pytest.mark.skipif(not MULTI30K.is_dir(), reason="../shared/corpora/multi30k is missing")
def test_plan_batches_on_multi30k_pads_little() -> None:
    text = {side: list(read_lines(MULTI30K / f"train.{side}")) for side in ("en", "de")}
    sample = [*text["en"][:4000], *text["de"][:4000]]
    config = TokenizerConfig(type="bpe", vocab_size=4000)
    tokenizer = Tokenizer(train_tokenizer(sample, config, False, "the text"))
    src, tgt = (array([len(row) + 1 for row in tokenizer.encode(text[s])]) for s in ("en", "de"))
    shapes = choose_shapes(length_histogram([WeightedLengths(src, tgt, 1.0)]), 40)
    for batches in (
        plan_eval_batches(src, tgt, 4096),
        list(plan_batches(src, tgt, 4096, shapes, pad_to_longest=False)),
    ):
        padded = sum(batch.tgt_tokens for batch in batches)
        assert 1 - tgt.sum() / padded < 0.08
