"""What a translation must take over as it is: links, addresses, placeholders, numbers.

What stands side by side, or with one sign between, is taken over as one, and so are the letters
that a placeholder touches. A number of one or two digits is demanded of the translation as it
stands. The others, which a model may never have seen, are replaced by small numbers that occur
nowhere else; these are demanded, and replaced by the originals again.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count

from nmt.decoding.terms import Place, Terms
from nmt.decoding.words import WIDE, standing, ties, whole

LETTER = rf"[^\W{WIDE}]"
BRACES = r"(?<!\{)\{+[^\s{}]+\}+"
LINK = rf"(?:https?://|ftp://|www\.)(?:[^\s<>\"{{}}{WIDE}]|{BRACES})*(?<=[\w/=&#~}}-])"
MAIL = rf"(?<!{LETTER})(?<![.+-])(?:{LETTER}|[.+-])+@(?:{LETTER}|-)+(?:\.(?:{LETTER}|-)+)+"
PLACEHOLDER = rf"\$?{BRACES}|%\([^\s()]+\)[a-z]|%[sd](?!{LETTER})"
NUMBER = rf"(?:(?<!{LETTER})[+\u2212-])?(?:(?<!{LETTER})[.,])?\d+(?:[.,:/-]\d+)*"
"""Nothing here looks at a letter more than a few times: a line may be a megabyte. (Possessive
quantifiers would say so, but early releases of Python 3.11 get those of groups wrong.)"""
KEPT = re.compile(f"{LINK}|{MAIL}|{PLACEHOLDER}|(?P<number>{NUMBER})")
JOINS = tuple(".,:/@-")
"""Signs that make one of what stands on both sides of them."""
DIGITS = re.compile(r"\d+")
FAMILIAR = re.compile(r"\d\d?")
"""Numbers that models know how to handle."""


@dataclass(frozen=True)
class Protected:
    """A line whose protected parts a model can read."""

    text: str
    """All that is protected here is numbers."""
    numbers: tuple[Place, ...] = ()
    """Where these stand in it. They must stand in the translation."""
    originals: tuple[str, ...] = ()
    """What each of them stands for; a familiar number for itself."""

    def restore(self, translation: str) -> str:
        """Return a translation with the originals in it again."""
        by_number = {
            number.demanded: text for number, text in zip(self.numbers, self.originals, strict=True)
        }

        def original(found: re.Match[str]) -> str:
            number = found.group()
            return by_number.get(number, number) if whole(translation, *found.span()) else number

        return DIGITS.sub(original, translation)

    def lost(self, translation: str) -> list[str]:
        """Return what does not stand in a restored translation as it is, and as often."""
        wanted = Counter(self.originals)
        there = Counter(translation[begin:end] for begin, end in kept(translation))
        return [
            each
            for each in wanted - there
            for _ in range(wanted[each] - standing(each, translation))
        ]


def protect(line: str, terms: Terms | None = None, beside: Iterable[str] = ()) -> Protected:
    """Find what is to be taken over as it is, but within terms.

    Nothing is replaced by a number that stands in the line, in a term, or in the texts `beside`.
    """
    spare = _spare_numbers([line, *beside], terms)
    stand_ins: dict[str, str] = {}
    pieces: list[str] = []
    numbers: list[Place] = []
    originals: list[str] = []
    there = size = 0
    for begin, end in _outside(kept(line), terms.of(line) if terms else []):
        original = line[begin:end]
        if not FAMILIAR.fullmatch(original) and original not in stand_ins:
            stand_ins[original] = next(spare)
        number = stand_ins.get(original, original)
        size += begin - there
        pieces += [line[there:begin], number]
        numbers.append(Place(size, size + len(number), number))
        originals.append(original)
        there, size = end, size + len(number)
    return Protected("".join([*pieces, line[there:]]), tuple(numbers), tuple(originals))


def _outside(places: list[tuple[int, int]], terms: list[Place]) -> Iterator[tuple[int, int]]:
    """Yield the places that lie in no term."""
    ahead = deque(terms)
    for begin, end in places:
        while ahead and ahead[0].end < end:
            ahead.popleft()
        if not ahead or begin < ahead[0].begin:
            yield begin, end


def _spare_numbers(texts: Iterable[str], terms: Terms | None) -> Iterator[str]:
    """Yield numbers of two digits and more that stand neither in texts nor in terms."""
    there = {number for text in texts for number in DIGITS.findall(text)}
    if terms:
        there |= terms.numbers
    return (text for number in count(17, 6) if (text := str(number)) not in there)


def kept(line: str) -> list[tuple[int, int]]:
    """Return where what is protected in a line begins and ends.

    A number that is part of a word, such as A380 or 300km, is not.
    """
    found: list[tuple[int, int]] = []
    for match in KEPT.finditer(line):
        begin, end = match.span()
        before = found[-1][1] if found else 0
        joined = bool(found) and (begin <= before or line[before:begin] in JOINS)
        if match["number"] and not joined:
            if not whole(line, begin, end) or line[begin - 1 : begin] in JOINS:
                continue
        else:
            while begin > before and ties(line[begin - 1]):
                begin -= 1
            while ties(line[end : end + 1]):
                end += 1
        if joined:
            begin = found.pop()[0]
        found.append((begin, max(end, before)))
    return found
