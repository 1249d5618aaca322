"""What a translation must take over as it is: links, addresses, placeholders, numbers.

A number of one or two digits is demanded of the translation as it stands. The others, which a model
may never have seen, are replaced by small numbers that the line does not hold; these are demanded,
and replaced by the originals again.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

from nmt.decoding.terms import standing

LINK = r"\b(?:https?://|ftp://|www\.)[^\s<>\"]*[\w/]"
MAIL = r"(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+"
PLACEHOLDER = r"\$?(?<!\{)\{+[^\s{}]+\}+|%\([^\s()]+\)[a-z]|%[sd]\b"
NUMBER = r"(?<![\w.,:/-])\d+(?:[.,:/-]\d+)*(?!\w)"
"""Nothing here looks at a letter more than a few times: a line may be a megabyte. (Possessive
quantifiers would say so, but early releases of Python 3.11 get those of groups wrong.)"""
KEPT = re.compile(f"{LINK}|{MAIL}|{PLACEHOLDER}|{NUMBER}")
WHOLE = re.compile(r"(?<!\w)\d+(?!\w)")
FAMILIAR = re.compile(r"\d\d?")
"""Numbers that models know how to handle."""


@dataclass(frozen=True)
class Protected:
    """A line whose protected parts a model can read."""

    text: str
    """All that is protected here is numbers, which must stand in the translation."""
    originals: dict[str, str]
    """What stands for what."""

    def restore(self, translation: str) -> str:
        """Return a translation with the originals in it again."""
        return WHOLE.sub(lambda it: self.originals.get(it.group(), it.group()), translation)


def protect(line: str) -> Protected:
    """Find what is to be taken over as it is."""
    spare = _spare_numbers(line)
    stand_ins: dict[str, str] = {}

    def readable(found: re.Match[str]) -> str:
        text = found.group()
        if FAMILIAR.fullmatch(text):
            return text
        if text not in stand_ins:
            stand_ins[text] = next(spare)
        return stand_ins[text]

    readable_line = KEPT.sub(readable, line)
    return Protected(readable_line, {number: text for text, number in stand_ins.items()})


def kept(line: str) -> list[str]:
    """Return what is protected in a line."""
    return [found.group() for found in KEPT.finditer(line)]


def lost(line: str, translation: str) -> list[str]:
    """Return what of a line does not stand in its translation as it is, and as often."""
    wanted = Counter(kept(line))
    return [
        each
        for each in wanted - Counter(kept(translation))
        for _ in range(wanted[each] - standing(each, translation))
    ]


def _spare_numbers(line: str) -> Iterator[str]:
    """Yield numbers of two digits and more that do not stand in the line."""
    there = set(re.findall(r"\d+", line))
    return (text for number in count(17, 6) if (text := str(number)) not in there)
