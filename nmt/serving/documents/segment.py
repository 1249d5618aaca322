"""Documents as segments of text with inline markup, between parts that stay as they are."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from nmt.serving.aligned_translation import AlignedTranslation
from nmt.serving.documents.tag_placement import Element, place_elements


@dataclass(frozen=True)
class Syntax:
    """How a format writes text."""

    escape: Callable[[str], str]
    """Write text so that no character is read as markup."""
    is_exact: Callable[[str, str], bool]
    """Return whether raw markup (first) is read as a text (second)."""
    guard: Callable[[str], str] = str
    """Change a written segment so that its position in the document makes no text markup."""


PLAIN = Syntax(escape=str, is_exact=lambda raw, text: True)
"""A format without special characters."""


@dataclass(frozen=True)
class Segment:
    """A block of text with inline markup."""

    text: str
    """Plain text without markup; entities are decoded, and white space is one space."""
    elements: Sequence[Element] = ()
    """Outermost elements, in the order of the document. They do not overlap."""
    spellings: Sequence[tuple[str, str]] = ()
    """Characters that the document does not write as themselves, or not always: each occurrence
    in order, as (characters, raw text)."""
    syntax: Syntax = PLAIN

    @property
    def needs_alignment(self) -> bool:
        """Whether the position of markup depends on the words of the translation."""
        pending = list(self.elements)
        while pending:
            element = pending.pop()
            if (element.begin, element.end) == (0, len(self.text)):
                pending += element.children
            elif element.end > 0 and element.begin < len(self.text):
                return True
        return False

    def render(self, translation: AlignedTranslation) -> str:
        """Return the translation as it is written in the document, with the inline markup."""
        speller = _Speller(self, is_changed=translation.text != self.text)
        written = "".join(
            part if isinstance(part, str) else speller.spell(translation.text[slice(*part)])
            for part in place_elements(self.text, self.elements, translation)
        )
        return self.syntax.guard(written) if speller.is_changed else written


class _Speller:
    """Writes consecutive parts of one translation.

    The kth occurrence of a character is spelled as its kth occurrence in the source, for example
    as an entity. Further occurrences are escaped if they could be read as markup.
    """

    def __init__(self, segment: Segment, is_changed: bool) -> None:
        self.syntax = segment.syntax
        self.is_changed = is_changed
        """Whether the text differs from the source. The same text is read as in the source."""
        self.spellings: dict[str, deque[str]] = {}
        for characters, raw in segment.spellings:
            self.spellings.setdefault(characters, deque()).append(raw)
        keys = sorted(self.spellings, key=len, reverse=True)
        self.pattern = re.compile("|".join(map(re.escape, keys)))

    def spell(self, text: str) -> str:
        """Return a part of the translation as it is written."""
        if not self.spellings:
            return self.syntax.escape(text)
        pieces = []
        copied = 0
        for match in self.pattern.finditer(text):
            pieces.append(self.syntax.escape(text[copied : match.start()]))
            raws = self.spellings[match.group()]
            pieces.append(raws.popleft() if raws else self.syntax.escape(match.group()))
            copied = match.end()
        pieces.append(self.syntax.escape(text[copied:]))
        raw = "".join(pieces)
        is_exact = not self.is_changed or self.syntax.is_exact(raw, text)
        return raw if is_exact else self.syntax.escape(text)


class Document:
    """A document with segments to translate, and parts that stay as they are."""

    def __init__(self, parts: Sequence[str | Segment]) -> None:
        self._parts = parts

    @cached_property
    def _segments(self) -> list[Segment]:
        return [part for part in self._parts if isinstance(part, Segment)]

    @cached_property
    def segments(self) -> list[str]:
        """Plain text of each segment."""
        return [segment.text for segment in self._segments]

    def needs_alignment(self, index: int) -> bool:
        """Return whether the markup of a segment needs links between words to be placed well."""
        return self._segments[index].needs_alignment

    def render(self, translations: Sequence[AlignedTranslation]) -> str:
        """Return the document with a translation in place of each segment.

        Raises ValueError if the number of translations differs from that of the segments.
        """
        if len(translations) != len(self._segments):
            raise ValueError(
                f"expected {len(self._segments)} translations, got {len(translations)}"
            )
        remaining = iter(translations)
        rendered = [
            part if isinstance(part, str) else part.render(next(remaining)) for part in self._parts
        ]
        return "".join(rendered)
