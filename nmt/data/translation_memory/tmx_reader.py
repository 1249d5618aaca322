"""Read TMX 1.4, the exchange format of translation memories.

The handlers of an XML parser are Python functions, and their calls take most of the time. Most
translation units are two segments with few inline tags, so the reader takes these out of a block
with a regular expression before the parser sees it, and puts an empty element in their place.
"""

from __future__ import annotations

import re
import secrets
from pathlib import Path

import numpy as np

from nmt.data.translation_memory.languages import SRC, TGT, LanguageMatcher
from nmt.data.translation_memory.xml_segments import CODES, SegmentBatch, XmlSegmentReader
from nmt.errors import show_value

DATE = re.compile(r"\d{8}T\d{6}Z")
"""A date of TMX: YYYYMMDDThhmmssZ."""
MAX_UNCLOSED = 100_000
"""Maximum estimate of the nesting depth for which units are taken out of blocks."""
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
NAME = "(?!(?:seg|tuv?)[ \\t\\n/>])[A-Za-z][A-Za-z:-]*+"
"""Name of an inline element."""
EMPTY_ELEMENT = rf"<{NAME}{ATTRIBUTES}{SPACE}*+/>"
CONTENT = rf"{TEXT}(?:{EMPTY_ELEMENT}{TEXT})*+"
ELEMENT = rf"<(?P<name_%d>{NAME}){ATTRIBUTES}{SPACE}*+>{CONTENT}</(?P=name_%d){SPACE}*+>"
SEGMENT = rf"{TEXT}(?:(?:{EMPTY_ELEMENT}|{ELEMENT}){TEXT})*+"
VARIANT = rf"<tuv({ATTRIBUTES})>{SPACE}*+<seg>({SEGMENT})</seg>{SPACE}*+</tuv>{SPACE}*+"
PLAIN_UNIT = re.compile(rf"(<tu{ATTRIBUTES}>{SPACE}*+{VARIANT % (1, 1)}{VARIANT % (2, 2)}</tu>)")
"""A well-formed unit of two segments, whose inline elements contain text and empty elements only.

Attributes may be repeated in it, except those of <tuv>. No part of it can be in an attribute or a
text. Groups: the unit, and twice the attributes, the segment and an inline element of a variant."""
CODE = rf"<(?:{'|'.join(sorted(CODES))}){ATTRIBUTES}{SPACE}*+>{CONTENT}</[a-z]++{SPACE}*+>"
INLINE_TAG = re.compile(rf"{CODE}|</?{NAME}{ATTRIBUTES}{SPACE}*+/?>")
"""A code with its content, or another tag, in a segment of a plain unit."""


class TmxReader(XmlSegmentReader):
    """Reads pairs of segments from a TMX file.

    A translation unit gives one pair: the first segment of each language, or the first one whose
    language code is exactly the code of the side. Units without one of the languages are skipped.
    """

    root = "tmx"

    def __init__(self, file: Path, languages: LanguageMatcher, since: str | None = None) -> None:
        """With `since`, skip units that were last changed before this day (YYYY-MM-DD).

        Units without a date are skipped too.
        """
        super().__init__(file, languages)
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
        self._encoding = "utf-8"
        self._depth = 0
        self._counts_depth = True
        """Whether the handlers count the depth. Otherwise units are taken out of blocks."""
        self._in_head = True
        """Whether the start of the body has not been parsed."""
        self._can_extract = since is None
        """Whether units may be taken out: the head of the file has no unusual markup."""
        self._unclosed = 0
        """Estimate of the nesting depth, too high by the number of empty elements."""
        self._carry = b""
        self._runs: list[SegmentBatch] = []
        """Pairs that were taken out of the current block, for each mark, last one first. The
        numbers are lines after that of the mark."""
        self._orders: dict[tuple[str, str], int] = {}
        """For attributes of the variants of a unit, the index of the source, -1 for other
        languages."""
        self.parser.XmlDeclHandler = self._set_encoding

    def _set_encoding(self, version: str, encoding: str | None, standalone: int) -> None:
        self._encoding = (encoding or "utf-8").lower()

    def begin(self, attributes: dict[str, str]) -> None:
        """Set the handlers of all elements."""
        self._depth = 1
        self._count_depth()

    def _count_depth(self) -> None:
        """Parse all markup with handlers that count the depth."""
        self._counts_depth = True
        self.parser.StartElementHandler = self._start_counted
        self.parser.EndElementHandler = self._end_counted

    def feed(self, block: bytes) -> None:
        """Parse a block, after its plain units were taken out if that is safe."""
        block = self._carry + block
        self._carry = b""
        if self._in_head:
            head, body, block = block.partition(b"<body")
            self._can_extract &= not UNUSUAL_MARKUP.search(head)
            if not body and head.endswith(b"<"):
                head, self._carry = head[:-1], b"<"
            self.parse(head)
            if not body:
                return
            self._in_head = False
            if self._may_extract():
                self._counts_depth = False
                self.parser.StartElementHandler = self._start
                self.parser.EndElementHandler = None
            block = body + block
        if self._counts_depth:
            self.parse(block)
            return
        end = block.rfind(b"</tu>") + len(b"</tu>")
        if end < len(b"</tu>"):
            end = len(block) - block.endswith(b"<")
        self._carry = block[end:]
        block = block[:end]
        self._extract_and_parse(block.replace(b"\r\n", b"\n") if b"\r" in block else block)

    def _may_extract(self) -> bool:
        """Tell at the start of the body whether units can be taken out of blocks."""
        is_outside = self._depth > 0 and not self.in_segment
        return self._can_extract and is_outside and self._encoding == "utf-8"

    def finish(self) -> None:
        """Parse the end of the file, and add the last unit."""
        self.parse(self._carry)
        super().finish()
        self._end_unit()

    def _extract_and_parse(self, block: bytes) -> None:
        """Take the plain units out of a block, and parse the rest."""
        text = _decode(block)
        markup = block if text is None else self._extract(text).encode()
        has_unusual_bytes = b"!" in markup or b"?" in markup
        if has_unusual_bytes and UNUSUAL_MARKUP.search(markup):
            self._runs.clear()
            self._count_depth()
            self.parse(block)
            return
        self._unclosed += _count_unclosed_tags(markup) - len(self._runs)
        self._runs.reverse()
        self.parse(markup)
        if self._unclosed > MAX_UNCLOSED:
            self._count_depth()

    def _extract(self, text: str) -> str:
        """Replace each run of plain units by a mark and line breaks; collect the pairs."""
        parts = PLAIN_UNIT.split(text)
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
            if "<" in segment:
                segment = INLINE_TAG.sub("", segment)
            if "<" in segment_2:
                segment_2 = INLINE_TAG.sub("", segment_2)
            try:
                if "&" in segment:
                    segment = ENTITY.sub(_entity_character, segment)
                if "&" in segment_2:
                    segment_2 = ENTITY.sub(_entity_character, segment_2)
            except KeyError:
                source = UNKNOWN
            if source == UNKNOWN:
                markup += unit, gap
                run = None
                continue
            if source != NO_PAIR:
                if run is None:
                    run, line = SegmentBatch([], [], []), 0
                    self._runs.append(run)
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

    def _find_order(self, *variants: str) -> int:
        """Return the index of the variant that is the source, given the attributes of both."""
        sides = []
        for variant in variants:
            attributes = re.findall(ATTRIBUTE, variant)
            values = dict(attributes)
            code = values.get("xml:lang") or values.get("lang")
            if not code or len(values) < len(attributes):
                return UNKNOWN  # the parser raises the error
            match = self.languages.match(code)
            sides.append(None if match is None else match.side)
        order = sides.index(SRC) if set(sides) == {SRC, TGT} else NO_PAIR
        if len(self._orders) < MAX_CACHED:
            self._orders[variants[0], variants[1]] = order
        return order

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
            self.add_run(self.parser.CurrentLineNumber, self._runs.pop())
        elif name == "tuv":
            self._start_variant(attributes)
        elif name == "tu":
            self._end_unit()
            self._number = self.parser.CurrentLineNumber
            if self._since:
                self._note_date(attributes)
        elif name == "seg" and self._side is not None:
            self.begin_segment()
            if not self._counts_depth:
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
        if not self._counts_depth:
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


def _entity_character(match: re.Match[str]) -> str:
    """Return the character of an entity; raise KeyError if the parser must judge it."""
    return ENTITIES[match[0]]


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
