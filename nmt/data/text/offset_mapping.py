"""Rewrite text by rules, and map each character to the original characters that it comes from."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Literal

UnicodeForm = Literal["NFC", "NFKC"]
Edit = tuple[int, int, str]
"""Begin and end of a span of text, and the text that replaces it."""


@dataclass(frozen=True)
class AlignedText:
    """A rewritten text with the span of the original text that each character comes from."""

    text: str
    begins: list[int]
    """For each character, the begin of its original span."""
    ends: list[int]
    """For each character, the end of its original span; equal to the begin if it was inserted."""

    @classmethod
    def identity(cls, text: str) -> AlignedText:
        """Return a text that is aligned with itself."""
        return cls(text, list(range(len(text))), list(range(1, len(text) + 1)))

    def apply_edits(self, edits: Iterable[Edit]) -> AlignedText:
        """Return the text after some edits, which must be sorted and must not overlap."""
        parts: list[str] = []
        begins: list[int] = []
        ends: list[int] = []
        copied = 0
        for begin, end, replacement in edits:
            parts += [self.text[copied:begin], replacement]
            begins += self.begins[copied:begin]
            ends += self.ends[copied:begin]
            original_begin, original_end = self.original_span(begin, end)
            begins += [original_begin] * len(replacement)
            ends += [original_end] * len(replacement)
            copied = end
        if not parts:
            return self
        text = "".join([*parts, self.text[copied:]])
        return AlignedText(text, begins + self.begins[copied:], ends + self.ends[copied:])

    def last_original_index(self, index: int, original_length: int) -> int:
        """Return the last original character that the character at `index` comes from.

        Return `original_length` if `index` is the end of the text.
        """
        if index >= len(self.text):
            return original_length
        return max(self.begins[index], self.ends[index] - 1)

    def original_span(self, begin: int, end: int) -> tuple[int, int]:
        """Return the original (begin, end) of the characters from `begin` to `end`."""
        if begin < end:
            return self.begins[begin], self.ends[end - 1]
        insertion_point = self.ends[begin - 1] if begin else 0
        return insertion_point, insertion_point


@dataclass(frozen=True)
class Rule:
    """A rewriting of text, as two functions that agree."""

    apply: Callable[[str], str]
    """Return the rewritten text."""
    edits: Callable[[str], Iterator[Edit]]
    """Yield the edits that rewrite the text, in order."""


def substitution_rule(
    pattern: str, replacement: str | Callable[[re.Match[str]], str], group: int = 0
) -> Rule:
    """Return a rule that replaces one group in each match of a pattern."""
    compiled = re.compile(pattern)

    def expand(match: re.Match[str]) -> str:
        return replacement if isinstance(replacement, str) else replacement(match)

    def edits(text: str) -> Iterator[Edit]:
        for match in compiled.finditer(text):
            yield *match.span(group), expand(match)

    def rewrite_match(match: re.Match[str]) -> str:
        begin, end = match.start(group) - match.start(), match.end(group) - match.start()
        return match[0][:begin] + expand(match) + match[0][end:]

    return Rule(lambda text: compiled.sub(rewrite_match, text), edits)


def unicode_rule(form: UnicodeForm) -> Rule:
    """Return a rule that converts text into a Unicode normalization form (UAX #15)."""

    def edits(text: str) -> Iterator[Edit]:
        begin = 0
        for end in range(1, len(text) + 1):
            if end == len(text) or not _may_compose(text[end], form):
                part = text[begin:end]
                normalized = unicodedata.normalize(form, part)
                if normalized != part:
                    yield begin, end, normalized
                begin = end

    return Rule(lambda text: unicodedata.normalize(form, text), edits)


@cache
def _may_compose(character: str, form: UnicodeForm) -> bool:
    """Return whether a character may compose with its predecessor: a mark or a Hangul vowel."""
    first = unicodedata.normalize("NFD" if form == "NFC" else "NFKD", character)[0]
    return unicodedata.category(first)[0] == "M" or "\u1160" <= first <= "\u11ff"
