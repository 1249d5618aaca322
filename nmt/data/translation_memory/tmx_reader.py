"""Read TMX 1.4, the exchange format of translation memories."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from nmt.data.translation_memory.languages import SRC, TGT, LanguageMatcher
from nmt.data.translation_memory.unit_extraction import (
    ATTRIBUTE,
    ATTRIBUTES,
    MARK,
    NO_PAIR,
    SPACE,
    UNKNOWN,
    ExtractingReader,
    segment_pattern,
)
from nmt.errors import show_value

DATE = re.compile(r"\d{8}T\d{6}Z")
"""A date of TMX: YYYYMMDDThhmmssZ."""
MAX_UNCLOSED = 100_000
"""Maximum estimate of the nesting depth for which units are taken out of blocks."""


def variant_pattern(number: int) -> str:
    """Return a pattern of a tuv; its groups are the attributes, the segment and an inline name."""
    segment = segment_pattern(number)
    return rf"<tuv({ATTRIBUTES})>{SPACE}*+<seg>({segment})</seg>{SPACE}*+</tuv>{SPACE}*+"


UNIT = re.compile(rf"(<tu{ATTRIBUTES}>{SPACE}*+{variant_pattern(1)}{variant_pattern(2)}</tu>)")


class TmxReader(ExtractingReader):
    """Reads pairs of segments from a TMX file.

    A translation unit gives one pair: the first segment of each language, or the first one whose
    language code is exactly the code of the side. Units without one of the languages are skipped.
    """

    root = "tmx"
    body = b"<body"
    unit = UNIT
    unit_end = b"</tu>"

    def __init__(self, file: Path, languages: LanguageMatcher, since: str | None = None) -> None:
        """With `since`, skip units that were last changed before this day (YYYY-MM-DD).

        Units without a date are skipped too.
        """
        super().__init__(file, languages)
        self.can_extract = since is None
        self._since = (since or "").replace("-", "")
        self._unit: list[str | None] = [None, None]
        """Segment of each side of the current unit."""
        self._is_exact = [False, False]
        """Whether the language code of each segment is exactly the code of the side."""
        self._number = 0
        """Line number of the current unit."""
        self._side: int | None = None
        """Side of the current tuv, None if its segment is not used."""
        self._last_change = ""
        self._depth = 0
        """Nesting depth; counted only while no units are taken out."""
        self._unclosed = 0
        """Estimate of the nesting depth, too high by the number of empty elements."""

    def begin(self, attributes: dict[str, str]) -> None:
        """Set the handlers of all elements."""
        self._depth = 1
        self.stop_extraction()

    def start_extraction(self) -> None:
        """Take units out of blocks; parse the rest with handlers that do not count the depth."""
        super().start_extraction()
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = None

    def stop_extraction(self) -> None:
        """Parse all markup with handlers that count the depth."""
        super().stop_extraction()
        self.parser.StartElementHandler = self._start_counted
        self.parser.EndElementHandler = self._end_counted

    def is_outside_units(self) -> bool:
        """Tell whether the parser is below the root element, and outside segments."""
        return self._depth > 0 and not self.in_segment

    def finish(self) -> None:
        """Parse the end of the file, and add the last unit."""
        super().finish()
        self._end_unit()

    def parse_markup(self, markup: bytes) -> None:
        """Parse a block with marks in place of units, and estimate the nesting depth."""
        self._unclosed += _count_unclosed_tags(markup) - len(self.runs)
        super().parse_markup(markup)
        if self._unclosed > MAX_UNCLOSED:
            self.stop_extraction()

    def find_order(self, attributes: str, attributes_2: str) -> int:
        """Return the index of the variant that is the source, given the attributes of both."""
        sides = []
        for variant in (attributes, attributes_2):
            items = re.findall(ATTRIBUTE, variant)
            values = dict(items)
            code = values.get("xml:lang") or values.get("lang")
            if not code or len(values) < len(items):
                return UNKNOWN  # the parser raises the error
            match = self.languages.match(code)
            sides.append(None if match is None else match.side)
        return sides.index(SRC) if set(sides) == {SRC, TGT} else NO_PAIR

    def _start_counted(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        self.check_depth(self._depth)
        if self.in_segment:
            self._start_inline(name, attributes)
        else:
            self._start(name, attributes)

    def _end_counted(self, name: str) -> None:
        self._depth -= 1
        if self.in_segment:
            self._end_inline(name)

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        """Handle a start tag outside segments."""
        if name == MARK:
            self._end_unit()
            self.add_run(self.parser.CurrentLineNumber, self.runs.pop())
        elif name == "tuv":
            self._start_variant(attributes)
        elif name == "tu":
            self._end_unit()
            self._number = self.parser.CurrentLineNumber
            if self._since:
                self._note_date(attributes)
        elif name == "seg" and self._side is not None:
            self.begin_segment()
            if self.extracts:
                self.parser.StartElementHandler = self._start_inline
                self.parser.EndElementHandler = self._end_inline

    def _start_variant(self, attributes: dict[str, str]) -> None:
        """Decide whether the segment of a tuv is used."""
        code = attributes.get("xml:lang") or attributes.get("lang")
        if not code:
            raise self.error("xml:lang in <tuv>", "none")
        match = self.languages.match(code)
        self._side = None
        if match is None:
            return
        side, is_exact = match
        if self._unit[side] is None or (is_exact and not self._is_exact[side]):
            self._side = side
            self._is_exact[side] = is_exact
        if self._since:
            self._note_date(attributes)

    def _start_inline(self, name: str, attributes: dict[str, str]) -> None:
        """Handle a start tag in a segment."""
        if name in ("tu", "tuv", "seg", MARK):
            raise self.error("only inline tags in <seg>", f"<{name.replace(MARK, 'tu')}>")
        self.start_inline(name)

    def _end_inline(self, name: str) -> None:
        """Handle an end tag in a segment, or that of the segment."""
        if name != "seg":
            self.end_inline(name)
            return
        if self.extracts:
            self.parser.StartElementHandler = self._start
            self.parser.EndElementHandler = None
        text = self.end_segment()
        if self._side is not None:
            self._unit[self._side] = text
            self._side = None

    def _end_unit(self) -> None:
        """Add the pair of the current unit, if it is complete and recent enough."""
        src, tgt = self._unit
        is_recent = self._last_change >= self._since
        if self._number and src is not None and tgt is not None and is_recent:
            self.add_pair(self._number, src, tgt)
        self._unit = [None, None]
        self._is_exact = [False, False]
        self._side = None
        self._last_change = ""

    def _note_date(self, attributes: dict[str, str]) -> None:
        """Update the date of the last change of the unit."""
        for key in ("creationdate", "changedate"):
            value = attributes.get(key)
            if value is None:
                continue
            if not DATE.fullmatch(value):
                raise self.error(f"{key} as YYYYMMDDThhmmssZ", show_value(value))
            self._last_change = max(self._last_change, value)


def _count_unclosed_tags(markup: bytes) -> int:
    """Return the number of start tags minus that of end tags; `<a/>` counts as a start tag.

    The markup has no comments, CDATA sections or processing instructions, so each < begins a tag.
    """
    codes = np.frombuffer(markup, np.uint8)
    begins = codes == ord("<")
    ends = begins[:-1] & (codes[1:] == ord("/"))
    return int(np.count_nonzero(begins)) - 2 * int(np.count_nonzero(ends))
