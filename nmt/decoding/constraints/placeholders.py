"""Protect spans that a translation must copy: links, addresses, variables, numbers, markup tags.

A number of one or two digits stays in the line, and the translation must contain it. Models may
never have seen other spans. Placeholders replace them: small numbers that do not occur in the line.
The translation must contain the placeholders; the original text then replaces them.

Adjacent spans, and spans with one sign such as "@" between them, are protected together, and so are
the letters that touch a variable.

The placeholder of a markup tag gets a space on each side that touches text, so that words next to
it stay words. The spaces are removed again together with the placeholder.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

from nmt.data.text.normalization import Normalizer
from nmt.data.text.offset_mapping import AlignedText
from nmt.data.text.word_boundaries import WIDE, count_phrase, is_whole_word, is_word_character
from nmt.decoding.constraints.terminology import SpanConstraint, Terminology

LETTER = rf"[^\W{WIDE}]"
BRACES = r"(?<!\{)\{+[^\s{}]*\}+"
SCHEME = r"(?<![A-Za-z0-9+.-])[A-Za-z][A-Za-z0-9+.-]{0,20}://"
LINK = (
    rf"(?:{SCHEME}|(?i:www)\.)(?:[^\s<>\"{{}}{WIDE}]|{BRACES})+(?<=[\w/=&#~}}-])"
    rf"|{SCHEME}(?=[{WIDE}])[^\s<>\"]+"
)
MAIL = rf"(?<!{LETTER})(?<![.+-])(?:{LETTER}|[.+-])+@(?:{LETTER}|-)+(?:\.(?:{LETTER}|-)+)+"
VARIABLE = rf"\$?{BRACES}|%\([^\s()]+\)[a-z]|%[sd](?!{LETTER})"
NUMBER = rf"(?:(?<!{LETTER})[+\u2212-])?(?:(?<!{LETTER})[.,])?\d+(?:[.,:/-]\d+)*"
"""No pattern reads a character more than a few times, because a line may have a megabyte.
(Possessive quantifiers would guarantee that, but early releases of Python 3.11 have a bug in those
of groups.)"""
TAG = r"</?[A-Za-z][\w:.-]*(?:\s[^<>]*)?/?>|</?\d+\s*/?>|<!--[^<>]*-->"
"""XML and HTML tags, and numbered tags such as <0/>; "a < b" does not match."""
PROTECTED = re.compile(
    f"(?P<tag>{TAG})|(?P<link>{LINK})|{MAIL}|(?P<variable>{VARIABLE})|(?P<number>{NUMBER})"
)
SPAN_JOINERS = tuple(".,:/@-")
"""Signs that join two protected spans."""
WORD_JOINERS = "./@"
"""Signs that join a variable and a word, as in {file}.txt."""
TAG_PARTS = re.compile(r"<(/?)([\w:.-]+)[^<>]*?(/?)>")
VOID_ELEMENTS = (
    *("area", "base", "br", "col", "embed", "hr", "img"),
    *("input", "link", "meta", "source", "track", "wbr"),
)
"""HTML elements without an end tag."""
OPENING_SIGNS, CLOSING_SIGNS = "([{“‘«„¿¡", ",.;:!?…)]}”’»"
DIGITS = re.compile(r"\d+")
SHORT_NUMBER = re.compile(r"\d\d?")
"""Numbers that models learn to translate."""


@dataclass(frozen=True)
class ProtectedLine:
    """A source line with placeholders for its protected spans."""

    text: str
    """The line with placeholders. Its only protected spans are numbers."""
    originals: tuple[str, ...] = ()
    """Protected spans of the line, in order."""
    constraints: tuple[SpanConstraint, ...] = ()
    """Numbers and placeholders that the translation must contain, with their spans in `text`."""
    placeholders: Mapping[str, str] = field(default_factory=dict)
    """Original text by placeholder."""
    tag_spaces: Mapping[str, list[tuple[bool, bool]]] = field(default_factory=dict)
    """By placeholder of a tag: whether a space was added before and after each occurrence."""

    @property
    def text_for_splitting(self) -> str:
        """The text with words instead of placeholders, of the same length.

        In some languages, a number at the end of a sentence looks like an ordinal number.
        """
        if not self.placeholders:
            return self.text
        pieces, end = [], 0
        for constraint in self.constraints:
            if constraint.target in self.placeholders:
                word = "X" + "x" * (len(constraint.target) - 1)
                pieces += [self.text[end : constraint.begin], word]
                end = constraint.end
        return "".join([*pieces, self.text[end:]])

    def restore(self, translation: str) -> str:
        """Replace the placeholders in a translation by the original text."""
        if not self.placeholders:
            return translation
        spaces = {number: deque(added) for number, added in self.tag_spaces.items()}
        pieces, end = [], 0
        for match in DIGITS.finditer(translation):
            number = match.group()
            if number not in self.placeholders or not is_whole_word(translation, *match.span()):
                continue
            space_before, space_after = spaces[number][0] if number in spaces else (False, False)
            if number in spaces and len(spaces[number]) > 1:
                spaces[number].popleft()
            text = translation[end : match.start()]
            pieces += [text.rstrip(" ") if space_before else text, self.placeholders[number]]
            end = match.end()
            while space_after and translation[end : end + 1] == " ":
                end += 1
        return "".join([*pieces, translation[end:]])

    def without_tags(self, text: str) -> str:
        """Return a segment of `self.text` without the placeholders of tags and their spaces."""
        pieces, end = [], 0
        for match in DIGITS.finditer(text):
            if match.group() in self.tag_spaces and is_whole_word(text, *match.span()):
                pieces.append(text[end : match.start()])
                end = match.end()
        pieces.append(text[end:])
        return " ".join(stripped for piece in pieces if (stripped := piece.strip(" ")))

    @property
    def has_tags(self) -> bool:
        """Whether the line contains markup tags."""
        return any(original.startswith("<") for original in self.originals)

    def find_missing(self, translation: str) -> list[str]:
        """Return the originals that occur less often in a restored translation than in the line."""
        expected = Counter(self.originals)
        actual = Counter(translation[begin:end] for begin, end in find_protected_spans(translation))
        missing = []
        for original in expected - actual:
            missing_count = expected[original] - count_phrase(original, translation)
            missing += [original] * missing_count
        return missing


def protect(
    line: str,
    terminology: Terminology | None = None,
    required_texts: Sequence[str] = (),
    normalizer: Normalizer | None = None,
) -> ProtectedLine:
    """Replace the protected spans of a line by placeholders, except inside terms.

    `required_texts` are the prefix and the phrases of the translation. A span that they contain
    gets no constraint. Neither they nor the line nor terms contain a placeholder. With a
    normalizer, characters that it merges with text around a span, such as the digits of an HTML
    entity, are not protected.
    """
    unused_numbers = _unused_numbers([line, *required_texts], terminology)
    replacements: dict[str, str] = {}
    satisfied: Counter[str] = Counter()
    pieces: list[str] = []
    constraints: list[SpanConstraint] = []
    originals: list[str] = []
    tag_spaces: dict[str, list[tuple[bool, bool]]] = {}
    copied_end = text_length = 0
    for begin, end in _protected_spans_outside_terms(line, terminology, normalizer):
        original = line[begin:end]
        if original not in replacements:
            is_unchanged = normalizer is None or normalizer(original) == original
            is_short = is_unchanged and SHORT_NUMBER.fullmatch(original)
            replacements[original] = original if is_short else next(unused_numbers)
            satisfied[original] = sum(count_phrase(original, text) for text in required_texts)
        number = replacements[original]
        space_before = space_after = False
        if original[0] == "<":
            space_before, space_after = _needs_spaces(line, begin, end)
            tag_spaces.setdefault(number, []).append((space_before, space_after))
        pieces += [line[copied_end:begin], " " * space_before, number, " " * space_after]
        number_begin = text_length + begin - copied_end + space_before
        number_end = number_begin + len(number)
        originals.append(original)
        if satisfied[original]:
            satisfied[original] -= 1
        else:
            constraints.append(SpanConstraint(number_begin, number_end, number))
        copied_end, text_length = end, number_end + space_after
    text = "".join([*pieces, line[copied_end:]])
    placeholders = {
        number: original for original, number in replacements.items() if number != original
    }
    return ProtectedLine(text, tuple(originals), tuple(constraints), placeholders, tag_spaces)


def _needs_spaces(line: str, begin: int, end: int) -> tuple[bool, bool]:
    """Return whether the placeholder of a tag needs a space before it, and after it."""
    before, after = line[begin - 1 : begin] if begin else "", line[end : end + 1]
    return (
        before != "" and not before.isspace() and before not in OPENING_SIGNS,
        after != "" and not after.isspace() and after not in CLOSING_SIGNS,
    )


def has_balanced_tags(text: str) -> bool:
    """Return whether all start tags have their end tags, in the right order."""
    open_tags: list[str] = []
    for match in TAG_PARTS.finditer(text):
        end_slash, name, empty_slash = match.groups()
        if end_slash:
            if not open_tags or open_tags.pop() != name:
                return False
        elif not empty_slash and name.lower() not in VOID_ELEMENTS:
            open_tags.append(name)
    return not open_tags


def _protected_spans_outside_terms(
    line: str, terminology: Terminology | None, normalizer: Normalizer | None
) -> Iterator[tuple[int, int]]:
    """Yield the protected spans of a line that begin outside terms."""
    spans: Iterable[tuple[int, int]] = find_protected_spans(line)
    if normalizer is not None:
        spans = _without_merged_characters(spans, normalizer.normalize_with_spans(line))
    terms = deque(terminology.find(line) if terminology else [])
    for begin, end in spans:
        while terms and terms[0].end < end:
            terms.popleft()
        if not terms or begin < terms[0].begin:
            yield begin, end


def _without_merged_characters(
    spans: Iterable[tuple[int, int]], aligned: AlignedText
) -> Iterator[tuple[int, int]]:
    """Yield spans without characters that normalization merges with characters outside."""
    merged = [(b, e) for b, e in zip(aligned.begins, aligned.ends, strict=True) if e - b > 1]

    def merged_across(position: int) -> tuple[int, int] | None:
        """Return the span of merged characters that contains both sides of a position."""
        index = bisect_left(merged, (position, position)) - 1
        return merged[index] if index >= 0 and merged[index][1] > position else None

    for begin, end in spans:
        first, last = merged_across(begin), merged_across(end)
        begin, end = first[1] if first else begin, last[0] if last else end
        if begin < end:
            yield begin, end


def _unused_numbers(texts: Iterable[str], terminology: Terminology | None) -> Iterator[str]:
    """Yield numbers of at least two digits that occur neither in the texts nor in terms."""
    used = {number for text in texts for number in DIGITS.findall(text)}
    if terminology:
        used |= terminology.numbers
    return (text for number in count(17, 6) if (text := str(number)) not in used)


def find_protected_spans(line: str) -> list[tuple[int, int]]:
    """Return the begin and end of all protected spans of a line, in order.

    A number that is part of a word, such as A380 or 300km, is not protected.
    """
    spans: list[tuple[int, int]] = []
    for match in PROTECTED.finditer(line):
        begin, end = match.span()
        previous_end = spans[-1][1] if spans else 0
        if end <= previous_end:
            continue
        follows_tag = bool(spans) and line[spans[-1][0]] == "<"
        if match["tag"]:
            if follows_tag and begin == previous_end:
                begin = spans.pop()[0]
            spans.append((begin, end))
            continue
        is_joined = (
            bool(spans)
            and not follows_tag
            and (begin <= previous_end or line[previous_end:begin] in SPAN_JOINERS)
        )
        if match["number"] and not is_joined:
            if not is_whole_word(line, begin, end) or line[begin - 1 : begin] in SPAN_JOINERS:
                continue
        else:
            joiners = WORD_JOINERS if match["variable"] else ""
            begin, end = _extended_by_words(line, begin, end, previous_end, joiners)
        if match["link"]:
            end += _count_closing_brackets(line, begin, end)
        if is_joined:
            begin = spans.pop()[0]
        spans.append((begin, max(end, previous_end)))
    return spans


def _extended_by_words(
    line: str, begin: int, end: int, min_begin: int, joiners: str
) -> tuple[int, int]:
    """Extend a span by the words that touch it, directly or with one of `joiners` between.

    The span begins at `min_begin` or later.
    """

    def touches(sign: str, next_sign: str) -> bool:
        return is_word_character(sign) or (sign in joiners and is_word_character(next_sign))

    while begin > min_begin and touches(
        line[begin - 1], line[max(min_begin, begin - 2) : begin - 1]
    ):
        begin -= 1
    while touches(line[end : end + 1], line[end + 1 : end + 2]):
        end += 1
    return begin, end


def _count_closing_brackets(line: str, begin: int, end: int) -> int:
    """Return how many brackets after a link close brackets inside it."""
    unclosed = line.count("(", begin, end) - line.count(")", begin, end)
    closing = 0
    while closing < unclosed and line[end + closing : end + closing + 1] == ")":
        closing += 1
    return closing
