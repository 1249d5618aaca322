"""Read XLIFF 1.2 and 2.0, files of segments on their way through translation."""

from __future__ import annotations

import re
from pathlib import Path

from nmt.data.translation_memory.languages import SRC, TGT, LanguageMatch, LanguageMatcher
from nmt.data.translation_memory.unit_extraction import (
    ATTRIBUTES,
    MARK,
    SPACE,
    UNKNOWN,
    ExtractingReader,
    segment_pattern,
)
from nmt.data.translation_memory.xml_segments import SegmentBatch

UNITS = ("trans-unit", "segment")
"""Elements that contain a source and a target, in XLIFF 1.2 and 2.0."""


def unit_pattern(name: str) -> re.Pattern[str]:
    """Return a pattern of an element of UNITS with a source and a target."""
    source, target = (
        f"<{side}({ATTRIBUTES})>({segment_pattern(number)})</{side}>{SPACE}*+"
        for number, side in enumerate(("source", "target"))
    )
    return re.compile(rf"(<{name}{ATTRIBUTES}>{SPACE}*+{source}{target}</{name}>)")


UNIT_PATTERNS = {name: unit_pattern(name) for name in UNITS}


class XliffReader(ExtractingReader):
    """Reads pairs of segments from an XLIFF file.

    Units without a target or with an empty one are not translated, and are skipped. Proposals
    (`alt-trans`, `mtc:match`) are skipped too. The source of the file may be either side.
    """

    root = "xliff"
    body = b"<file"

    def __init__(self, file: Path, languages: LanguageMatcher) -> None:
        super().__init__(file, languages)
        self._path: list[str] = []
        """Names of the open elements below the root."""
        self._segment_depth = 0
        self._languages: tuple[str | None, str | None] = None, None
        """Language codes of the elements `source` and `target`."""
        self._unit: dict[int, str] = {}
        """Text of each side of the current unit."""
        self._side: int | None = None
        self._unit_name = ""
        """Name of the units of this version of XLIFF."""
        self._number = 0

    def begin(self, attributes: dict[str, str]) -> None:
        """Read the languages of XLIFF 2.0, and set the handlers of all elements."""
        self._languages = attributes.get("srcLang"), attributes.get("trgLang")
        self._unit_name = UNITS["srcLang" in attributes]
        self.unit = UNIT_PATTERNS[self._unit_name]
        self.unit_end = f"</{self._unit_name}>".encode()
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end

    def is_outside_units(self) -> bool:
        """Tell whether the parser is below the root element, and outside segments."""
        return self.parser.EndElementHandler is not None and not self.in_segment

    def find_order(self, attributes: str, attributes_2: str) -> int:
        """Return 0, the index of <source>, unless a language is among the attributes."""
        return UNKNOWN if "xml:lang" in attributes + attributes_2 else 0

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        path = self._path
        if self.in_segment:
            if name in UNITS or name in ("source", "target", MARK):
                unit = name.replace(MARK, self._unit_name)
                raise self.error("only inline tags in a text", f"<{unit}>")
            self.start_inline(name)
        elif name == MARK:
            self._add_units(self.parser.CurrentLineNumber, self.runs.pop())
        elif name in ("source", "target") and path and path[-1] in UNITS:
            self._start_text(name, attributes)
        elif name in UNITS:
            self._unit = {}
            self._number = self.parser.CurrentLineNumber
        elif name == "file" and "source-language" in attributes:
            self._languages = attributes["source-language"], attributes.get("target-language")
        path.append(name)
        self.check_depth(len(path))

    def _start_text(self, name: str, attributes: dict[str, str]) -> None:
        """Collect a text if its language is one of the two sides."""
        match = self._match(name, attributes)
        if match is not None and match.side not in self._unit:
            self._side = match.side
            self._segment_depth = len(self._path)
            self.begin_segment()

    def _match(self, name: str, attributes: dict[str, str]) -> LanguageMatch | None:
        """Return the side of an element `source` or `target`, None if it is neither."""
        src_code, tgt_code = self._languages
        if not src_code:
            raise self.error("a source language in <file> or <xliff>", "none")
        code = attributes.get("xml:lang") or (src_code if name == "source" else tgt_code)
        if not code:
            raise self.error("a target language in <file>, <xliff> or <target>", "none")
        return self.languages.match(code)

    def _add_units(self, number: int, run: SegmentBatch) -> None:
        """Add the pairs of sources and targets that were taken out of a block at this line."""
        self._unit = {}
        matches = self._match("source", {}), self._match("target", {})
        sides = [None if match is None else match.side for match in matches]
        if set(sides) != {SRC, TGT}:
            return
        if sides[0] == TGT:
            run = SegmentBatch(run.numbers, run.tgt, run.src)
        for offset, src, tgt in zip(*run, strict=True):
            if src and tgt:
                self.add_pair(number + offset, src, tgt)

    def _end(self, name: str) -> None:
        path = self._path
        if not path:
            return  # the root element
        path.pop()
        if self.in_segment:
            if len(path) > self._segment_depth:
                self.end_inline(name)
            elif self._side is not None:
                self._unit[self._side] = self.end_segment()
        elif name in UNITS and len(self._unit) == 2:
            src, tgt = self._unit[SRC], self._unit[1 - SRC]
            if src and tgt:
                self.add_pair(self._number, src, tgt)
            self._unit = {}
