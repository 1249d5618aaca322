"""Hold out validation pairs from the training text, without loading the text into memory."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import NamedTuple

from nmt.data.corpus.misalignment import MisalignedBlock
from nmt.data.corpus.text_set_reader import FileChunk, TextSetReader
from nmt.data.text.reservoir_sampling import reservoir_sample
from nmt.errors import DataError

CANDIDATES_PER_PAIR = 4
"""Number of candidates per held-out pair; candidates with repeated lines are discarded."""


@dataclass(frozen=True)
class TextSetSplit:
    """A text set with the indices of its held-out pairs and its misaligned blocks."""

    reader: TextSetReader
    held_out: frozenset[int] = frozenset()
    """Indices of held-out pairs in the text set."""
    misaligned: Sequence[MisalignedBlock] = ()
    """Misaligned blocks, in order."""

    def chunks(self, held_out: bool = False) -> Iterator[FileChunk]:
        """Yield the training pairs, or the held-out pairs."""
        start = 0
        for chunk in self.reader.chunks():
            indices = range(start, start + len(chunk))
            start += len(chunk)
            chunk = self._mark_misaligned(chunk, indices)
            if held_out or not self.held_out.isdisjoint(indices):
                chosen = [i for i, n in enumerate(indices) if (n in self.held_out) == held_out]
                if chosen:
                    yield chunk.select(chosen)
            else:
                yield chunk

    def _mark_misaligned(self, chunk: FileChunk, indices: range) -> FileChunk:
        """Return the chunk with the reasons to drop its pairs in misaligned blocks."""
        first_block = bisect_right(self.misaligned, indices.start, key=attrgetter("last"))
        reasons = {}
        for block in self.misaligned[first_block:]:
            if block.first > indices.stop:
                break
            first, end = max(block.first - 1, indices.start), min(block.last, indices.stop)
            for index in range(first, end):
                reasons[index - indices.start] = block.reason
        return replace(chunk, misaligned=reasons) if reasons else chunk


class _PositionedPair(NamedTuple):
    """A pair with the index of its text set and its position in this set."""

    set_index: int
    position: int
    src: str
    tgt: str


def hold_out_pairs(readers: Sequence[TextSetReader], size: int, seed: int) -> list[TextSetSplit]:
    """Choose `size` pairs to hold out: a pure function of its arguments.

    Only pairs with a source and a target that occur once are chosen, so that no line of the
    validation set is in the training set. Candidates are sampled first, then counted in the text.
    Memory therefore grows with `size`, not with the text.
    """
    candidate_count = CANDIDATES_PER_PAIR * size
    while True:
        candidates = reservoir_sample(_read_pairs(readers), candidate_count, seed)
        src_counts = Counter(dict.fromkeys((pair.src for pair in candidates), 0))
        tgt_counts = Counter(dict.fromkeys((pair.tgt for pair in candidates), 0))
        total = 0
        for pair in _read_pairs(readers):
            total += 1
            if pair.src in src_counts:
                src_counts[pair.src] += 1
            if pair.tgt in tgt_counts:
                tgt_counts[pair.tgt] += 1
        unique = sorted(
            (pair.set_index, pair.position)
            for pair in candidates
            if src_counts[pair.src] == 1
            and tgt_counts[pair.tgt] == 1
            and pair.src.strip()
            and pair.tgt.strip()
        )
        if size <= len(unique) and size < total:
            break
        if candidate_count >= total:
            raise DataError(_too_many_message(size, len(unique), total))
        candidate_count *= CANDIDATES_PER_PAIR
    chosen = random.Random(seed).sample(unique, size)
    return [
        TextSetSplit(reader, frozenset(i for number, i in chosen if number == set_index))
        for set_index, reader in enumerate(readers)
    ]


def _read_pairs(readers: Sequence[TextSetReader]) -> Iterator[_PositionedPair]:
    """Yield the pairs of all text sets."""
    for set_index, reader in enumerate(readers):
        for position, (src, tgt) in enumerate(reader.pairs()):
            yield _PositionedPair(set_index, position, src, tgt)


def _too_many_message(size: int, unique: int, total: int) -> str:
    """Return why `size` pairs cannot be held out, and a setting that works."""
    largest = max(0, min(unique, total - 1))
    if largest > 0:
        suggestion = f"set data.valid to {largest} or fewer, or to files of other text"
        reason = "at least one pair must remain for training"
        if unique < total:
            reason = f"only {unique} of the {total} pairs have lines that occur once"
    else:
        suggestion = "set data.valid to files of other text, or remove duplicate lines"
        reason = f"none of the {total} pairs can be held out, as each has a blank or repeated line"
        if unique:
            reason = "one pair alone is the training text"
    return f"data.valid: expected at most {largest} pairs, got {size}: {reason} ({suggestion})"
