"""HTML as segments of text. Everything else in the file stays byte for byte.

`html.parser` divides the file into text, tags and other markup. This module takes their raw text
from the positions that the parser reports, because a tree would lose how the source is written.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from html import unescape
from html.entities import html5
from html.parser import HTMLParser
from itertools import pairwise
from typing import Literal

from nmt.decoding.constraints.placeholders import VOID_ELEMENTS
from nmt.serving.documents.document_builder import DocumentBuilder
from nmt.serving.documents.segment import Document, Syntax


def _names(names: str) -> frozenset[str]:
    return frozenset(names.split())


INLINE = _names(
    "a abbr acronym b bdi bdo big cite data del dfn em font i ins mark nobr q rb rp rt rtc ruby s "
    "small span strike strong sub sup time tt u"
)
"""Elements that are part of a sentence. All others, except those below, end a segment."""
VERBATIM_TEXT = _names("code kbd samp var")
"""Inline elements with text that is not translated, but that the translator sees."""
HIDDEN = _names("script style svg math")
"""Inline elements with content that is not translated, and that is no part of the sentence."""
EMPTY_INLINE = INLINE | VERBATIM_TEXT | HIDDEN | _names("img input wbr")
"""Elements that are part of a sentence if they have no content."""
UNTRANSLATED_BLOCKS = _names("iframe noembed noframes plaintext pre textarea xmp")
"""Other elements with content that is not translated."""

SPACE = "[ \t\n\f\r]"
TEXT_PIECES = re.compile(
    rf"(?P<space>^{SPACE}+|{SPACE}+(?=[&<]|$)|(?<=;){SPACE}+|{SPACE}{{2,}}|[\t\n\f\r])|(?P<reference>&(?:#[0-9]+;?|#[xX][0-9a-fA-F]+;?|[A-Za-z][A-Za-z0-9]*;?))"
    "|(?P<markup><[a-zA-Z/!?][^>]*>?)"
)
"""White space, character references, and tags that the parser does not accept as such."""
OPENS_MARKUP = re.compile("<[a-zA-Z/!?]")
LONGEST_REFERENCE = max(map(len, html5))


def escape_html(text: str) -> str:
    """Write text with entities for &, <, > and no-break spaces."""
    if "&" in text:
        text = text.replace("&", "&amp;")
    return text.replace("<", "&lt;").replace(">", "&gt;").replace("\u00a0", "&nbsp;")


def _is_exact(raw: str, text: str) -> bool:
    """Return whether raw HTML is read as a text, apart from the kind of white space."""
    if "&" not in raw and "<" not in raw:
        return True
    return not OPENS_MARKUP.search(raw) and _fold_spaces(unescape(raw)) == _fold_spaces(text)


def _fold_spaces(text: str) -> str:
    return re.sub(f"{SPACE}+", " ", text)


HTML = Syntax(escape_html, _is_exact)


Attributes = list[tuple[str, str | None]]
Kind = Literal["text", "start", "empty", "end", "other", "unfinished"]


@dataclass(frozen=True)
class _Token:
    """A tag, text or other markup of the file."""

    kind: Kind
    raw: str
    name: str = ""
    forbids_translation: bool = False
    """Whether an attribute of the start tag says that the content is not to be translated."""


def parse_html(text: str) -> Document:
    """Return an HTML page or fragment as a document. Malformed markup stays as it is."""
    builder = DocumentBuilder(HTML)
    tokens = _tokenize(text)
    index = 0
    while index < len(tokens):
        token = tokens[index]
        index += 1
        is_empty = token.kind == "empty" or (token.kind == "start" and token.name in VOID_ELEMENTS)
        if token.kind == "text":
            _add_text(builder, token.raw)
        elif token.kind == "other" or (is_empty and token.name in EMPTY_INLINE):
            builder.add_point(token.raw)
        elif token.kind == "end" and token.name in INLINE:
            builder.add_end(token.raw, token.name)
        elif token.kind != "start" or is_empty:
            builder.add_boundary(token.raw)
        elif (
            token.forbids_translation or token.name in VERBATIM_TEXT | HIDDEN | UNTRANSLATED_BLOCKS
        ):
            end, is_closed = _end_of_element(tokens, index)
            _add_untranslated(builder, tokens[index - 1 : end], is_closed)
            index = end
        elif token.name in INLINE:
            builder.add_start(token.raw, token.name)
        else:
            builder.add_boundary(token.raw)
    return builder.build()


def _end_of_element(tokens: list[_Token], begin: int) -> tuple[int, bool]:
    """Return the index after the element that starts before `begin`, and whether it has an end tag.

    An element without an end tag ends before the end tag of an element around it.
    """
    open_names = Counter([tokens[begin - 1].name])
    for index in range(begin, len(tokens)):
        token = tokens[index]
        if token.kind == "start" and token.name not in VOID_ELEMENTS:
            open_names[token.name] += 1
        elif token.kind == "end":
            if not open_names[token.name]:
                return index, False
            open_names[token.name] -= 1
            if token.name == tokens[begin - 1].name and not open_names[token.name]:
                return index + 1, True
    return len(tokens), False


def _add_untranslated(builder: DocumentBuilder, tokens: list[_Token], is_closed: bool) -> None:
    """Add an element with content that is not translated."""
    raw, name = "".join(token.raw for token in tokens), tokens[0].name
    if is_closed and name in HIDDEN:
        builder.add_point(raw)
    elif is_closed and name in INLINE | VERBATIM_TEXT:
        content = "".join(token.raw for token in tokens if token.kind == "text")
        builder.add_verbatim(raw, unescape(content))
    else:
        builder.add_boundary(raw)


def _add_text(builder: DocumentBuilder, raw: str) -> None:
    """Add raw text; character references are decoded."""
    copied = 0
    for match in TEXT_PIECES.finditer(raw):
        begin, end = match.span()
        if match["reference"]:
            end = begin + _reference_length(match.group())
            if begin == end:
                continue
        if copied < begin:
            builder.add_text(raw[copied:begin])
        piece = raw[begin:end]
        decoded = unescape(piece) if match["reference"] else piece
        if match["markup"] or not decoded:
            builder.add_point(piece)
        elif not decoded.strip(" \t\n\f\r"):
            builder.add_space(piece)
        else:
            builder.add_text(decoded, piece)
        copied = end
    if copied < len(raw):
        builder.add_text(raw[copied:])


def _reference_length(text: str) -> int:
    """Return the length of the character reference that a text begins with, or 0.

    Some names may lack the semicolon: `&copy2` is a copyright sign and a digit.
    """
    if text[1] == "#":
        return len(text)
    for end in range(min(len(text), LONGEST_REFERENCE + 1), 1, -1):
        if text[1:end] in html5:
            return end
    return 0


def _tokenize(text: str) -> list[_Token]:
    """Divide HTML into tokens; joined, their raw texts are the input."""
    line_begins = [0, *(match.end() for match in re.finditer("\n", text))]
    parser = _Parser()
    parser.record("other")  # the parser skips "</>" without a call, also at the begin
    parser.feed(text)
    parser.record("unfinished")
    begins = [line_begins[line - 1] + column for line, column in parser.positions]
    tokens = []
    for (begin, end), (kind, name, flag) in zip(
        pairwise([*begins, len(text)]), parser.tokens, strict=True
    ):
        if kind == "unfinished" and text[begin : begin + 1] != "<":
            kind = "text"
        if begin < end:
            tokens.append(_Token(kind, text[begin:end], name, flag))
    return tokens


class _Parser(HTMLParser):
    """Records the tokens of HTML with the positions at which they begin.

    An unfinished tag or comment at the end is not parsed: use `feed` without `close`, which would
    read the end of the text again for each of its characters "<".
    """

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.positions: list[tuple[int, int]] = []
        """Line, from 1, and column of each token."""
        self.tokens: list[tuple[Kind, str, bool]] = []
        """Kind, name, and whether an attribute forbids translation."""

    def record(self, kind: Kind, name: str = "", forbids_translation: bool = False) -> None:
        """Record a token that begins at the current position."""
        self.positions.append(self.getpos())
        self.tokens.append((kind, name, forbids_translation))

    def handle_starttag(self, tag: str, attrs: Attributes) -> None:
        self.record("start", tag, _forbids_translation(attrs))

    def handle_startendtag(self, tag: str, attrs: Attributes) -> None:
        self.record("empty", tag)

    def handle_endtag(self, tag: str) -> None:
        self.record("end", tag)

    def handle_data(self, data: str) -> None:
        self.record("text")

    def handle_comment(self, data: str) -> None:
        self.record("other")

    def handle_decl(self, decl: str) -> None:
        self.record("other")

    def handle_pi(self, data: str) -> None:
        self.record("other")

    def unknown_decl(self, data: str) -> None:
        self.record("other")

    def parse_marked_section(self, i: int, report: bool = True) -> int:
        """Read `<![...>` as a comment. Early releases of Python 3.11 refuse some of its forms."""
        return self.parse_bogus_comment(i)


def _forbids_translation(attributes: Attributes) -> bool:
    """Return whether attributes contain translate="no" or the class notranslate."""
    return any(
        (name == "translate" and (value or "").strip().lower() == "no")
        or (name == "class" and "notranslate" in (value or "").split())
        for name, value in attributes
    )
