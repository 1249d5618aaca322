"""A line that is too long for a model, cut into parts that are not, and put together again.

It is cut after sentences; a sentence that is still too long after clauses, a clause between words,
and a word between letters. A sentence is a part of its own, as models learn from sentences; of
clauses and words a part takes as many as it has room for.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from nmt.decoding.words import is_wide

ENDS = (
    re.compile(r"""[.!?…]["'»”’)\]]*(?=\s)|[。！？]["'」』”’）]*"""),
    re.compile(r"[,;:–—](?=\s)|[，、；：]"),
    re.compile(r"\S(?=\s)"),
    re.compile(r"."),
)
"""What sentences, clauses, words and letters end with."""
SENTENCES = 0


@dataclass(frozen=True)
class Part:
    """A piece of a line."""

    text: str
    after: str = ""
    """The blanks between it and the next."""


def split(line: str, size: Callable[[str], int], most: int) -> list[Part]:
    """Cut a line of more than `most` tokens, as `size` counts them, into parts of fewer.

    The parts and the blanks after them are the line. A letter alone is never cut.
    """
    return [Part(line)] if size(line) <= most else _cut(line, size, most, SENTENCES)


def _cut(text: str, size: Callable[[str], int], most: int, level: int) -> list[Part]:
    """Cut a text that is too long at the ends of a level, its units at those of the next."""
    parts: list[Part] = []
    units = _units(text, ENDS[level])
    begin = 0
    while begin < len(units):
        end = begin + 1 if level == SENTENCES else _fitting(units, begin, size, most)
        unit = _one(units[begin:end])
        if end == begin + 1 and level + 1 < len(ENDS) and size(unit.text) > most:
            *inner, last = _cut(unit.text, size, most, level + 1)
            parts += [*inner, Part(last.text, last.after + unit.after)]
        else:
            parts.append(unit)
        begin = end
    return parts


def _fitting(units: list[Part], begin: int, size: Callable[[str], int], most: int) -> int:
    """Return where the units end, from `begin` on, that a part has room for; one at least."""

    def its(end: int) -> int:
        return size(_one(units[begin:end]).text)

    fits, ahead = begin + 1, 1
    while (end := min(fits + ahead, len(units))) > fits and its(end) <= most:
        fits, ahead = end, 2 * ahead
    return fits + bisect_right(range(fits + 1, end), most, key=its)


def _one(units: list[Part]) -> Part:
    """Return units as one."""
    *others, last = units
    return Part("".join(unit.text + unit.after for unit in others) + last.text, last.after)


def _units(text: str, ends: re.Pattern[str]) -> list[Part]:
    """Cut a text behind every end; what is blank goes with the unit before it."""
    edges = [0, *(end.end() for end in ends.finditer(text)), len(text)]
    units: list[Part] = []
    for begin, end in pairwise(edges):
        piece = text[begin:end]
        body = piece.lstrip() if units else piece
        if units:
            units[-1] = Part(units[-1].text, units[-1].after + piece[: len(piece) - len(body)])
        if body:
            units.append(Part(body))
    return units


def rejoin(texts: list[str], parts: list[Part]) -> str:
    """Put the translations of parts together, with the blanks that stood between the parts.

    Where none did, a space comes between two letters, unless one is a wide one.
    """
    line = ""
    for text, part in zip(texts, parts, strict=True):
        if (
            line
            and text
            and not any(each.isspace() or is_wide(each) for each in (line[-1], text[0]))
        ):
            line += " "
        line += text + part.after
    return line
