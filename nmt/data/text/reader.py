"""Read text files as lines that end in LF only.

This module reads all text. `str.splitlines` would also split at U+0085, U+2028, form feeds
and others, and would thereby shift all following lines of one side against the other side.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count, islice
from pathlib import Path
from typing import BinaryIO, Literal, TypeVar, cast

from nmt.core.text_encoding import reject_utf16_line
from nmt.data.text.compression import OPENERS, decompression_errors
from nmt.errors import DataError

BOM = b"\xef\xbb\xbf"
"""Byte order mark in UTF-8."""
MAX_LINE_BYTES = 2**26
"""Maximum length of a line. A longer one means that the file is not text in lines."""
RANGES_PER_FILE = 64
"""Number of byte ranges that a file is split into if their sizes are within the limits below."""
MIN_RANGE_BYTES, MAX_RANGE_BYTES = 2**12, 2**26
"""Bounds of the size of a byte range."""

Pair = tuple[str, str]
"""A source line and a target line."""
Links = set[tuple[int, int]]
"""A word alignment: links (source word, target word), counted from 0."""
T = TypeVar("T")


def open_text(file: Path) -> BinaryIO:
    """Open a text file for reading bytes; decompress it if its name ends in .gz or similar.

    Raises DataError if it does not exist or is a folder.
    """
    if not file.exists():
        raise DataError(f"{file}: no such file")
    if file.is_dir():
        raise DataError(f"{file}: expected a file, got a folder")
    opener = OPENERS.get(file.suffix)
    return cast(BinaryIO, opener(file, "rb")) if opener else open(file, "rb")


def decode_lines(
    stream: Iterable[bytes],
    name: str,
    numbers: Iterable[int] | None = None,
    errors: Literal["strict", "replace"] = "strict",
) -> Iterator[str]:
    """Yield the lines of a byte stream without their line ends.

    Removes one trailing CR per line, and a byte order mark in line 1. Invalid UTF-8 raises
    DataError with `name` and the line number; with errors="replace" it becomes U+FFFD. `numbers`
    are the line numbers, by default 1, 2, 3, ...
    """
    for number, raw in zip(numbers or count(1), stream):  # noqa: B905, count() is infinite
        if number == 1:
            raw = raw.removeprefix(BOM)
        raw = raw.removesuffix(b"\n").removesuffix(b"\r")
        try:
            yield raw.decode("utf-8", errors)
        except UnicodeDecodeError as error:
            raise DataError(
                f"{name}:{number}: expected UTF-8, got 0x{raw[error.start]:02x} as byte "
                f"{error.start + 1} of the line"
            ) from None


def split_lines(text: str) -> list[str]:
    """Return the lines of a text without their line ends, as `read_lines` does for a file."""
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


def read_lines(file: Path | None) -> Iterator[str]:
    """Yield the decoded lines of a text file, or of stdin for None; see `decode_lines`."""
    if file is None:
        yield from decode_lines(read_raw_lines(sys.stdin.buffer, Path("stdin")), "stdin")
        return
    with open_text(file) as stream:
        yield from decode_lines(read_raw_lines(stream, file), str(file))


def read_raw_lines(stream: BinaryIO, file: Path) -> Iterator[bytes]:
    """Yield the undecoded lines of an open file, with their line ends.

    Error messages name `file`. Raises DataError if a compressed file is damaged, if the text is
    UTF-16 or UTF-32, or if a line is longer than MAX_LINE_BYTES. `decode_lines` checks UTF-8.
    """
    read_line = partial(stream.readline, MAX_LINE_BYTES + 1)  # never more than this into memory
    with report_damage(file):
        for number, line in enumerate(iter(read_line, b""), 1):
            if len(line) > MAX_LINE_BYTES:
                raise DataError(
                    f"{file}:{number}: expected lines of at most {MAX_LINE_BYTES:,} bytes, "
                    "got a longer one"
                )
            reject_utf16_line(line, str(file), number)
            yield line


def read_blocks(stream: BinaryIO, file: Path, size: int) -> Iterator[bytes]:
    """Yield the content of an open file in blocks of at most `size` bytes.

    Raises DataError if the file is damaged.
    """
    with report_damage(file):
        while block := stream.read(size):
            yield block


@contextmanager
def report_damage(file: Path) -> Iterator[None]:
    """Raise DataError if a compressed file is damaged."""
    try:
        yield
    except decompression_errors() as error:
        raise DataError(
            f"{file}: expected a complete {file.suffix} file, got a damaged one: {error}"
        ) from None


def split_into_byte_ranges(file: Path) -> list[tuple[int, int]]:
    """Return consecutive (begin, end) byte offsets that split an uncompressed file at line ends.

    The ranges have about equal sizes. They depend only on the content of the file, so that all
    processes of a job compute the same ranges.
    """
    with open_text(file) as stream:
        file_size = stream.seek(0, os.SEEK_END)
        range_size = min(max(file_size // RANGES_PER_FILE, MIN_RANGE_BYTES), MAX_RANGE_BYTES)
        begins = [0]
        for offset in range(range_size, file_size, range_size):
            stream.seek(offset)
            stream.readline()
            line_begin = stream.tell()
            if begins[-1] < line_begin < file_size:  # a long line can contain several offsets
                begins.append(line_begin)
    return list(zip(begins, [*begins[1:], file_size], strict=True))


def read_byte_range(file: Path, begin: int, end: int) -> Iterator[bytes]:
    """Yield the undecoded lines of a range from `split_into_byte_ranges`."""
    with open_text(file) as stream:
        stream.seek(begin)
        number = None if begin else 1  # only the first line can start with a byte order mark
        while stream.tell() < end:
            line = stream.readline()
            reject_utf16_line(line, str(file), number)
            yield line
            number = None


def count_lines(file: Path | None) -> int | None:
    """Return the number of lines of a plain text file; None for stdin, a pipe or a compressed file.

    Reads the file once without decoding it.
    """
    if file is None or file.suffix in OPENERS or not file.is_file():
        return None
    with open(file, "rb") as stream:
        last_byte, lines = b"\n", 0
        while block := stream.read(2**20):
            lines, last_byte = lines + block.count(b"\n"), block[-1:]
    return lines + (last_byte != b"\n")


def read_pairs(src: Path | None, tgt: Path) -> Iterator[Pair]:
    """Yield the sentence pairs of two parallel files; `src` None is stdin.

    Raises DataError at the end if the files have different numbers of lines.
    """
    src_lines, tgt_lines = read_lines(src), read_lines(tgt)
    number = 0
    for src_line in src_lines:
        tgt_line = next(tgt_lines, None)
        if tgt_line is None:
            raise make_line_count_error(src, number + 1 + sum(1 for _ in src_lines), tgt, number)
        yield src_line, tgt_line
        number += 1
    surplus = sum(1 for _ in tgt_lines)
    if surplus:
        raise make_line_count_error(src, number, tgt, number + surplus)


def make_line_count_error(src: Path | None, src_count: int, tgt: Path, tgt_count: int) -> DataError:
    """Return the error for parallel files with different numbers of lines."""
    return DataError(
        f"expected the same number of lines on both sides, got {src_count} in {src or 'stdin'} "
        f"and {tgt_count} in {tgt}"
    )


def to_single_line(text: str) -> str:
    """Replace line ends by spaces. Byte pieces and entities can spell a line end."""
    return text.replace("\n", " ").replace("\r", " ")


def split_into_chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield consecutive lists of `size` items; the last one may be shorter."""
    stream = iter(items)
    while chunk := list(islice(stream, size)):
        yield chunk
