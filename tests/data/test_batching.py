"""Batches: every row once, within the budget, in few shapes, by a pure function."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nmt.config import TokenizerConfig
from nmt.data.batching import Batch, Lengths, plan_epoch, round_up, worst_batches
from nmt.data.text import read_lines
from nmt.data.tokenizer import Tokenizer, train_tokenizer

MULTI30K = Path(__file__).resolve().parents[2] / ".." / "shared" / "corpora" / "multi30k"

EPOCHS = settings(max_examples=60, derandomize=True, deadline=None)
LENGTHS = st.lists(st.tuples(st.integers(1, 90), st.integers(1, 90)), min_size=1, max_size=120)
BUDGETS = st.sampled_from([1, 20, 64, 100, 333, 1000])


def array(values: list[int]) -> Lengths:
    return np.array(values, dtype=np.int64)


def columns(pairs: list[tuple[int, int]]) -> tuple[Lengths, Lengths]:
    return array([src for src, _ in pairs]), array([tgt for _, tgt in pairs])


def plain(batches: list[Batch]) -> list[tuple[list[int], int, int]]:
    return [(batch.rows.tolist(), batch.src_length, batch.tgt_length) for batch in batches]


@pytest.mark.parametrize(
    ("length", "edge"),
    [
        (1, 2),
        (2, 2),
        (3, 4),
        (17, 18),
        (31, 32),
        (32, 32),
        (34, 36),
        (36, 36),
        (62, 64),
        (64, 64),
        (66, 72),
        (128, 128),
        (130, 144),
        (256, 256),
    ],
)
def test_lengths_round_up_in_steps_of_2_then_4_then_8(length: int, edge: int) -> None:
    assert round_up(array([length])).tolist() == [edge]


EVERY_LENGTH = np.arange(1, 20_000, dtype=np.int64)


def test_rounding_never_cuts_keeps_the_order_and_stays_put() -> None:
    edges = round_up(EVERY_LENGTH)
    assert (edges >= EVERY_LENGTH).all()
    assert (np.diff(edges) >= 0).all()
    assert (round_up(edges) == edges).all()


def test_rounding_adds_little() -> None:
    edges = round_up(EVERY_LENGTH)
    assert (edges - EVERY_LENGTH)[:32].max() == 1
    added = (edges - EVERY_LENGTH)[32:] / EVERY_LENGTH[32:]
    assert added.max() < 1 / 8


@pytest.mark.parametrize("longest", [32, 64, 256, 1024, 8192])
def test_there_are_as_few_edges_as_promised(longest: int) -> None:
    edges = set(round_up(EVERY_LENGTH[:longest]).tolist())
    assert len(edges) == 16 + 8 * np.log2(longest / 32)


@given(LENGTHS, BUDGETS)
@EPOCHS
def test_each_row_stands_in_exactly_one_batch(pairs: list[tuple[int, int]], budget: int) -> None:
    batches = plan_epoch(*columns(pairs), seed=1, epoch=0, batch_tokens=budget)
    rows = np.concatenate([batch.rows for batch in batches])
    assert sorted(rows.tolist()) == list(range(len(pairs)))


@given(LENGTHS, BUDGETS)
@EPOCHS
def test_batches_keep_the_budget_and_fit_their_rows(
    pairs: list[tuple[int, int]], budget: int
) -> None:
    src, tgt = columns(pairs)
    for batch in plan_epoch(src, tgt, seed=1, epoch=0, batch_tokens=budget):
        assert batch.tgt_tokens == len(batch.rows) * batch.tgt_length
        assert batch.tgt_tokens <= budget or len(batch.rows) == 1
        assert src[batch.rows].max() <= batch.src_length
        assert tgt[batch.rows].max() <= batch.tgt_length
        shape = array([batch.src_length, batch.tgt_length])
        assert (round_up(shape) == shape).all()


@given(LENGTHS, BUDGETS)
@EPOCHS
def test_at_most_one_batch_of_an_epoch_is_small(pairs: list[tuple[int, int]], budget: int) -> None:
    batches = plan_epoch(*columns(pairs), seed=1, epoch=0, batch_tokens=budget)
    small = [b for b in batches if len(b.rows) < max(1, budget // b.tgt_length)]
    assert len(small) <= 1
    assert all(b.tgt_length == max(b.tgt_length for b in batches) for b in small)


@given(LENGTHS, BUDGETS, st.integers(0, 5), st.integers(0, 5))
@EPOCHS
def test_a_plan_is_a_pure_function_of_its_arguments(
    pairs: list[tuple[int, int]], budget: int, seed: int, epoch: int
) -> None:
    src, tgt = columns(pairs)
    state = np.random.get_state()[1].tolist()  # type: ignore[union-attr,index]
    first = plan_epoch(src, tgt, seed, epoch, budget)
    np.random.default_rng(9).random(3)
    assert plain(plan_epoch(src, tgt, seed, epoch, budget)) == plain(first)
    assert np.random.get_state()[1].tolist() == state  # type: ignore[union-attr,index]
    assert list(zip(src.tolist(), tgt.tolist(), strict=True)) == pairs


@given(LENGTHS, BUDGETS)
@EPOCHS
def test_every_epoch_has_as_many_batches_of_each_length(
    pairs: list[tuple[int, int]], budget: int
) -> None:
    plans = [plan_epoch(*columns(pairs), 1, epoch, budget) for epoch in range(4)]
    counts = [Counter((len(b.rows), b.tgt_length) for b in plan) for plan in plans]
    assert all(count == counts[0] for count in counts)


def test_other_epochs_and_seeds_come_in_another_order() -> None:
    rng = np.random.default_rng(0)
    src, tgt = rng.integers(1, 40, (2, 500))
    plans = [plan_epoch(src, tgt, seed, epoch, 200) for seed in (1, 2) for epoch in (0, 1)]
    orders = {tuple(np.concatenate([b.rows for b in plan]).tolist()) for plan in plans}
    assert len(orders) == 4
    # Not only the order of the batches changes: other rows meet.
    meetings = [{tuple(sorted(b.rows.tolist())) for b in plan} for plan in plans]
    assert meetings[0] != meetings[1]


def test_batches_of_one_epoch_do_not_come_sorted_by_length() -> None:
    lengths = np.arange(1, 400, dtype=np.int64) % 60 + 1
    edges = [b.tgt_length for b in plan_epoch(lengths, lengths, 1, 0, 100)]
    assert edges != sorted(edges)
    assert edges != sorted(edges, reverse=True)


def test_no_rows_make_no_batches() -> None:
    assert plan_epoch(array([]), array([]), 1, 0, 100) == []


@given(
    rows=st.integers(1, 40),
    length=st.integers(1, 30),
    tokens=st.one_of(st.none(), st.integers(1, 200)),
)
@EPOCHS
def test_a_cut_covers_the_batch_in_order_within_the_budget(
    rows: int, length: int, tokens: int | None
) -> None:
    batch = Batch(np.arange(rows), 7, length)
    parts = list(batch.cut(tokens))
    assert np.concatenate([part.rows for part in parts]).tolist() == list(range(rows))
    assert {(part.src_length, part.tgt_length) for part in parts} == {(7, length)}
    if tokens is None:
        assert len(parts) == 1
    else:
        assert all(part.tgt_tokens <= tokens or len(part.rows) == 1 for part in parts)
        assert sum(len(part.rows) < max(1, tokens // length) for part in parts) <= 1


def test_the_worst_batches_have_the_most_tokens_and_the_most_pairs_of_tokens() -> None:
    wide = Batch(np.arange(2), 50, 2)  # 104 tokens, 200 pairs of a source and a target token
    tall = Batch(np.arange(10), 2, 8)  # 100 and 160
    even = Batch(np.arange(9), 6, 6)  # 108 and 324
    long = Batch(np.arange(1), 20, 20)  # 40 and 400
    assert worst_batches([wide, tall, even, long]) == [even, long]


@pytest.mark.skipif(not MULTI30K.is_dir(), reason="../shared/corpora/multi30k is not here")
def test_little_is_padding_on_real_lengths() -> None:
    text = {side: list(read_lines(MULTI30K / f"train.{side}")) for side in ("en", "de")}
    sample = [*text["en"][:4000], *text["de"][:4000]]
    config = TokenizerConfig(type="bpe", vocab_size=4000)
    tokenizer = Tokenizer(train_tokenizer(sample, config, False, "the text"))
    src, tgt = (array([len(row) + 1 for row in tokenizer.encode(text[s])]) for s in ("en", "de"))
    batches = plan_epoch(src, tgt, seed=1, epoch=0, batch_tokens=4096)
    padded = sum(batch.tgt_tokens for batch in batches)
    assert 1 - tgt.sum() / padded < 0.08
