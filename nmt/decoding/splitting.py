"""A line that is too long for a model, cut into parts that are not, and put together again.

It is cut after sentences; a sentence that is still too long after clauses, a clause between words,
and a word between letters. A sentence is a part of its own, as models learn from sentences; of
clauses and words a part takes as many as it has room for.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

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
    room = 0
    for unit in _units(text, ENDS[level]):
        its = size(unit.text)
        if its > most and level + 1 < len(ENDS):
            *inner, last = _cut(unit.text, size, most, level + 1)
            parts += [*inner, Part(last.text, last.after + unit.after)]
            room = 0
        elif level > SENTENCES and parts and its <= room:
            before = parts.pop()
            parts.append(Part(before.text + before.after + unit.text, unit.after))
            room -= its
        else:
            parts.append(unit)
            room = most - its
    return parts


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

    Where none did, a space comes between two letters of which one is not a wide one.
    """
    line = ""
    for text, part in zip(texts, parts, strict=True):
        line += text + part.after
        if not part.after and not _wide(text[-1:]):
            line += " "
    return line.removesuffix(" ") if not parts[-1].after else line


def _wide(letter: str) -> bool:
    return bool(letter) and unicodedata.east_asian_width(letter) in "WF"
