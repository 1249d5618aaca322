"""Take units of two segments out of an XML file before the parser sees them.

The handlers of an XML parser are Python functions, and their calls take most of the time. Most
units of a translation memory are two segments with few inline tags. `ExtractingReader` takes these
out of a block with a regular expression, and puts an empty element in their place.
"""

from __future__ import annotations

import re
import secrets
from abc import abstractmethod
from pathlib import Path
from typing import ClassVar

import numpy as np

from nmt.data.translation_memory.languages import LanguageMatcher
from nmt.data.translation_memory.xml_segments import CODES, SegmentBatch, XmlSegmentReader

UNUSUAL_MARKUP = re.compile(rb"<(?!\?xml\s|!DOCTYPE\s)[!?]")
"""Start of a comment, a CDATA section, a declaration or a processing instruction."""
NONCHARACTERS = ("\ufffe".encode(), "\uffff".encode())
"""Characters that UTF-8 can encode and XML forbids."""
ENTITIES = {"&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": '"', "&apos;": "'"}
ENTITY = re.compile("&[a-z]*;?")
"""A reference to an entity, valid or not."""
MARK = f"unit-{secrets.token_hex(8)}"
"""Name of the empty element in place of a unit. It is random, so no file can contain it."""
MAX_CACHED = 1000
"""Maximum number of attributes whose languages are remembered."""
NO_PAIR, UNKNOWN = -1, -2
"""Units without both languages, and units that only the parser can judge."""

SPACE = r"[ \t\n]"
ATTRIBUTE = rf'{SPACE}++([A-Za-z][A-Za-z:-]*+)="([^"<&]*+)"'
ATTRIBUTES = rf'(?:{SPACE}++[A-Za-z][A-Za-z:-]*+="[^"<&]*+")*+'
TEXT = "[^<]*+"
"""Text, if the block does not contain ]]>. A class of one character is twice as fast as of two."""
NOT_INLINE = "tu|tuv|seg|trans-unit|segment|source|target"
NAME = rf"(?!(?:{NOT_INLINE})[ \t\n/>])[A-Za-z][A-Za-z:-]*+"
"""Name of an inline element."""
EMPTY_ELEMENT = rf"<{NAME}{ATTRIBUTES}{SPACE}*+/>"
CONTENT = rf"{TEXT}(?:{EMPTY_ELEMENT}{TEXT})*+"
CODE = rf"<(?:{'|'.join(sorted(CODES))}){ATTRIBUTES}{SPACE}*+>{CONTENT}</[a-z]++{SPACE}*+>"
INLINE_TAG = re.compile(rf"{CODE}|</?{NAME}{ATTRIBUTES}{SPACE}*+/?>")
"""A code with its content, or another tag, in a segment of an extracted unit."""


def segment_pattern(number: int) -> str:
    """Return a pattern of a segment whose inline elements contain text and empty elements only.

    The group `name_NUMBER` is the name of an inline element.
    """
    begin, end = f"<(?P<name_{number}>{NAME})", f"</(?P=name_{number})"
    element = rf"{begin}{ATTRIBUTES}{SPACE}*+>{CONTENT}{end}{SPACE}*+>"
    return rf"{TEXT}(?:(?:{EMPTY_ELEMENT}|{element}){TEXT})*+"


class ExtractingReader(XmlSegmentReader):
    """Reads pairs of segments, most of them without the XML parser.

    Units are taken out only if the result is that of the parser. A file with comments, CDATA
    sections or processing instructions, or in another encoding than UTF-8, is parsed.
    """

    body: ClassVar[bytes]
    """Start of the tag that begins the part with units."""
    unit: re.Pattern[str]
    """A well-formed unit, in which attributes may be repeated. It is not part of an attribute or a
    text. Groups: the unit, and twice the attributes that decide about the language, the segment,
    and the name of an inline element."""
    unit_end: bytes
    """End tag of a unit."""

    def __init__(self, file: Path, languages: LanguageMatcher) -> None:
        super().__init__(file, languages)
        self.extracts = False
        """Whether units are taken out of blocks."""
        self.can_extract = True
        """Whether units may be taken out: the head of the file has no unusual markup."""
        self.runs: list[SegmentBatch] = []
        """Pairs that were taken out of the current block, for each mark, last one first. The
        numbers are lines after that of the mark."""
        self._encoding = "utf-8"
        self._in_head = True
        """Whether the start of the body has not been parsed."""
        self._carry = b""
        self._orders: dict[tuple[str, str], int] = {}
        """For the attributes of both segments of a unit, the index of the source, or NO_PAIR."""
        self.parser.XmlDeclHandler = self._set_encoding

    def _set_encoding(self, version: str, encoding: str | None, standalone: int) -> None:
        self._encoding = (encoding or "utf-8").lower()

    @abstractmethod
    def is_outside_units(self) -> bool:
        """Tell whether the parser is below the root element, and outside segments."""

    @abstractmethod
    def find_order(self, attributes: str, attributes_2: str) -> int:
        """Return the index of the segment that is the source, NO_PAIR or UNKNOWN."""

    def start_extraction(self) -> None:
        """Start to take units out of blocks."""
        self.extracts = True

    def stop_extraction(self) -> None:
        """Parse all blocks from now on."""
        self.extracts = False

    def feed(self, block: bytes) -> None:
        """Parse a block, after its units were taken out if that is safe."""
        block = self._carry + block
        self._carry = b""
        if self._in_head:
            head, body, block = block.partition(self.body)
            self.can_extract &= not UNUSUAL_MARKUP.search(head)
            if not body and b"<" in head[-len(self.body) :]:
                begin = head.rindex(b"<")
                head, self._carry = head[:begin], head[begin:]
            self.parse(head)
            if not body:
                return
            self._in_head = False
            if self._may_extract():
                self.start_extraction()
            block = body + block
        if not self.extracts:
            self.parse(block)
            return
        end = block.rfind(self.unit_end) + len(self.unit_end)
        if end < len(self.unit_end):
            end = len(block) - block.endswith(b"<")
        self._carry = block[end:]
        block = block[:end]
        self._extract_and_parse(block.replace(b"\r\n", b"\n") if b"\r" in block else block)

    def _may_extract(self) -> bool:
        """Tell at the start of the body whether units can be taken out of blocks."""
        return self.can_extract and self._encoding == "utf-8" and self.is_outside_units()

    def finish(self) -> None:
        """Parse the end of the file."""
        self.parse(self._carry)
        super().finish()

    def _extract_and_parse(self, block: bytes) -> None:
        """Take units out of a block, and parse the rest."""
        matched_codes = self.languages.matched_codes
        text = _decode(block)
        markup = block if text is None else self._extract(text).encode()
        has_unusual_bytes = b"!" in markup or b"?" in markup
        if has_unusual_bytes and UNUSUAL_MARKUP.search(markup):
            self.runs.clear()
            self.languages.forget_except(matched_codes)  # those in comments do not count
            self.stop_extraction()
            self.parse(block)
            return
        self.runs.reverse()
        self.parse_markup(markup)

    def parse_markup(self, markup: bytes) -> None:
        """Parse a block with marks in place of units."""
        self.parse(markup)

    def _extract(self, text: str) -> str:
        """Replace each run of units by a mark and line breaks; collect the pairs."""
        parts = self.unit.split(text)
        markup = parts[:1]
        unit_parts = (parts[i::8] for i in (1, 2, 3, 5, 6, 8))
        run, line = None, 0
        for unit, attributes, segment, attributes_2, segment_2, gap in zip(
            *unit_parts, strict=True
        ):
            try:
                source = self._orders[attributes, attributes_2]
            except KeyError:
                source = self._find_order(attributes, attributes_2)
            try:
                if "<" in segment or "&" in segment:
                    segment = _plain_text(segment)
                if "<" in segment_2 or "&" in segment_2:
                    segment_2 = _plain_text(segment_2)
            except KeyError:
                source = UNKNOWN
            if source == UNKNOWN:
                markup += unit, gap
                run = None
                continue
            if source != NO_PAIR:
                if run is None:
                    run, line = SegmentBatch([], [], []), 0
                    self.runs.append(run)
                    markup.append(f"<{MARK}/>")
                run.numbers.append(line)
                run.src.append(segment_2 if source else segment)
                run.tgt.append(segment if source else segment_2)
            breaks = unit.count("\n")
            markup += "\n" * breaks, gap
            if gap == "\n":
                line += breaks + 1
            elif gap.isspace() or not gap:
                line += breaks + gap.count("\n")
            else:
                run = None
        return "".join(markup)

    def _find_order(self, attributes: str, attributes_2: str) -> int:
        """Return the index of the segment that is the source, and remember it."""
        order = self.find_order(attributes, attributes_2)
        if order != UNKNOWN and len(self._orders) < MAX_CACHED:
            self._orders[attributes, attributes_2] = order
        return order


def _plain_text(segment: str) -> str:
    """Return the text of a segment; raise KeyError if the parser must judge an entity."""
    if "<" in segment:
        for entity in ENTITY.findall(segment):  # also in codes, which are removed
            ENTITIES[entity]
        segment = INLINE_TAG.sub("", segment)
    return ENTITY.sub(lambda match: ENTITIES[match[0]], segment)


def _decode(block: bytes) -> str | None:
    """Decode a block; return None if it may contain text that is invalid in XML."""
    codes = np.frombuffer(block, np.uint8)
    is_control = (codes < ord(" ")) & (codes != ord("\n")) & (codes != ord("\t"))
    if is_control.any():
        return None
    if b"]" in block and b"]]>" in block:  # the first test is the faster one
        return None
    if b"\xef" in block and any(character in block for character in NONCHARACTERS):
        return None
    try:
        return block.decode()
    except UnicodeDecodeError:
        return None
