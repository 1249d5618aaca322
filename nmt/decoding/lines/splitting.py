"""Divide a line into parts that are translated one by one, and join the translations.

A line is divided into sentences. A sentence with too many tokens is divided at any sentence-like
punctuation, then at clauses, words and letters; such parts are packed up to the token limit.
"""

from __future__ import annotations

import re
import sys
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from nmt.data.text.sentence_splitter import sentence_ends
from nmt.data.text.word_boundaries import is_wide

BOUNDARY_PATTERNS = (
    re.compile(r"""[.!?…]["'»”’)\]]*(?=\s)|[。！？]["'」』”’）]*"""),
    re.compile(r"[,;:–—](?=\s)|[，、；：]"),
    re.compile(r"\S(?=\s)"),
    re.compile(r"."),
)
"""Ends of sentence-like units, clauses, words and letters, for sentences that are too long."""


@dataclass(frozen=True)
class Segment:
    """A piece of a line."""

    text: str
    after: str = ""
    """White space between this part and the next."""


@dataclass(frozen=True)
class LineSplitter:
    """Settings that decide how a line is divided."""

    max_tokens: int = sys.maxsize
    """Maximum number of source tokens of a part."""
    by_sentence: bool = False
    """Divide a line that fits `max_tokens` into its sentences, too."""
    language: str = ""
    """Language of the line, for `nmt.data.text.sentence_splitter`."""
    target_language: str = ""
    """Language of its translation."""

    def split(
        self, line: str, count_tokens: Callable[[str], int], readable: str | None = None
    ) -> list[Segment]:
        """Return the parts of a line; joined with their white space they are the line.

        `readable` is the line with words in place of stand-ins, at the same positions: sentences
        are looked for in it. A single letter is never divided.
        """
        whole = Segment(line)
        if not self.by_sentence and count_tokens(line) <= self.max_tokens:
            return [whole]
        sentences = split_after(line, sentence_ends(readable or line, self.language))
        return _subdivide(sentences, count_tokens, self.max_tokens, 0) or [whole]


def _subdivide(
    units: Sequence[Segment], count_tokens: Callable[[str], int], max_tokens: int, level: int
) -> list[Segment]:
    """Return the units, those with too many tokens divided at `level` of ENDS."""
    parts: list[Segment] = []
    for unit in units:
        if level == len(BOUNDARY_PATTERNS) or count_tokens(unit.text) <= max_tokens:
            parts.append(unit)
            continue
        pieces = split_after(
            unit.text, [end.end() for end in BOUNDARY_PATTERNS[level].finditer(unit.text)]
        )
        packed = _pack(pieces, count_tokens, max_tokens)
        *inner, last = _subdivide(packed, count_tokens, max_tokens, level + 1)
        parts += [*inner, Segment(last.text, last.after + unit.after)]
    return parts


def _pack(
    units: Sequence[Segment], count_tokens: Callable[[str], int], max_tokens: int
) -> list[Segment]:
    """Join neighbouring units into parts of as many units as fit `max_tokens`, at least one."""
    parts: list[Segment] = []
    begin = 0
    while begin < len(units):

        def tokens_until(end: int, begin: int = begin) -> int:
            return count_tokens(_joined(units[begin:end]).text)

        fits, step = begin + 1, 1
        while (end := min(fits + step, len(units))) > fits and tokens_until(end) <= max_tokens:
            fits, step = end, 2 * step
        end = fits + bisect_right(range(fits + 1, end), max_tokens, key=tokens_until)
        parts.append(_joined(units[begin:end]))
        begin = end
    return parts


def _joined(units: Sequence[Segment]) -> Segment:
    """Return neighbouring units as one."""
    *first, last = units
    return Segment("".join(unit.text + unit.after for unit in first) + last.text, last.after)


def split_after(text: str, ends: Sequence[int]) -> list[Segment]:
    """Divide a text behind each index; white space belongs to the unit before it."""
    units: list[Segment] = []
    for begin, end in pairwise([0, *ends, len(text)]):
        piece = text[begin:end]
        body = piece.lstrip() if units else piece
        if units:
            units[-1] = Segment(units[-1].text, units[-1].after + piece[: len(piece) - len(body)])
        if body:
            units.append(Segment(body))
    return units


def join_translations(texts: list[str], parts: Sequence[Segment]) -> str:
    """Join the translations of parts with the white space between the parts.

    If there was none, a space separates two letters unless one is wide.
    """
    line = ""
    for text, part in zip(texts, parts, strict=True):
        if (
            line
            and text
            and not any(letter.isspace() or is_wide(letter) for letter in (line[-1], text[0]))
        ):
            line += " "
        line += text + part.after
    return line
