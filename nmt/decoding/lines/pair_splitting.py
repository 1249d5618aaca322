"""Split a pair of a line and its translation into segments for forced decoding.

Forced decoding of a pair takes time and memory in proportion to S x T. A pair that is too long is
halved until its segments fit, at sentence ends if possible.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from nmt.data.text.sentence_splitter import find_sentence_ends
from nmt.decoding.lines.splitting import BOUNDARY_PATTERNS, LineSplitter, Segment, split_after

MAX_CELLS = 200_000
"""Maximum number of cells of a padded batch: pairs x target tokens x source tokens."""
MAX_TOKENS = 2_000
"""Maximum number of tokens of each side of a segment."""
MAX_TAG_TOKENS = 10
"""Upper bound on the source tokens that encode no byte of the text."""
MAX_BOUNDARY_DISTANCE = 0.15
"""Maximum distance of a boundary from its ideal position, as a share of the text."""

TokenIds = Sequence[int]
TokenCounts = tuple[int, int]
CountTokens = Callable[[str, str], TokenCounts]
"""Returns the numbers of source and target tokens of a pair of texts."""


@dataclass(frozen=True)
class PairSegment:
    """A segment of a source line and the corresponding segment of its translation."""

    source: Segment
    target: Segment


def fits_forward_pass(source_tokens: int, target_tokens: int) -> bool:
    """Return whether one forward pass can process a pair of these lengths, without eos."""
    cells = (source_tokens + 1) * (target_tokens + 1)
    return cells <= MAX_CELLS and max(source_tokens, target_tokens) <= MAX_TOKENS


def batch_by_size(
    pairs: Sequence[tuple[TokenIds, TokenIds]], batch_size: int
) -> Iterator[list[int]]:
    """Yield batches of at most `batch_size` pairs and MAX_CELLS cells, as indices into `pairs`.

    Pairs of similar length share a batch. `pairs` contains source and target tokens.
    """
    shapes = [(len(target) + 1, len(source) + 1) for source, target in pairs]
    batch: list[int] = []
    batch_shape = (0, 0)
    for i in sorted(range(len(shapes)), key=lambda i: shapes[i]):
        target_length = max(batch_shape[0], shapes[i][0])
        source_length = max(batch_shape[1], shapes[i][1])
        cells = (len(batch) + 1) * target_length * source_length
        if batch and (len(batch) == batch_size or cells > MAX_CELLS):
            yield batch
            batch = []
            target_length, source_length = shapes[i]
        batch.append(i)
        batch_shape = (target_length, source_length)
    if batch:
        yield batch


def split_pair(
    source: str, target: str, splitter: LineSplitter, count_tokens: CountTokens
) -> list[PairSegment]:
    """Return the segments of a pair; joined with their white space they equal each side.

    With `splitter.by_sentence`, segments are sentences if both sides have the same number. One
    side of a segment can be blank if the text is too short to be split.
    """
    pairs = [PairSegment(Segment(source), Segment(target))]
    if splitter.by_sentence:
        sources = split_after(source, find_sentence_ends(source, splitter.language))
        targets = split_after(target, find_sentence_ends(target, splitter.target_language))
        if len(sources) == len(targets) > 1:
            pairs = [PairSegment(*sides) for sides in zip(sources, targets, strict=True)]
    return [segment for pair in pairs for segment in _halve(pair, splitter, count_tokens)]


def _halve(
    pair: PairSegment, splitter: LineSplitter, count_tokens: CountTokens
) -> list[PairSegment]:
    """Halve a pair recursively until its segments fit one forward pass."""
    source, target = pair.source.text, pair.target.text
    max_counts = len(source.encode()) + MAX_TAG_TOKENS, len(target.encode())
    if fits_forward_pass(*max_counts) or fits_forward_pass(*count_tokens(source, target)):
        return [pair]
    source_ends = find_sentence_ends(source, splitter.language)
    target_ends = find_sentence_ends(target, splitter.target_language)
    if source_ends and len(source_ends) == len(target_ends):
        source_middle = min(source_ends, key=lambda end: abs(end - len(source) / 2))
        target_middle = target_ends[source_ends.index(source_middle)]
    else:
        source_middle = _find_boundary(source, 0.5, source_ends)
        share = source_middle / len(source) if 0 < source_middle < len(source) else 0.5
        target_middle = _find_boundary(target, share, target_ends)
    first_source, second_source = _split_in_two(pair.source, source_middle)
    first_target, second_target = _split_in_two(pair.target, target_middle)
    return [
        *_halve(PairSegment(first_source, first_target), splitter, count_tokens),
        *_halve(PairSegment(second_source, second_target), splitter, count_tokens),
    ]


def _split_in_two(segment: Segment, end: int) -> tuple[Segment, Segment]:
    """Split a segment at an index; white space there belongs to the first half."""
    first, second = segment.text[:end], segment.text[end:]
    body = second.lstrip()
    space = second[: len(second) - len(body)]
    return Segment(first, space), Segment(body, segment.trailing_space)


def _find_boundary(text: str, share: float, ends_of_sentences: list[int]) -> int:
    """Return the best boundary near a share of the text: a sentence, clause or word end."""
    ideal = share * len(text)
    max_distance = MAX_BOUNDARY_DISTANCE * len(text)
    levels = [ends_of_sentences]
    for pattern in BOUNDARY_PATTERNS[:-1]:
        levels.append([match.end() for match in pattern.finditer(text)])
    for ends in levels:
        candidates = [end for end in ends if abs(end - ideal) <= max_distance and end < len(text)]
        if candidates:
            return min(candidates, key=lambda end: abs(end - ideal))
    return round(ideal)
