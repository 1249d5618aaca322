"""What a translation must take over as it is: links, addresses, placeholders, numbers, tags.

What stands side by side, or with one sign between, is taken over as one, and so are the letters
that a placeholder touches. A number of one or two digits is demanded of the translation as it
stands. The others, which a model may never have seen, are replaced by small numbers that occur
nowhere else; these are demanded, and replaced by the originals again.

The stand-in of a markup tag gets a space on each side where the tag touches something, so that the
words around it stay words. The space is removed again with the stand-in.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

from nmt.data.text.normalization import Normalizer
from nmt.data.text.offset_mapping import Aligned
from nmt.data.text.word_boundaries import WIDE, standing, ties, whole
from nmt.decoding.constraints.terminology import SpanConstraint, Terminology

LETTER = rf"[^\W{WIDE}]"
BRACES = r"(?<!\{)\{+[^\s{}]*\}+"
SCHEME = r"(?<![A-Za-z0-9+.-])[A-Za-z][A-Za-z0-9+.-]{0,20}://"
LINK = (
    rf"(?:{SCHEME}|(?i:www)\.)(?:[^\s<>\"{{}}{WIDE}]|{BRACES})+(?<=[\w/=&#~}}-])"
    rf"|{SCHEME}(?=[{WIDE}])[^\s<>\"]+"
)
MAIL = rf"(?<!{LETTER})(?<![.+-])(?:{LETTER}|[.+-])+@(?:{LETTER}|-)+(?:\.(?:{LETTER}|-)+)+"
PLACEHOLDER = rf"\$?{BRACES}|%\([^\s()]+\)[a-z]|%[sd](?!{LETTER})"
NUMBER = rf"(?:(?<!{LETTER})[+\u2212-])?(?:(?<!{LETTER})[.,])?\d+(?:[.,:/-]\d+)*"
"""Nothing here looks at a letter more than a few times: a line may be a megabyte. (Possessive
quantifiers would say so, but early releases of Python 3.11 get those of groups wrong.)"""
TAG = r"</?[A-Za-z][\w:.-]*(?:\s[^<>]*)?/?>|</?\d+\s*/?>|<!--[^<>]*-->"
"""XML and HTML tags, and numbered tags such as <0/>; "a < b" is none."""
KEPT = re.compile(
    f"(?P<tag>{TAG})|(?P<link>{LINK})|{MAIL}|(?P<placeholder>{PLACEHOLDER})|(?P<number>{NUMBER})"
)
JOINS = tuple(".,:/@-")
"""Signs that make one of what stands on both sides of them."""
PATH = "./@"
"""Signs that make one of a placeholder and a word, as in {file}.txt."""
TAGS = re.compile(r"<(/?)([\w:.-]+)[^<>]*?(/?)>")
EMPTY_TAGS = "area base br col embed hr img input link meta source track wbr"
"""HTML elements without an end tag."""
OPENING_SIGNS, CLOSING_SIGNS = "([{“‘«„¿¡", ",.;:!?…)]}”’»"
DIGITS = re.compile(r"\d+")
FAMILIAR = re.compile(r"\d\d?")
"""Numbers that models know how to handle."""


@dataclass(frozen=True)
class ProtectedLine:
    """A line whose protected parts a model can read."""

    text: str
    """All that is protected here is numbers."""
    originals: tuple[str, ...] = ()
    """What is protected in the line itself."""
    numbers: tuple[SpanConstraint, ...] = ()
    """What must stand in the translation for it."""
    stand_ins: Mapping[str, str] = field(default_factory=dict)
    """The originals of numbers that stand for others."""
    spaces: Mapping[str, list[tuple[bool, bool]]] = field(default_factory=dict)
    """For stand-ins of tags, whether each occurrence got a space before and behind it."""

    @property
    def readable(self) -> str:
        """The text with a word in place of each stand-in, at the same positions.

        A number behind which a sentence ends looks like an ordinal number in some languages.
        """
        if not self.stand_ins:
            return self.text
        pieces, end = [], 0
        for place in self.numbers:
            if place.demanded in self.stand_ins:
                pieces += [self.text[end : place.begin], f"X{'x' * (len(place.demanded) - 1)}"]
                end = place.end
        return "".join([*pieces, self.text[end:]])

    def restore(self, translation: str) -> str:
        """Return a translation with the originals in it again."""
        if not self.stand_ins:
            return translation
        spaces = {number: deque(each) for number, each in self.spaces.items()}
        pieces, end = [], 0
        for match in DIGITS.finditer(translation):
            number = match.group()
            if number not in self.stand_ins or not whole(translation, *match.span()):
                continue
            before, behind = spaces[number][0] if number in spaces else (False, False)
            if number in spaces and len(spaces[number]) > 1:
                spaces[number].popleft()
            text = translation[end : match.start()]
            pieces += [text.rstrip(" ") if before else text, self.stand_ins[number]]
            end = match.end()
            while behind and translation[end : end + 1] == " ":
                end += 1
        return "".join([*pieces, translation[end:]])

    def without_tags(self, text: str) -> str:
        """Return a part of the protected text without the stand-ins of tags and their spaces."""
        pieces, end = [], 0
        for match in DIGITS.finditer(text):
            if match.group() in self.spaces and whole(text, *match.span()):
                pieces.append(text[end : match.start()])
                end = match.end()
        pieces.append(text[end:])
        return " ".join(stripped for piece in pieces if (stripped := piece.strip(" ")))

    @property
    def has_tags(self) -> bool:
        """Whether markup tags are protected."""
        return any(original.startswith("<") for original in self.originals)

    def lost(self, translation: str) -> list[str]:
        """Return what does not stand in a restored translation as it is, and as often."""
        wanted = Counter(self.originals)
        there = Counter(translation[begin:end] for begin, end in find_protected_spans(translation))
        return [
            each
            for each in wanted - there
            for _ in range(wanted[each] - standing(each, translation))
        ]


def protect(
    line: str,
    terms: Terminology | None = None,
    held: Sequence[str] = (),
    normalizer: Normalizer | None = None,
) -> ProtectedLine:
    """Find what is to be taken over as it is, but within terms.

    Nothing is replaced by a number that stands in the line, in a term, or in what is `held` by the
    translation anyhow; what is protected and stands there need not stand once more. Nothing is
    protected that the model's normalizer makes one of with text around it, such as the digits of an
    HTML entity.
    """
    spare = _spare_numbers([line, *held], terms)
    numbers: dict[str, str] = {}
    there: Counter[str] = Counter()
    pieces: list[str] = []
    demanded: list[SpanConstraint] = []
    originals: list[str] = []
    spaces: dict[str, list[tuple[bool, bool]]] = {}
    behind = size = 0
    spans = (
        find_protected_spans(line)
        if normalizer is None
        else _within(find_protected_spans(line), normalizer.aligned(line))
    )
    for begin, end in _outside(spans, terms.of(line) if terms else []):
        original = line[begin:end]
        if original not in numbers:
            is_read = normalizer is None or normalizer(original) == original
            is_familiar = is_read and FAMILIAR.fullmatch(original)
            numbers[original] = original if is_familiar else next(spare)
            there[original] = sum(standing(original, text) for text in held)
        number = numbers[original]
        before, after = _needs_spaces(line, begin, end) if original[0] == "<" else (False, False)
        if original[0] == "<":
            spaces.setdefault(number, []).append((before, after))
        size += begin - behind + before
        pieces += [line[behind:begin], " " * before, number, " " * after]
        originals.append(original)
        if there[original]:
            there[original] -= 1
        else:
            demanded.append(SpanConstraint(size, size + len(number), number))
        behind, size = end, size + len(number) + after
    stand_ins = {number: original for original, number in numbers.items() if number != original}
    text = "".join([*pieces, line[behind:]])
    return ProtectedLine(text, tuple(originals), tuple(demanded), stand_ins, spaces)


def _needs_spaces(line: str, begin: int, end: int) -> tuple[bool, bool]:
    """Return whether the stand-in of a tag needs a space before it, and behind it."""
    before, behind = line[begin - 1 : begin] if begin else "", line[end : end + 1]
    return (
        before != "" and not before.isspace() and before not in OPENING_SIGNS,
        behind != "" and not behind.isspace() and behind not in CLOSING_SIGNS,
    )


def has_balanced_tags(text: str) -> bool:
    """Return whether each start tag has its end tag, in the right order."""
    open_tags: list[str] = []
    for match in TAGS.finditer(text):
        closes, name, empty = match.groups()
        if closes:
            if not open_tags or open_tags.pop() != name:
                return False
        elif not empty and name.lower() not in EMPTY_TAGS.split():
            open_tags.append(name)
    return not open_tags


def _within(spans: Iterable[tuple[int, int]], aligned: Aligned) -> Iterator[tuple[int, int]]:
    """Yield spans without the characters that normalization joins with characters outside."""
    joined = [(b, e) for b, e in zip(aligned.begins, aligned.ends, strict=True) if e - b > 1]

    def around(position: int) -> tuple[int, int] | None:
        """Return the joined characters on both sides of a position."""
        index = bisect_left(joined, (position, position)) - 1
        return joined[index] if index >= 0 and joined[index][1] > position else None

    for begin, end in spans:
        before, after = around(begin), around(end)
        begin, end = before[1] if before else begin, after[0] if after else end
        if begin < end:
            yield begin, end


def _outside(
    places: Iterable[tuple[int, int]], terms: list[SpanConstraint]
) -> Iterator[tuple[int, int]]:
    """Yield the places that lie in no term."""
    ahead = deque(terms)
    for begin, end in places:
        while ahead and ahead[0].end < end:
            ahead.popleft()
        if not ahead or begin < ahead[0].begin:
            yield begin, end


def _spare_numbers(texts: Iterable[str], terms: Terminology | None) -> Iterator[str]:
    """Yield numbers of two digits and more that stand neither in texts nor in terms."""
    there = {number for text in texts for number in DIGITS.findall(text)}
    if terms:
        there |= terms.numbers
    return (text for number in count(17, 6) if (text := str(number)) not in there)


def find_protected_spans(line: str) -> list[tuple[int, int]]:
    """Return where what is protected in a line begins and ends.

    A number that is part of a word, such as A380 or 300km, is not.
    """
    found: list[tuple[int, int]] = []
    for match in KEPT.finditer(line):
        begin, end = match.span()
        before = found[-1][1] if found else 0
        if end <= before:
            continue
        if match["tag"]:
            if found and begin == before and line[found[-1][0]] == "<":
                begin = found.pop()[0]
            found.append((begin, end))
            continue
        behind_tag = bool(found) and line[found[-1][0]] == "<"
        joined = bool(found) and (begin <= before or line[before:begin] in JOINS)
        joined = joined and not behind_tag
        if match["number"] and not joined:
            if not whole(line, begin, end) or line[begin - 1 : begin] in JOINS:
                continue
        else:
            begin, end = _grown(line, begin, end, before, PATH if match["placeholder"] else "")
        if match["link"]:
            end += _closing(line, begin, end)
        if joined:
            begin = found.pop()[0]
        found.append((begin, max(end, before)))
    return found


def _grown(line: str, begin: int, end: int, least: int, glue: str) -> tuple[int, int]:
    """Return where a place begins, not before `least`, and ends with the words that it touches.

    `glue` are signs that may stand between.
    """

    def touches(sign: str, beyond: str) -> bool:
        return ties(sign) or (sign in glue and ties(beyond))

    while begin > least and touches(line[begin - 1], line[max(least, begin - 2) : begin - 1]):
        begin -= 1
    while touches(line[end : end + 1], line[end + 1 : end + 2]):
        end += 1
    return begin, end


def _closing(line: str, begin: int, end: int) -> int:
    """Return how many brackets right behind a link close those that it opens."""
    opened = line.count("(", begin, end) - line.count(")", begin, end)
    behind = 0
    while behind < opened and line[end + behind : end + behind + 1] == ")":
        behind += 1
    return behind
