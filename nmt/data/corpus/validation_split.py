"""A validation set out of the training text, chosen without holding the text."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter

from nmt.data.corpus.misalignment import MisalignedBlock
from nmt.data.corpus.text_set_reader import FileChunk, TextSetReader
from nmt.data.text.reservoir_sampling import reservoir_sample
from nmt.errors import DataError

MORE = 4
"""Candidates for each pair that is wanted, since some lines occur twice."""


@dataclass(frozen=True)
class TextSetSplit:
    """Which records of a text set are held out, and which are in misaligned blocks."""

    source: TextSetReader
    held_out: frozenset[int] = frozenset()
    """By their index among all records of the set."""
    misaligned: Sequence[MisalignedBlock] = ()
    """In order."""

    def chunks(self, held_out: bool = False) -> Iterator[FileChunk]:
        """Yield the records that are trained on, or those held out."""
        begin = 0
        for chunk in self.source.chunks():
            here = range(begin, begin + len(chunk))
            begin += len(chunk)
            chunk = self._marked(chunk, here)
            if held_out or not self.held_out.isdisjoint(here):
                chosen = [i for i, n in enumerate(here) if (n in self.held_out) == held_out]
                if chosen:
                    yield chunk.select(chosen)
            else:
                yield chunk

    def _marked(self, chunk: FileChunk, records: range) -> FileChunk:
        """Mark the records of a chunk that are in misaligned blocks."""
        first = bisect_right(self.misaligned, records.start, key=attrgetter("last"))
        reasons = {}
        for block in self.misaligned[first:]:
            if block.first > records.stop:
                break
            for record in range(max(block.first - 1, records.start), min(block.last, records.stop)):
                reasons[record - records.start] = block.reason
        return replace(chunk, misaligned=reasons) if reasons else chunk


def hold_out_pairs(sources: Sequence[TextSetReader], size: int, seed: int) -> list[TextSetSplit]:
    """Choose `size` pairs to hold out: a pure function of its arguments.

    Only pairs whose source and target each occur once are taken, so no line of the validation set
    stands in the training set too. Candidates are drawn first and looked for in the whole text, so
    memory grows with `size` and not with the text.
    """
    wanted = MORE * size
    while True:
        candidates = reservoir_sample(_numbered(sources), wanted, seed)
        counts = tuple(Counter(dict.fromkeys(texts, 0)) for texts in _sides(candidates))
        total = 0
        for _, _, pair in _numbered(sources):
            total += 1
            for count, text in zip(counts, pair, strict=True):
                if text in count:
                    count[text] += 1
        unique = sorted(
            (number, i)
            for number, i, pair in candidates
            if all(c[text] == 1 and text.strip() for c, text in zip(counts, pair, strict=True))
        )
        if size <= len(unique) and size < total:
            break
        if wanted >= total:
            raise DataError(_too_many(size, len(unique), total))
        wanted *= MORE
    chosen = random.Random(seed).sample(unique, size)
    return [
        TextSetSplit(source, frozenset(i for n, i in chosen if n == number))
        for number, source in enumerate(sources)
    ]


def _too_many(size: int, unique: int, total: int) -> str:
    """Say why `size` pairs cannot be held out, and which setting helps."""
    largest = max(0, min(unique, total - 1))
    if largest == 0:
        reason = (
            "one pair alone is the training text"
            if unique
            else f"none of the {total} pairs can be held out, as each has a blank or repeated line"
        )
        way = "set data.valid to files of other text, or remove duplicate lines"
    else:
        reason = (
            f"only {unique} of the {total} pairs have lines that occur once"
            if unique < total
            else "at least one pair must remain for training"
        )
        way = f"set data.valid to {largest} or fewer, or to files of other text"
    return f"data.valid: expected at most {largest} pairs, got {size}: {reason} ({way})"


def _numbered(sources: Sequence[TextSetReader]) -> Iterator[tuple[int, int, tuple[str, str]]]:
    for number, source in enumerate(sources):
        for i, (src, tgt, *_) in enumerate(source.pairs()):
            yield number, i, (src, tgt)


def _sides(found: list[tuple[int, int, tuple[str, str]]]) -> tuple[list[str], list[str]]:
    return [pair[0] for _, _, pair in found], [pair[1] for _, _, pair in found]
