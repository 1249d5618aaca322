"""Split a line into segments that are translated separately, and join the translations.

A line is split into sentences. A sentence with too many tokens is split at any sentence-like
punctuation, then at clauses, words and characters. Consecutive units are then merged into segments
that fit the token limit.
"""

from __future__ import annotations

import re
import sys
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from nmt.data.text.sentence_splitter import find_sentence_ends
from nmt.data.text.word_boundaries import is_wide

BOUNDARY_PATTERNS = (
    re.compile(r"""[.!?…]["'»”’)\]]*(?=\s)|[。！？]["'」』”’）]*"""),
    re.compile(r"[,;:–—](?=\s)|[，、；：]"),
    re.compile(r"\S(?=\s)"),
    re.compile(r"."),
)
"""Ends of sentence-like units, clauses, words and characters: coarse to fine."""


@dataclass(frozen=True)
class Segment:
    """A segment of a line."""

    text: str
    trailing_space: str = ""
    """White space between this segment and the next."""


@dataclass(frozen=True)
class LineSplitter:
    """Settings for splitting lines."""

    max_tokens: int = sys.maxsize
    """Maximum number of source tokens of a segment."""
    by_sentence: bool = False
    """Whether to split a line into sentences even if it fits `max_tokens`."""
    language: str = ""
    """Source language, for `nmt.data.text.sentence_splitter`."""
    target_language: str = ""
    """Target language."""

    def split(
        self, line: str, count_tokens: Callable[[str], int], text_for_splitting: str | None = None
    ) -> list[Segment]:
        """Return the segments of a line; joined with their white space they equal the line.

        `text_for_splitting` is the line with words instead of placeholders, of the same length;
        sentence boundaries are searched in it. A single character is never split.
        """
        unsplit = Segment(line)
        if not self.by_sentence and count_tokens(line) <= self.max_tokens:
            return [unsplit]
        sentences = split_after(line, find_sentence_ends(text_for_splitting or line, self.language))
        return _split_long_units(sentences, count_tokens, self.max_tokens, 0) or [unsplit]


def _split_long_units(
    units: Sequence[Segment], count_tokens: Callable[[str], int], max_tokens: int, level: int
) -> list[Segment]:
    """Return the units; split those with too many tokens at `level` of BOUNDARY_PATTERNS."""
    segments: list[Segment] = []
    for unit in units:
        if level == len(BOUNDARY_PATTERNS) or count_tokens(unit.text) <= max_tokens:
            segments.append(unit)
            continue
        ends = [match.end() for match in BOUNDARY_PATTERNS[level].finditer(unit.text)]
        packed = _pack(split_after(unit.text, ends), count_tokens, max_tokens)
        *inner, last = _split_long_units(packed, count_tokens, max_tokens, level + 1)
        segments += [*inner, Segment(last.text, last.trailing_space + unit.trailing_space)]
    return segments


def _pack(
    units: Sequence[Segment], count_tokens: Callable[[str], int], max_tokens: int
) -> list[Segment]:
    """Merge as many consecutive units as fit `max_tokens` into a segment, at least one."""
    segments: list[Segment] = []
    begin = 0
    while begin < len(units):

        def tokens_until(end: int, begin: int = begin) -> int:
            return count_tokens(_merged(units[begin:end]).text)

        # double the number of units while they fit, then bisect
        fitting_end, step = begin + 1, 1
        end = min(fitting_end + step, len(units))
        while end > fitting_end and tokens_until(end) <= max_tokens:
            fitting_end, step = end, 2 * step
            end = min(fitting_end + step, len(units))
        end = fitting_end + bisect_right(range(fitting_end + 1, end), max_tokens, key=tokens_until)
        segments.append(_merged(units[begin:end]))
        begin = end
    return segments


def _merged(units: Sequence[Segment]) -> Segment:
    """Return consecutive units as one segment."""
    *first, last = units
    text = "".join(unit.text + unit.trailing_space for unit in first) + last.text
    return Segment(text, last.trailing_space)


def split_after(text: str, ends: Sequence[int]) -> list[Segment]:
    """Divide a text after each of the character offsets `ends`, which are in ascending order.

    White space after an offset is the trailing space of the segment before it, so that no segment
    begins with white space, except the first if the text does.
    """
    segments: list[Segment] = []
    for begin, end in pairwise([0, *ends, len(text)]):
        piece = text[begin:end]
        body = piece.lstrip() if segments else piece
        if segments:
            previous = segments[-1]
            space = previous.trailing_space + piece[: len(piece) - len(body)]
            segments[-1] = Segment(previous.text, space)
        if body:
            segments.append(Segment(body))
    return segments


def join_translations(texts: list[str], segments: Sequence[Segment]) -> str:
    """Join the translations of segments with the white space between the segments.

    If there was none, add a space unless the character before or after is wide.
    """
    line = ""
    for text, segment in zip(texts, segments, strict=True):
        if line and text:
            neighbours = (line[-1], text[0])
            if not any(character.isspace() or is_wide(character) for character in neighbours):
                line += " "
        line += text + segment.trailing_space
    return line
