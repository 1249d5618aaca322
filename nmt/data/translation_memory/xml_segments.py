"""Read segments from untrusted XML in constant memory. Base class of the TMX and XLIFF readers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, NamedTuple
from xml.parsers import expat

from defusedxml.common import DefusedXmlException
from defusedxml.expatreader import DefusedExpatParser

from nmt.data.text.reader import MAX_LINE_BYTES, open_text, read_blocks
from nmt.data.translation_memory.languages import LanguageMatcher
from nmt.errors import DataError, show_value

BLOCK_BYTES = 2**16
"""Bytes that are parsed at a time."""
MAX_TAG_BYTES = 2**20
"""Maximum length of a tag. The XML parser keeps an incomplete tag in memory."""
MAX_DEPTH = 1000
"""Maximum number of nested elements."""
MAX_NAMES = 10_000
"""Maximum number of different names of elements and attributes, which the parser keeps."""
CODES = frozenset({"bpt", "ept", "it", "ph", "ut"})
"""Inline elements whose content is markup of another format, and is removed."""
INCOMPLETE = frozenset(
    expat.errors.codes[message]
    for message in (
        expat.errors.XML_ERROR_NO_ELEMENTS,
        expat.errors.XML_ERROR_UNCLOSED_TOKEN,
        expat.errors.XML_ERROR_PARTIAL_CHAR,
        expat.errors.XML_ERROR_UNCLOSED_CDATA_SECTION,
    )
)
"""Error codes of the XML parser at the end of a truncated file."""


class SegmentBatch(NamedTuple):
    """Consecutive pairs of segments."""

    numbers: list[int]
    """Line number of each pair, counted from 1."""
    src: list[str]
    tgt: list[str]


class XmlSegmentReader(ABC):
    """Reads pairs of segments from an XML file.

    The file is parsed in blocks. Entities, deep nesting, long tags and many different names are
    errors, so that memory does not depend on the file. Subclasses set the handlers of `parser`.
    """

    root: ClassVar[str]
    """Name of the root element."""

    def __init__(self, file: Path, languages: LanguageMatcher) -> None:
        self.file, self.languages = file, languages
        self.parser = self._create_parser()
        self.in_segment = False
        self._batch = SegmentBatch([], [], [])
        self._parts: list[str] = []
        """Text of the current segment."""
        self._code_depth = 0
        """Number of elements in CODES around the current position in a segment."""
        self._parsed_bytes = 0
        self._segment_blocks = 0
        """Number of blocks that contain the current segment."""

    def _create_parser(self) -> expat.XMLParserType:
        """Return an XML parser that rejects entity declarations and external entities."""
        defense = DefusedExpatParser()
        parser = expat.ParserCreate()
        parser.EntityDeclHandler = defense.defused_entity_decl
        parser.UnparsedEntityDeclHandler = defense.defused_unparsed_entity_decl
        parser.ExternalEntityRefHandler = defense.defused_external_entity_ref_handler
        parser.SkippedEntityHandler = self._refuse_entity
        parser.StartElementHandler = self._start_root
        return parser

    def batches(self) -> Iterator[SegmentBatch]:
        """Yield all pairs, in order; raise DataError with file and line if the file is invalid."""
        with open_text(self.file) as stream:
            for block in read_blocks(stream, self.file, BLOCK_BYTES):
                self.feed(block)
                if self._batch.numbers:
                    yield self._take_batch()
        self.finish()
        if self._batch.numbers:
            yield self._take_batch()
        if message := self.languages.describe_missing():
            raise DataError(f"{self.file}: {message}")

    def feed(self, block: bytes) -> None:
        """Parse a block."""
        self.parse(block)

    def finish(self) -> None:
        """Parse the end of the file."""
        self.parse(b"", is_last=True)

    def parse(self, block: bytes, is_last: bool = False) -> None:
        """Parse a block, and check the limits."""
        try:
            self.parser.Parse(block, is_last)
        except DefusedXmlException as error:
            name = getattr(error, "name", None) or getattr(error, "sysid", None)
            raise self.error("XML without entity declarations", show_value(name)) from None
        except expat.ExpatError as error:
            if error.code in INCOMPLETE:
                expected, got = f"</{self.root}> at the end", "the end of the file"
            else:
                expected, got = "well-formed XML", expat.ErrorString(error.code)
            raise self.error(expected, got, error.lineno) from None
        self._parsed_bytes += len(block)
        if self._parsed_bytes - self.parser.CurrentByteIndex > MAX_TAG_BYTES:
            raise self.error(f"tags of at most {MAX_TAG_BYTES:,} bytes", "a longer one")
        if len(self.parser.intern) > MAX_NAMES:
            raise self.error(f"at most {MAX_NAMES:,} different names in tags", "more")
        self._segment_blocks = self._segment_blocks + 1 if self.in_segment else 0
        if self._segment_blocks * BLOCK_BYTES > MAX_LINE_BYTES:
            raise self.error(f"segments of at most {MAX_LINE_BYTES:,} bytes", "a longer one")

    def error(self, expected: str, got: str, line: int | None = None) -> DataError:
        """Return the error for the current line, or for another line."""
        line = line or self.parser.CurrentLineNumber
        return DataError(f"{self.file}:{line}: expected {expected}, got {got}")

    def check_depth(self, depth: int) -> None:
        """Raise DataError if elements are nested too deeply."""
        if depth > MAX_DEPTH:
            raise self.error(f"at most {MAX_DEPTH} nested elements", "more")

    def _refuse_entity(self, name: str, is_parameter: bool) -> None:
        raise self.error("only entities that XML defines", f"&{name};")

    def _start_root(self, name: str, attributes: dict[str, str]) -> None:
        """Check the root element, then give all elements to the handler of the subclass."""
        if name != self.root:
            raise self.error(f"the root element <{self.root}>", f"<{name}>")
        self.begin(attributes)

    @abstractmethod
    def begin(self, attributes: dict[str, str]) -> None:
        """Set the handlers for the elements below the root, which has these attributes."""

    def begin_segment(self) -> None:
        """Collect text until `end_segment`."""
        self.in_segment = True
        self.parser.CharacterDataHandler = self._parts.append

    def end_segment(self) -> str:
        """Return the text of the segment, without inline tags."""
        self.in_segment = False
        self.parser.CharacterDataHandler = None
        text = "".join(self._parts)
        self._parts.clear()
        return text

    def start_inline(self, name: str) -> None:
        """Skip the content of codes; other inline elements are part of the text."""
        if name in CODES:
            self._code_depth += 1
            self.parser.CharacterDataHandler = None

    def end_inline(self, name: str) -> None:
        """Continue with the text after a code."""
        if name in CODES:
            self._code_depth -= 1
            if not self._code_depth:
                self.parser.CharacterDataHandler = self._parts.append

    def add_pair(self, number: int, src: str, tgt: str) -> None:
        """Add a pair to the current batch."""
        batch = self._batch
        batch.numbers.append(number)
        batch.src.append(src)
        batch.tgt.append(tgt)

    def add_run(self, number: int, run: SegmentBatch) -> None:
        """Add several pairs, whose numbers are relative to `number`."""
        batch = self._batch
        batch.numbers.extend([number + offset for offset in run.numbers])
        batch.src.extend(run.src)
        batch.tgt.extend(run.tgt)

    def _take_batch(self) -> SegmentBatch:
        batch, self._batch = self._batch, SegmentBatch([], [], [])
        return batch


def join_lines(text: str) -> str:
    """Replace each line break, with the spaces around it, by one space; remove it at the ends."""
    lines = (line.strip(" \t") for line in text.replace("\r", "\n").split("\n"))
    return " ".join(line for line in lines if line)
