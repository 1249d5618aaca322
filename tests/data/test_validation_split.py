"""Held-out validation pairs and training pairs are a partition without common lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nmt.data.corpus.misalignment import MisalignedBlock
from nmt.data.corpus.validation_split import TextSetSplit, hold_out_pairs
from nmt.data.text.reader import Pair
from nmt.errors import DataError
from tests.support.data.memory_chunks import MemoryChunk, make_chunks

PAIRS = st.lists(st.tuples(st.sampled_from("abcdefgh "), st.sampled_from("ABCDEFGH ")), max_size=20)


@dataclass(frozen=True)
class MemoryReader:
    """A text set in memory, read in chunks of three."""

    texts: Sequence[Pair]

    def pairs(self) -> Iterator[Pair]:
        yield from self.texts

    def chunks(self) -> Iterator[MemoryChunk]:
        yield from make_chunks(self.texts, size=3)


def split_sets(
    sets: Sequence[Sequence[Pair]], size: int, seed: int
) -> list[tuple[list[Pair], list[Pair]]]:
    """Hold out pairs; return the training pairs and the held-out pairs of each set."""
    splits = hold_out_pairs([MemoryReader(pairs) for pairs in sets], size, seed)  # type: ignore[arg-type]
    result = []
    for pairs, text_set_split in zip(sets, splits, strict=True):
        parts, numbers = [], []
        for held_out in (False, True):
            chunks = list(text_set_split.chunks(held_out))
            assert all(map(len, chunks)), "no chunk is empty"
            lines = [n for chunk in chunks for n in chunk.numbers]
            assert lines == sorted(lines)
            texts = [pair for chunk in chunks for pair in chunk.pairs()]
            assert texts == [pairs[n - 1] for n in lines], "every pair keeps its line"
            parts.append(texts)
            numbers += lines
        assert sorted(numbers) == list(range(1, len(pairs) + 1))
        result.append((parts[0], parts[1]))
    return result


def split(pairs: Sequence[Pair], size: int, seed: int) -> tuple[list[Pair], list[Pair]]:
    """Return the training pairs and the held-out pairs of one text set."""
    [parts] = split_sets([pairs], size, seed)
    return parts


@given(pairs=PAIRS, size=st.integers(1, 4), seed=st.integers(0, 3))
@settings(max_examples=150, derandomize=True, deadline=None)
def test_hold_out_pairs_is_a_pure_partition(pairs: list[Pair], size: int, seed: int) -> None:
    original = list(pairs)
    try:
        train, valid = split(pairs, size, seed)
    except DataError:
        unique = [
            pair
            for pair in pairs
            if sum(s == pair[0] for s, _ in pairs) == sum(t == pair[1] for _, t in pairs) == 1
            and " " not in pair
        ]
        assert size > len(unique) or size >= len(pairs)
        return
    assert len(valid) == size
    assert train
    assert sorted(train + valid) == sorted(pairs)
    assert not {src for src, _ in valid} & {src for src, _ in train}
    assert not {tgt for _, tgt in valid} & {tgt for _, tgt in train}
    assert " " not in {line for pair in valid for line in pair}
    assert train == [pair for pair in pairs if pair not in valid]
    assert valid == [pair for pair in pairs if pair in valid]
    assert pairs == original
    assert split(pairs, size, seed) == (train, valid)


def test_hold_out_pairs_differs_by_seed() -> None:
    pairs = [(f"s{n}", f"t{n}") for n in range(100)]
    splits = {tuple(split(pairs, 10, seed)[1]) for seed in range(5)}
    assert len(splits) == 5


@pytest.mark.parametrize(
    ("pairs", "size", "limit"),
    [
        ([("a", "x"), ("a", "y"), ("b", "z")], 2, 1),
        ([("a", "x"), ("b", "y")], 2, 2),
        ([("a", "x"), ("", "y"), ("c", "z")], 3, 2),
    ],
    ids=["duplicates", "no training pair", "blank"],
)
def test_hold_out_pairs_too_large_reports_limit(pairs: list[Pair], size: int, limit: int) -> None:
    with pytest.raises(DataError) as caught:
        split(pairs, size, 1)
    message = str(caught.value)
    limit = min(limit, len(pairs) - 1)
    assert message.startswith(f"data.valid: expected at most {limit} pairs, got {size}: ")
    assert f"(set data.valid to {limit} or fewer, or to files of other text)" in message


@pytest.mark.parametrize(
    "pairs", [[("a", "x"), ("b", "y")] * 25, [("", "x"), ("a", "")], [("a", "x"), ("a", "y")]]
)
def test_hold_out_pairs_without_unique_pairs_gives_advice(pairs: list[Pair]) -> None:
    with pytest.raises(DataError) as caught:
        split(pairs, 3, 1)
    assert str(caught.value) == (
        f"data.valid: expected at most 0 pairs, got 3: none of the {len(pairs)} pairs can be held "
        "out, as each has a blank or repeated line (set data.valid to files of other text, or "
        "remove duplicate lines)"
    )


def test_hold_out_pairs_of_single_pair_gives_advice() -> None:
    with pytest.raises(DataError, match=r"one pair alone is the training text \(set data.valid to"):
        split([("a", "x")], 1, 1)


@given(sets=st.lists(PAIRS, min_size=1, max_size=3), size=st.integers(1, 3), seed=st.integers(0, 2))
@settings(max_examples=60, derandomize=True, deadline=None)
def test_hold_out_pairs_treats_sets_as_one_text(
    sets: list[list[Pair]], size: int, seed: int
) -> None:
    """A line that occurs in two sets is not held out."""
    all_pairs = [pair for pairs in sets for pair in pairs]
    try:
        parts = split_sets(sets, size, seed)
    except DataError:
        with pytest.raises(DataError):
            split(all_pairs, size, seed)
        return
    train, valid = ([pair for part in parts for pair in part[side]] for side in (0, 1))
    assert (train, valid) == split(all_pairs, size, seed)


def test_hold_out_pairs_replaces_repeated_candidates() -> None:
    """All but three lines occur twice, so that most candidates must be replaced."""
    pairs = [(f"s{n // 2}", f"t{n // 2}") for n in range(400)]
    unique = [("one", "un"), ("two", "deux"), ("three", "trois")]
    for position, pair in zip((10, 200, 390), unique, strict=True):
        pairs.insert(position, pair)
    assert split(pairs, 3, 1)[1] == unique
    with pytest.raises(DataError, match="at most 3 pairs, got 4: only 3 of the 403 pairs"):
        split(pairs, 4, 1)


@pytest.mark.parametrize(
    ("blocks", "expected"),
    [
        ([], []),
        ([(1, 1)], [1]),
        ([(2, 4), (6, 6)], [2, 3, 4, 6]),
        ([(3, 3), (4, 8)], [3, 4, 5, 6, 7, 8]),
        ([(1, 8)], [1, 2, 3, 4, 5, 6, 7, 8]),
    ],
)
@pytest.mark.parametrize("held_out", [frozenset[int](), frozenset({0, 3, 6})])
def test_split_chunks_mark_misaligned_pairs(
    blocks: list[tuple[int, int]], expected: list[int], held_out: frozenset[int]
) -> None:
    """Chunks have three of the eight pairs, so that blocks begin, end and continue in them."""
    pairs = [(f"s{n}", f"t{n}") for n in range(1, 9)]
    misaligned = [MisalignedBlock(first, last, 1) for first, last in blocks]
    training = TextSetSplit(MemoryReader(pairs), held_out, misaligned)  # type: ignore[arg-type]
    misaligned_lines = [chunk.numbers[i] for chunk in training.chunks() for i in chunk.misaligned]
    assert misaligned_lines == [n for n in expected if n - 1 not in held_out]
