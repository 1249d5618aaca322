"""Build a document from the text and the markup that a parser of its format reports."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from nmt.serving.documents.segment import PLAIN, Document, Segment, Syntax
from nmt.serving.documents.tag_placement import Element

MAX_DEPTH = 32
"""Maximum number of nested inline elements in a segment. Deeper tags end a segment."""
OUTER_OR_REPEATED_SPACES = re.compile("^ +| +$|  +")

Kind = Literal["text", "space", "start", "end", "point", "verbatim", "boundary"]


@dataclass
class _Item:
    """A piece of a run of inline content."""

    kind: Kind
    raw: str
    text: str = ""
    """Plain text of `raw`, for text, spaces and verbatim markup."""


class DocumentBuilder:
    """Collects runs of inline content between boundaries, and converts them to segments.

    A run without a letter stays as it is. A start tag without its end tag in the same run, and an
    end tag without its start tag, are boundaries, so that every element of a segment is complete.
    """

    def __init__(self, syntax: Syntax = PLAIN) -> None:
        self._syntax = syntax
        self._parts: list[str | Segment] = []
        self._run: list[_Item] = []
        self._open: list[tuple[str, int]] = []
        """Names of the open elements, with the index of their start tag in the run."""

    def add_text(self, text: str, raw: str | None = None) -> None:
        """Add text that the document writes as `raw`, by default as itself."""
        if text:
            self._run.append(_Item("text", text if raw is None else raw, text))

    def add_words(self, text: str) -> None:
        """Add text as it is written. Spaces at its ends and repeated spaces are white space."""
        copied = 0
        for match in OUTER_OR_REPEATED_SPACES.finditer(text):
            self.add_text(text[copied : match.start()])
            self.add_space(match.group())
            copied = match.end()
        self.add_text(text[copied:])

    def add_space(self, raw: str) -> None:
        """Add white space; the segment contains one space for it."""
        if raw:
            self._run.append(_Item("space", raw, " "))

    def add_start(self, raw: str, name: str) -> None:
        """Add the start tag of an inline element."""
        if len(self._open) == MAX_DEPTH:
            self.add_boundary(raw)
            return
        self._open.append((name, len(self._run)))
        self._run.append(_Item("start", raw))

    def add_end(self, raw: str, name: str) -> None:
        """Add the end tag of an inline element."""
        if self._open and self._open[-1][0] == name:
            self._open.pop()
            self._run.append(_Item("end", raw))
        else:
            self.add_boundary(raw)

    def add_point(self, raw: str) -> None:
        """Add inline markup without text, such as an image."""
        self._run.append(_Item("point", raw))

    def add_verbatim(self, raw: str, text: str) -> None:
        """Add inline markup with text that is not translated. The translator sees `text`."""
        text = " ".join(text.split())
        self._run.append(_Item("verbatim", raw, text) if text else _Item("point", raw))

    def add_boundary(self, raw: str) -> None:
        """Add markup that ends a segment."""
        self._finish_run()
        self._parts.append(raw)

    def build(self) -> Document:
        """Return the document."""
        self._finish_run()
        return Document(self._parts)

    def _finish_run(self) -> None:
        """Convert the run to segments and literal parts."""
        begin = 0
        for _, index in self._open:
            self._add_segment(self._run[begin:index])
            self._parts.append(self._run[index].raw)
            begin = index + 1
        self._add_segment(self._run[begin:])
        self._run, self._open = [], []

    def _add_segment(self, items: list[_Item]) -> None:
        """Add a part of a run in which every element is complete."""
        has_letter = any(
            item.kind == "text" and any(character.isalpha() for character in item.text)
            for item in items
        )
        if has_letter:
            segment = _SegmentBuilder(items, self._syntax)
            self._parts += [segment.prefix, segment.build(), segment.suffix]
        else:
            self._parts.append("".join(item.raw for item in items))


class _SegmentBuilder:
    """Builds a segment. White space at its ends and repeated white space become markup."""

    def __init__(self, items: list[_Item], syntax: Syntax) -> None:
        self.prefix = self.suffix = ""
        """White space around the segment."""
        self._syntax = syntax
        self._texts: list[str] = []
        self._length = 0
        self._elements: list[Element] = []
        self._path: list[Element] = []
        self._raws: list[tuple[str, str]] = []
        """Plain and raw text of each item."""
        self._last_markup: tuple[Element, str] | None = None
        """The last element, and its attribute `opening` or `closing` that came last."""
        self._markup_after_space: tuple[Element, str] | None = None
        """The first markup after the last space of the text."""
        self._ends_with_space = True
        for item in items:
            self._add(item)
        self._strip()

    def _add(self, item: _Item) -> None:
        if item.kind == "space":
            self._add_space(item)
        elif item.kind == "end":
            element = self._path.pop()
            element.end, element.closing = self._length, item.raw
            self._note_markup(element, "closing")
        elif item.kind == "text":
            self._add_text(item.text)
            self._raws.append((item.text, item.raw))
        else:
            element = Element(self._length, self._length + len(item.text), item.raw)
            siblings = self._path[-1].children if self._path else self._elements
            siblings.append(element)
            self._note_markup(element, "opening")
            if item.kind == "start":
                self._path.append(element)
            elif item.kind == "verbatim":
                element.is_verbatim = True
                self._add_text(item.text)

    def _add_text(self, text: str) -> None:
        self._texts.append(text)
        self._length += len(text)
        self._ends_with_space = False

    def _add_space(self, item: _Item) -> None:
        if not self._ends_with_space:
            self._add_text(" ")
            self._raws.append((" ", item.raw))
            self._ends_with_space, self._markup_after_space = True, None
        elif self._length and self._markup_after_space is None:
            self._raws[-1] = (" ", self._raws[-1][1] + item.raw)
        elif self._last_markup is None:
            self.prefix += item.raw
        else:
            element, attribute = self._last_markup
            setattr(element, attribute, getattr(element, attribute) + item.raw)

    def _note_markup(self, element: Element, attribute: str) -> None:
        self._last_markup = element, attribute
        if self._ends_with_space and self._markup_after_space is None:
            self._markup_after_space = self._last_markup

    def _strip(self) -> None:
        """Move a space at the end of the text to the markup after it, or after the segment."""
        if not self._ends_with_space:
            return
        _, raw = self._raws.pop()
        self._texts.pop()
        self._length -= 1
        if self._markup_after_space is None:
            self.suffix = raw
        else:
            element, attribute = self._markup_after_space
            setattr(element, attribute, raw + getattr(element, attribute))

    def build(self) -> Segment:
        """Return the segment."""
        pending = list(self._elements)
        while pending:
            element = pending.pop()
            element.begin, element.end = (
                min(element.begin, self._length),
                min(element.end, self._length),
            )
            pending += element.children
        return Segment("".join(self._texts), self._elements, self._spellings(), self._syntax)

    def _spellings(self) -> list[tuple[str, str]]:
        """Return the occurrences of all characters that are not always written as escaped."""
        escape = self._syntax.escape
        special = {text for text, raw in self._raws if raw != text and raw != escape(text)}
        for text, raw in self._raws:
            if raw == text:
                special |= {character for character in set(text) if escape(character) != character}
        if not special:
            return []
        pattern = re.compile("|".join(map(re.escape, sorted(special, key=len, reverse=True))))
        return [
            (match.group(), match.group() if raw == text else raw)
            for text, raw in self._raws
            for match in pattern.finditer(text)
        ]
