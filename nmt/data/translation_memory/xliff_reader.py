"""Read XLIFF 1.2 and 2.0, files of segments on their way through translation."""

from __future__ import annotations

from pathlib import Path

from nmt.data.translation_memory.languages import SRC, LanguageMatcher
from nmt.data.translation_memory.xml_segments import XmlSegmentReader

UNITS = ("trans-unit", "segment")
"""Elements that contain a source and a target, in XLIFF 1.2 and 2.0."""


class XliffReader(XmlSegmentReader):
    """Reads pairs of segments from an XLIFF file.

    Units without a target or with an empty one are not translated, and are skipped. Proposals
    (`alt-trans`, `mtc:match`) are skipped too. The source of the file may be either side.
    """

    root = "xliff"

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
        self._number = 0

    def begin(self, attributes: dict[str, str]) -> None:
        """Read the languages of XLIFF 2.0, and set the handlers of all elements."""
        self._languages = attributes.get("srcLang"), attributes.get("trgLang")
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        path = self._path
        if self.in_segment:
            self.start_inline(name)
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
        src_code, tgt_code = self._languages
        if not src_code:
            raise self.error("a source language in <file> or <xliff>", "none")
        code = attributes.get("xml:lang") or (src_code if name == "source" else tgt_code)
        if not code:
            raise self.error("a target language in <file>, <xliff> or <target>", "none")
        match = self.languages.match(code)
        if match is not None and match.side not in self._unit:
            self._side = match.side
            self._segment_depth = len(self._path)
            self.begin_segment()

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
