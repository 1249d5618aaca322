"""Divide a pair of a line and its translation into parts that are forced one by one.

Forcing a pair costs time and memory in proportion to S x T, so a pair that is too long is halved
until its parts fit, at sentence ends if possible.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from nmt.data.text.sentence_splitter import sentence_ends
from nmt.decoding.lines.splitting import BOUNDARY_PATTERNS, LineSplitter, Segment, split_after

MAX_CELLS = 200_000
"""Maximum number of pairs of a source and a target token that are forced together."""
MAX_TOKENS = 2_000
"""Maximum number of tokens on a side that is forced at once."""
MAX_TAG_TOKENS = 10
"""Bound on the tokens of a source that spell none of its bytes."""
MAX_BOUNDARY_DISTANCE = 0.15
"""Maximum distance of a boundary from where it should be, as a share of the text."""

TokenIds = Sequence[int]
TokenCounts = tuple[int, int]
CountTokens = Callable[[str, str], TokenCounts]
"""Returns the numbers of source and target tokens of a pair of texts."""


@dataclass(frozen=True)
class PairSegment:
    """A piece of a source, and the piece of its translation that belongs to it."""

    source: Segment
    target: Segment


def fits_single_pass(source_tokens: int, target_tokens: int) -> bool:
    """Return whether a pair with these numbers of tokens, ends excluded, is forced at once."""
    cells = (source_tokens + 1) * (target_tokens + 1)
    return cells <= MAX_CELLS and max(source_tokens, target_tokens) <= MAX_TOKENS


def batch_by_size(pairs: Sequence[tuple[TokenIds, TokenIds]], lines: int) -> Iterator[list[int]]:
    """Divide pairs, by index, into batches of at most so many, and of CELLS padded T x S.

    `pairs` are source and target tokens; those of like length come together.
    """
    sizes = [(len(target) + 1, len(source) + 1) for source, target in pairs]
    batch: list[int] = []
    longest = (0, 0)
    for i in sorted(range(len(sizes)), key=lambda i: sizes[i]):
        grown = (max(longest[0], sizes[i][0]), max(longest[1], sizes[i][1]))
        if batch and (len(batch) == lines or (len(batch) + 1) * grown[0] * grown[1] > MAX_CELLS):
            yield batch
            batch, grown = [], sizes[i]
        batch.append(i)
        longest = grown
    if batch:
        yield batch


def split_pair(
    source: str, target: str, splitter: LineSplitter, count_tokens: CountTokens
) -> list[PairSegment]:
    """Return the parts in which a pair is forced; the texts and white space of each side add up.

    With `splitter.by_sentence` they are sentences, if both sides have the same number of them. A
    part may lack one of its sides if that is too short to be divided.
    """
    pairs = [PairSegment(Segment(source), Segment(target))]
    if splitter.by_sentence:
        sources = split_after(source, sentence_ends(source, splitter.language))
        targets = split_after(target, sentence_ends(target, splitter.target_language))
        if len(sources) == len(targets) > 1:
            pairs = [PairSegment(*sides) for sides in zip(sources, targets, strict=True)]
    return [part for pair in pairs for part in _halved(pair, splitter, count_tokens)]


def _halved(
    pair: PairSegment, splitter: LineSplitter, count_tokens: CountTokens
) -> list[PairSegment]:
    """Halve a pair until its parts fit."""
    source, target = pair.source.text, pair.target.text
    bytes_on_sides = len(source.encode()) + MAX_TAG_TOKENS, len(target.encode())
    if fits_single_pass(*bytes_on_sides) or fits_single_pass(*count_tokens(source, target)):
        return [pair]
    source_ends = sentence_ends(source, splitter.language)
    target_ends = sentence_ends(target, splitter.target_language)
    if source_ends and len(source_ends) == len(target_ends):
        middle = min(source_ends, key=lambda end: abs(end - len(source) / 2))
        target_middle = target_ends[source_ends.index(middle)]
    else:
        middle = _boundary(source, 0.5, source_ends)
        share = middle / len(source) if 0 < middle < len(source) else 0.5
        target_middle = _boundary(target, share, target_ends)
    sides = []
    for part, end in ((pair.source, middle), (pair.target, target_middle)):
        first, second = part.text[:end], part.text[end:]
        body = second.lstrip()
        sides.append((Segment(first, second[: len(second) - len(body)]), Segment(body, part.after)))
    return [
        part
        for half in zip(*sides, strict=True)
        for part in _halved(PairSegment(*half), splitter, count_tokens)
    ]


def _boundary(text: str, share: float, sentences: list[int]) -> int:
    """Return the index of the best boundary near a share of a text: sentence, clause, word."""
    wanted = share * len(text)
    near = MAX_BOUNDARY_DISTANCE * len(text)
    levels = [
        sentences,
        *([end.end() for end in ends.finditer(text)] for ends in BOUNDARY_PATTERNS[:-1]),
    ]
    for ends in levels:
        candidates = [end for end in ends if abs(end - wanted) <= near and end < len(text)]
        if candidates:
            return min(candidates, key=lambda end: abs(end - wanted))
    return round(wanted)
