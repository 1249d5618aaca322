"""SRT subtitles as segments of text. Everything else stays byte for byte."""

from __future__ import annotations

import re
from collections.abc import Iterator

from nmt.serving.documents.document_builder import DocumentBuilder
from nmt.serving.documents.segment import Document

LINE = re.compile(r"(?P<text>[^\r\n]*)(?P<end>\r\n|\r|\n|\Z)")
CUE_TIME = re.compile(r"(?:\d+:)?\d+:\d+[,.]\d+ *--> *(?:\d+:)?\d+:\d+[,.]\d+.*")
SUBTITLE_TAG = re.compile(
    r"<(?P<slash>/?)(?P<name>[A-Za-z][\w.]*)(?:\s[^<>]*)?>|\{\\[^{}]*\}|<[\d:.]+>"
)
"""Tags such as <i> and {\\an8}."""
SPEAKER = re.compile(r"(?:\{\\[^{}]*\})?[-–—] ?(?=\S)")
"""A dash at the begin of a line, which marks another speaker."""


def parse_srt(text: str) -> Document:
    """Return SRT subtitles as a document: each cue is a segment.

    Numbers and times of cues stay as they are. A line that begins with a dash starts a segment,
    because it belongs to another speaker. Inline tags follow the words.
    """
    builder = DocumentBuilder()
    is_in_cue = False
    for before, line, after in _split_lines(text):
        is_time = CUE_TIME.fullmatch(line) is not None
        is_in_cue = is_time or (is_in_cue and line != "")
        if is_time or not is_in_cue:
            builder.add_boundary(before + line + after)
        else:
            builder.add_space(before)
            _add_subtitle_line(builder, line)
            builder.add_space(after)
    return builder.build()


def _split_lines(text: str) -> Iterator[tuple[str, str, str]]:
    """Yield each line as white space, text without white space around it, and the rest."""
    for match in LINE.finditer(text):
        line = match["text"]
        body = line.strip()
        indent = len(line) - len(line.lstrip()) if body else 0
        yield line[:indent], body, line[indent + len(body) :] + match["end"]


def _add_subtitle_line(builder: DocumentBuilder, line: str) -> None:
    """Add a line of a cue."""
    copied = 0
    speaker = SPEAKER.match(line)
    if speaker is not None:
        builder.add_boundary(speaker.group())
        copied = speaker.end()
    for match in SUBTITLE_TAG.finditer(line, copied):
        builder.add_words(line[copied : match.start()])
        if match["name"] is None:
            builder.add_point(match.group())
        elif match["slash"]:
            builder.add_end(match.group(), match["name"].lower())
        else:
            builder.add_start(match.group(), match["name"].lower())
        copied = match.end()
    builder.add_words(line[copied:])
