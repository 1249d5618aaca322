"""Rewrite text by rules, and remember which original characters each character comes from."""

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
    """A rewritten text, with the span of the original text that each character comes from."""

    text: str
    begins: list[int]
    ends: list[int]
    """An inserted character has an empty span: its end equals its begin."""

    @classmethod
    def identity(cls, text: str) -> AlignedText:
        """Align a text with itself."""
        return cls(text, list(range(len(text))), list(range(1, len(text) + 1)))

    def apply_edits(self, edits: Iterable[Edit]) -> AlignedText:
        """Apply edits, which must be in order and must not overlap."""
        parts: list[str] = []
        begins: list[int] = []
        ends: list[int] = []
        copied = 0
        for begin, end, new in edits:
            parts += [self.text[copied:begin], new]
            begins += self.begins[copied:begin]
            ends += self.ends[copied:begin]
            original_begin, original_end = self.original_span(begin, end)
            begins += [original_begin] * len(new)
            ends += [original_end] * len(new)
            copied = end
        if not parts:
            return self
        text = "".join([*parts, self.text[copied:]])
        return AlignedText(text, begins + self.begins[copied:], ends + self.ends[copied:])

    def last_original_index(self, index: int, length: int) -> int:
        """Return the last original character of a character; `length` if it is behind the text.

        `length` is that of the original text.
        """
        return max(self.begins[index], self.ends[index] - 1) if index < len(self.text) else length

    def original_span(self, begin: int, end: int) -> tuple[int, int]:
        """Return the original span of the characters from `begin` to `end`."""
        if begin < end:
            return self.begins[begin], self.ends[end - 1]
        before = self.ends[begin - 1] if begin else 0
        return before, before


@dataclass(frozen=True)
class Rule:
    """One rewriting of a text, in two forms that agree."""

    apply: Callable[[str], str]
    """Return the rewritten text."""
    edits: Callable[[str], Iterator[Edit]]
    """Yield the edits that rewrite the text, in order."""


def substitution_rule(
    pattern: str, new: str | Callable[[re.Match[str]], str], group: int = 0
) -> Rule:
    """Return the rule that replaces a group of each match of a pattern, the others unchanged."""
    compiled = re.compile(pattern)

    def text_of(match: re.Match[str]) -> str:
        return new if isinstance(new, str) else new(match)

    def edits(text: str) -> Iterator[Edit]:
        for match in compiled.finditer(text):
            yield *match.span(group), text_of(match)

    def replaced(match: re.Match[str]) -> str:
        begin, end = match.start(group) - match.start(), match.end(group) - match.start()
        return match[0][:begin] + text_of(match) + match[0][end:]

    return Rule(lambda text: compiled.sub(replaced, text), edits)


def unicode_rule(form: UnicodeForm) -> Rule:
    """Return the rule that brings text into a normal form of Unicode (UAX #15)."""

    def edits(text: str) -> Iterator[Edit]:
        begin = 0
        for end in range(1, len(text) + 1):
            if end == len(text) or not _may_join(text[end], form):
                part = text[begin:end]
                new = unicodedata.normalize(form, part)
                if new != part:
                    yield begin, end, new
                begin = end

    return Rule(lambda text: unicodedata.normalize(form, text), edits)


@cache
def _may_join(letter: str, form: UnicodeForm) -> bool:
    """Return whether a letter may be composed with one before it: marks and Hangul vowels may."""
    first = unicodedata.normalize("NFD" if form == "NFC" else "NFKD", letter)[0]
    return unicodedata.category(first)[0] == "M" or "\u1160" <= first <= "\u11ff"
