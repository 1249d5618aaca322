"""Markdown as segments of text. Everything else in the file stays byte for byte.

markdown-it-py finds blocks with their lines, and the inline tokens of each block, without their
places. Therefore `_InlineReader` finds each token again in the text of its block.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator
from functools import cache
from itertools import accumulate

from markdown_it import MarkdownIt
from markdown_it.token import Token

from nmt.serving.documents.document_builder import DocumentBuilder
from nmt.serving.documents.html_document import INLINE
from nmt.serving.documents.segment import Document, Syntax

FRONT_MATTER = re.compile(
    r"\ufeff?(?:---[ \t]*\r?\n(?:[^\n]*\n)*?(?:---|\.\.\.)[ \t]*(?:\r?\n|\Z))?"
)
LINE = re.compile(r"([^\r\n]*)(?:\r\n?|\n|\Z)")
CLOSING_SEQUENCE = re.compile(r"(?:^|[ \t]+)#+$")
"""Signs at the end of a heading."""
SPECIAL = re.compile(r"[\\`*_\[\]<>&~|]")
LINE_BREAK = re.compile(r"[ \t]*(?:\r\n?|\n)[ \t>]*")
BLOCK_START = re.compile(
    r"^([ \t>]*)(?:(\d{1,9})(?=[.)](?:\s|$))|(?=[-+*](?:\s|$)|#{1,6}(?:\s|$)|[-=]+\s*$))",
    re.MULTILINE,
)
"""The begin of a line that would be read as a list, a heading or a rule."""
TEXT_PIECES = re.compile(r"(?P<mark>\[\^[^\]\s]+\](?:: *)?|^\[[ xX]\] +)|\ufffd")
"""A footnote mark, the box of a task, and a null character."""
HTML_TAG = re.compile(r"<(?P<slash>/?)(?P<name>[A-Za-z][A-Za-z0-9-]*)")


@cache
def _parser() -> MarkdownIt:
    """Return a parser of CommonMark with tables and strikethrough."""
    return MarkdownIt("commonmark").enable(["table", "strikethrough"]).disable("text_join")


def _is_exact(raw: str, text: str) -> bool:
    """Return whether raw Markdown is read as a text, apart from line breaks."""
    if not SPECIAL.search(raw):
        return True
    [inline] = _parser().parseInline(LINE_BREAK.sub(" ", raw))
    tokens = inline.children or []
    if any(token.type not in ("text", "text_special") for token in tokens):
        return False
    return "".join(token.content for token in tokens).split() == text.split()


def _guard_line_begins(raw: str) -> str:
    """Escape signs at the begin of a line that would be read as the begin of a block."""
    return BLOCK_START.sub(lambda match: f"{match[1]}{match[2] or ''}\\", raw)


MARKDOWN = Syntax(
    escape=lambda text: SPECIAL.sub(r"\\\g<0>", text),
    is_exact=_is_exact,
    guard=_guard_line_begins,
)


def parse_markdown(text: str) -> Document:
    """Return Markdown as a document.

    Segments are paragraphs, headings, list items and table cells. Code, targets of links, images,
    raw HTML blocks and front matter stay as they are.
    """
    builder = DocumentBuilder(MARKDOWN)
    front_matter = FRONT_MATTER.match(text)
    copied = front_matter.end() if front_matter else 0
    builder.add_boundary(text[:copied])
    for token, line_begins in _locate_inline_tokens(text, copied):
        reader = _InlineReader(token, line_begins, text)
        if line_begins[0] < copied or not reader.read():
            continue  # the text is copied with the next markup
        builder.add_boundary(text[copied : line_begins[0]])
        for add, arguments in reader.calls:
            add(builder, *arguments)
        copied = reader.source_offset(len(token.content))
        builder.add_boundary("")
    builder.add_boundary(text[copied:])
    return builder.build()


def _locate_inline_tokens(text: str, begin: int) -> Iterator[tuple[Token, list[int]]]:
    """Yield the inline content of each block after `begin`, with the offset of each of its lines.

    A block is left out if its text is not found in its lines.
    """
    body = text[begin:].replace("\0", "\ufffd")  # as the parser does
    lines = [(match[1].rstrip(), match.start()) for match in LINE.finditer(body)]
    cell_cursor = (-1, 0)
    previous = ""
    for token in _parser().parse(body):
        if token.type == "inline" and token.content and token.map:
            first_line = token.map[0]
            offsets = []
            if previous in ("th_open", "td_open"):
                line, line_begin = lines[first_line]
                cursor = cell_cursor[1] if cell_cursor[0] == first_line else 0
                column = line.find(token.content, cursor)
                if column >= 0:
                    cell_cursor = first_line, column + len(token.content)
                    offsets = [begin + line_begin + column]
            else:
                contents = token.content.split("\n")
                for content, (line, line_begin) in zip(contents, lines[first_line:], strict=False):
                    body_line = line
                    if not line.endswith(content.rstrip()):
                        body_line = CLOSING_SEQUENCE.sub("", line)
                    column = len(body_line) - len(content.rstrip())
                    if not body_line.endswith(content.rstrip()):
                        break
                    offsets.append(begin + line_begin + column)
            if len(offsets) == token.content.count("\n") + 1:
                yield token, offsets
        previous = token.type


Add = Callable[..., None]


class _InlineReader:
    """Finds the inline tokens of a block in its text, and the calls of a builder for them."""

    def __init__(self, token: Token, line_begins: list[int], text: str) -> None:
        self.content, self.children = token.content, token.children or []
        self.text = text
        self.calls: list[tuple[Add, tuple[str, ...]]] = []
        self._line_begins = line_begins
        lengths = (len(line) + 1 for line in self.content.split("\n"))
        self._content_begins = list(accumulate(lengths, initial=0))[:-1]
        self._cursor = 0

    def source_offset(self, offset: int) -> int:
        """Return the offset in the document of an offset in the content of the block."""
        line = bisect_right(self._content_begins, offset) - 1
        return self._line_begins[line] + offset - self._content_begins[line]

    def read(self) -> bool:
        """Collect the calls for all tokens. Return whether all were found."""
        index = 0
        while index < len(self.children):
            token = self.children[index]
            if token.type == "link_open" and token.markup == "autolink":
                end = self.content.find(">", self._cursor) + 1
                self._add(DocumentBuilder.add_verbatim, end, self.children[index + 1].content)
                index += 2
            elif not self._read_token(token):
                return False
            index += 1
        return self._cursor == len(self.content)

    def _read_token(self, token: Token) -> bool:
        """Collect the call for a token at the cursor; return False if another text is there."""
        begin = self._cursor
        if token.type == "text":
            return self._read_text(token.content)
        if token.type == "code_inline":
            fence = re.compile(rf"(?<!`){token.markup}(?!`)")
            opening = fence.match(self.content, begin)
            closing = fence.search(self.content, begin + len(token.markup)) if opening else None
            end = closing.end() if closing else -1
            return self._add(DocumentBuilder.add_verbatim, end, token.content)
        if token.type in ("softbreak", "hardbreak"):
            match = re.compile(r"[ \t]*\\?\n[ \t]*").match(self.content, begin)
            is_soft = token.type == "softbreak"
            add_break: Add = DocumentBuilder.add_space if is_soft else DocumentBuilder.add_boundary
            return self._add(add_break, match.end() if match else -1)
        if token.type == "image":
            label_end = begin + len(f"![{token.content}")
            return self._add(DocumentBuilder.add_point, self._link_end(label_end))
        if token.type == "link_open":
            return self._expect("[", DocumentBuilder.add_start, "link")
        if token.type == "link_close":
            return self._add(DocumentBuilder.add_end, self._link_end(begin), "link")
        if token.type == "html_inline":
            return self._read_html(token.content)
        if token.type == "text_special":
            if token.content.isspace() and token.content != "\u00a0":
                return self._expect(token.markup, DocumentBuilder.add_space)
            end = begin + len(token.markup)
            raw = self.text[self.source_offset(begin) : self.source_offset(end)]
            self.calls.append((DocumentBuilder.add_text, (token.content, raw)))
            self._cursor = end
            return self.content.startswith(token.markup, begin)
        name, _, side = token.type.rpartition("_")
        add = DocumentBuilder.add_start if side == "open" else DocumentBuilder.add_end
        return self._expect(token.markup, add, name)

    def _read_text(self, text: str) -> bool:
        if not self.content.startswith(text, self._cursor):
            return False
        copied = 0
        for match in TEXT_PIECES.finditer(text):
            self.calls.append((DocumentBuilder.add_words, (text[copied : match.start()],)))
            if match["mark"]:
                self.calls.append((DocumentBuilder.add_point, (match.group(),)))
            else:
                raw = self.text[self.source_offset(self._cursor + match.start())]
                self.calls.append((DocumentBuilder.add_text, (match.group(), raw)))
            copied = match.end()
        self.calls.append((DocumentBuilder.add_words, (text[copied:],)))
        self._cursor += len(text)
        return True

    def _read_html(self, raw: str) -> bool:
        tag = HTML_TAG.match(raw)
        if tag is None or (tag["name"].lower() in INLINE and raw.endswith("/>")):
            return self._expect(raw, DocumentBuilder.add_point)
        name = tag["name"].lower()
        if name not in INLINE:
            add_other: Add = (
                DocumentBuilder.add_point if name == "img" else DocumentBuilder.add_boundary
            )
            return self._expect(raw, add_other)
        add = DocumentBuilder.add_end if tag["slash"] else DocumentBuilder.add_start
        return self._expect(raw, add, f"<{name}>")

    def _link_end(self, label_end: int) -> int:
        """Return the end of a link or an image with the bracket of its label at `label_end`."""
        content, helpers = self.content, _parser().helpers
        if not content.startswith("]", label_end):
            return -1
        end = label_end + 1
        if content.startswith("(", end):
            position = _skip_space(content, end + 1)
            target = helpers.parseLinkDestination(content, position, len(content))
            if target.ok:
                position = _skip_space(content, target.pos)
                title = helpers.parseLinkTitle(content, position, len(content))
                if title.ok:
                    position = _skip_space(content, title.pos)
            if content.startswith(")", position):
                return position + 1
        reference = re.compile(r"\[(?:[^\[\]\\]|\\.)*\]", re.DOTALL).match(content, end)
        return reference.end() if reference else end

    def _expect(self, raw: str, add: Add, *arguments: str) -> bool:
        """Collect a call for the markup `raw`, which must be at the cursor."""
        is_here = self.content.startswith(raw, self._cursor)
        return self._add(add, self._cursor + len(raw) if is_here else -1, *arguments)

    def _add(self, add: Add, end: int, *arguments: str) -> bool:
        """Collect a call for the markup from the cursor to `end`; -1 if it was not found."""
        if end < self._cursor:
            return False
        raw = self.text[self.source_offset(self._cursor) : self.source_offset(end)]
        self.calls.append((add, (raw, *arguments)))
        self._cursor = end
        return True


def _skip_space(text: str, begin: int) -> int:
    """Return the offset of the first character from `begin` on that is not white space."""
    while text[begin : begin + 1].isspace():
        begin += 1
    return begin
