"""Extract plain text, one sentence per line, from a downloaded file.

Only the texts that the catalogue names are written, and only after the complete download was read
and found safe (`nmt.data.datasets.archives`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO

from nmt.core import files
from nmt.data.datasets.archives import read_members, report_damaged_archive
from nmt.data.datasets.catalogue import Text, TextFormat
from nmt.errors import DataError, did_you_mean, show_value

TED_TAGS = re.compile(
    r"\s*</?(doc|url|keywords|speaker|talkid|title|description|reviewer|translator)\b"
)
"""Lines of a TED transcript that are not sentences."""
SEGMENT = re.compile(r"\s*<seg\b[^>]*>(.*)</seg>")
"""A sentence in an SGML file of WMT."""


@dataclass
class ExtractedText:
    """The number of lines of a written text, and its SHA-256 in hex."""

    lines: int
    sha256: str


class _TextWriter:
    """Writes lines, and counts and hashes them."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream, self.lines, self.hash = stream, 0, hashlib.sha256()

    def write(self, line: bytes) -> None:
        self.stream.write(line)
        self.hash.update(line)
        self.lines += 1

    @property
    def sha256(self) -> str:
        return self.hash.hexdigest()


def extract_texts(
    file: Path, name: str, source: str, texts: Mapping[str, Text], folder: Path
) -> dict[str, ExtractedText]:
    """Write the `texts` of a download into `folder`: either all or none.

    `file` is the download, `name` its name on the server, and `source` its name in error messages.
    Raises DataError if the download is damaged, unsafe or different from the catalogue.
    """
    with ExitStack() as stack, report_damaged_archive(source):
        writers = {
            text_name: _TextWriter(stack.enter_context(files.open_atomic(folder / text_name)))
            for text_name in texts
        }
        expected = {text.member for text in texts.values()}
        members: list[str] = []
        for member, stream in read_members(file, name, source):
            if member in expected and member in members:
                raise DataError(f"{source}: expected '{member}' once, got it twice")
            members.append(member)
            if member in expected:
                outputs = [
                    (text, writers[text_name])
                    for text_name, text in texts.items()
                    if text.member == member
                ]
                _convert_member(stream, f"{source}: {member}" if member else source, outputs)
        for member in sorted(expected - set(members)):
            suggestion = did_you_mean(member, members)
            raise DataError(
                f"{source}: expected '{member}', got {len(members)} other files{suggestion}"
            )
        _check_written_texts(source, texts, writers)
    return {
        text_name: ExtractedText(writer.lines, writer.sha256)
        for text_name, writer in writers.items()
    }


def _check_written_texts(
    source: str, texts: Mapping[str, Text], writers: Mapping[str, _TextWriter]
) -> None:
    """Raise DataError if the sides of a set have different numbers of lines, or a checksum differs.

    `texts` and `writers` are keyed by file name: the name of the set, a dot, and the language, as
    in `train.de`. `source` is the name of the download in messages.
    """
    first_file_of_set: dict[str, str] = {}
    for name, writer in writers.items():
        set_name = name.rpartition(".")[0]
        first_file = first_file_of_set.setdefault(set_name, name)
        if writer.lines != writers[first_file].lines:
            raise DataError(
                f"{source}: {name}: expected {writers[first_file].lines:,} lines as in "
                f"{first_file}, got {writer.lines:,}"
            )
        expected = texts[name].sha256
        if expected is not None and expected != writer.sha256:
            raise DataError(
                f"{source}: {name}: expected the SHA-256 {expected}, got {writer.sha256}"
            )


def _convert_member(
    stream: IO[bytes], location: str, outputs: list[tuple[Text, _TextWriter]]
) -> None:
    """Write the sentences of one member; skip lines without a sentence for one of the texts."""
    for number, line in enumerate(stream, start=1):
        try:
            decoded = line.decode("utf-8")
            sentences = [PARSERS[text.format](decoded, text.column or 1) for text, _ in outputs]
        except UnicodeDecodeError as error:
            raise DataError(
                f"{location}:{number}: expected UTF-8, got another byte at {error.start}"
            ) from None
        except ValueError as error:
            raise DataError(f"{location}:{number}: {error}") from None
        if None not in sentences:
            for (_, writer), sentence in zip(outputs, sentences, strict=True):
                writer.write((sentence or "").encode("utf-8"))


def _parse_plain(line: str, column: int) -> str:
    """Return the unchanged line: every line is a sentence."""
    return line


def _parse_tsv(line: str, column: int) -> str | None:
    """Return the cell at `column`, or None if it is empty, as between documents."""
    cells = line.split("\t")
    cell = cells[column - 1].strip() if column <= len(cells) else ""
    return f"{cell}\n" if cell else None


def _parse_sgm(line: str, column: int) -> str | None:
    """Return the content of a <seg> with single spaces, but with entities, as sacreBLEU does."""
    if not line.lstrip().startswith("<seg"):
        return None
    segment = SEGMENT.match(line)
    if segment is None:
        raise ValueError(f"expected a <seg> that ends on its line, got {show_value(line.strip())}")
    return f"{' '.join(segment[1].split())}\n"


def _parse_ted(line: str, column: int) -> str | None:
    """Return the line, or None for a tag about the talk."""
    return None if TED_TAGS.match(line) else f"{line.strip()}\n"


PARSERS: dict[TextFormat, Callable[[str, int], str | None]] = {
    "plain": _parse_plain,
    "tsv": _parse_tsv,
    "sgm": _parse_sgm,
    "tags": _parse_ted,
}
"""For each format, a function that returns the sentence of a line at a column, or None."""
