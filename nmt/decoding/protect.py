"""What a translation must take over as it is: links, addresses, placeholders, numbers.

A number of one or two digits is demanded of the translation as it stands. The others, which a model
may never have seen, are replaced by small numbers that the line does not hold; these are demanded,
and replaced by the originals again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

from nmt.decoding.terms import standing, whole_words

LINK = r"\b(?:https?://|ftp://|www\.)[^\s<>\"]*[\w/]"
MAIL = r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+"
PLACEHOLDER = r"\$?\{+[^\s{}]+\}+|%\([^\s()]+\)[a-z]|%[sd]\b"
NUMBER = r"(?<![\w.,:/-])\d+(?:[.,:/-]\d+)*(?![\w])"
KEPT = re.compile(f"{LINK}|{MAIL}|{PLACEHOLDER}|{NUMBER}")
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
        if not self.originals:
            return translation
        pattern = "|".join(map(whole_words, self.originals))
        return re.sub(pattern, lambda found: self.originals[found.group()], translation)


def protect(line: str) -> Protected:
    """Find what is to be taken over as it is."""
    spare = _spare_numbers(line)
    originals: dict[str, str] = {}

    def readable(found: re.Match[str]) -> str:
        text = found.group()
        if not FAMILIAR.fullmatch(text):
            text = next(spare)
            originals[text] = found.group()
        return text

    return Protected(KEPT.sub(readable, line), originals)


def kept(line: str) -> list[str]:
    """Return what is protected in a line."""
    return [found.group() for found in KEPT.finditer(line)]


def lost(line: str, translation: str) -> list[str]:
    """Return what of a line does not stand in its translation as it is, and as often."""
    found = kept(line)
    return [
        each
        for place, each in enumerate(found)
        if standing(each, translation) < found[: place + 1].count(each)
    ]


def _spare_numbers(line: str) -> Iterator[str]:
    """Yield numbers of two digits and more that are no part of any in the line."""
    return (text for number in count(17, 6) if (text := str(number)) not in line)
