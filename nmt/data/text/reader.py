"""The one reader of text files: lines end in LF and nothing else.

`str.splitlines` would also split on U+0085, U+2028, form feeds and more, and so move every later
line of one side against the other.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import count, islice
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeVar, cast

from nmt.core.text_encoding import require_utf8
from nmt.errors import DataError

BOM = b"\xef\xbb\xbf"


class _Zstd(io.RawIOBase):
    """What a file of zstd frames holds; EOFError where it is cut short.

    zstandard's own reader takes the cut for the end.
    """

    BLOCK = 2**13
    """Compressed bytes read at a time: few, as a hostile file makes very much of them."""

    def __init__(self, stream: BinaryIO, frame: Callable[[], Any]) -> None:
        self.stream, self.new_frame = stream, frame
        self.frame: Any = None
        """The frame under way, if one is."""
        self.left = b""
        """Read, and behind the end of a frame."""
        self.ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self.ready:
            block = self.left or self.stream.read(self.BLOCK)
            if not block and self.frame is not None:
                raise EOFError("it ends in the middle of a frame")
            if not block:
                return 0
            self.frame = self.frame or self.new_frame()
            self.ready = memoryview(self.frame.decompress(block))
            self.left = self.frame.unused_data
            self.frame = None if self.frame.eof else self.frame
        size = min(len(buffer), len(self.ready))
        buffer[:size] = self.ready[:size]
        self.ready = self.ready[size:]
        return size

    def close(self) -> None:
        self.stream.close()
        super().close()


def _open_zstd(file: Path, mode: str) -> Any:
    try:
        import zstandard
    except ModuleNotFoundError:
        raise DataError(f"{file}: needs the package zstandard: pip install 'nmt[zstd]'") from None
    stream = cast(BinaryIO, open(file, mode))  # noqa: SIM115, closed with the reader
    return io.BufferedReader(_Zstd(stream, zstandard.ZstdDecompressor().decompressobj))


OPENERS: dict[str, Callable[[Path, str], Any]] = {
    ".gz": gzip.open,
    ".xz": lzma.open,
    ".bz2": bz2.open,
    ".zst": _open_zstd,
}
LONGEST_LINE = 2**26
"""Bytes of a line, at most: what is longer is no text, or text in another layout."""
PARTS = 64
SHORTEST_PART, LONGEST_PART = 2**12, 2**26
"""Bytes."""

Pair = tuple[str, str]
Links = set[tuple[int, int]]
"""A word alignment: links (source word, target word), counted from 0."""
T = TypeVar("T")


def open_text(file: Path) -> BinaryIO:
    """Open a text file for reading bytes, decompressed by its ending."""
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
    """Yield the lines of a byte stream without their ends.

    One trailing CR is dropped, and a byte order mark before line 1. Invalid UTF-8 is a DataError
    with file and line, or with errors="replace" becomes U+FFFD. `numbers` are those of the lines,
    where they are not 1, 2, 3.
    """
    for number, raw in zip(numbers or count(1), stream):  # noqa: B905, which has no end to compare
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


def read_lines(file: Path | None) -> Iterator[str]:
    """Yield the lines of a text file, None for stdin; see `decode_lines`."""
    if file is None:
        yield from decode_lines(raw_lines(sys.stdin.buffer, Path("stdin")), "stdin")
        return
    with open_text(file) as stream:
        yield from decode_lines(raw_lines(stream, file), str(file))


def raw_lines(stream: BinaryIO, file: Path) -> Iterator[bytes]:
    """Yield the raw lines of an opened file, one read at a time.

    Raises DataError if the file is damaged or in UTF-16 or UTF-32, or if a line is longer than
    LONGEST_LINE.
    """
    try:
        for number, line in enumerate(iter(partial(stream.readline, LONGEST_LINE + 1), b""), 1):
            if len(line) > LONGEST_LINE:
                raise DataError(
                    f"{file}:{number}: expected lines of at most {LONGEST_LINE:,} bytes, "
                    "got a longer one"
                )
            require_utf8(line, str(file), number)
            yield line
    except _damage() as error:
        raise DataError(
            f"{file}: expected a complete {file.suffix} file, got a damaged one: {error}"
        ) from None


def _damage() -> tuple[type[Exception], ...]:
    """Return what the decompressors that are in use raise over a damaged file."""
    zstandard = sys.modules.get("zstandard")
    more = [zstandard.ZstdError] if zstandard else []
    return (OSError, lzma.LZMAError, zlib.error, EOFError, *more)


def split_into_byte_ranges(file: Path) -> list[tuple[int, int]]:
    """Cut a plain text file into ranges of whole lines: a pure function of its content.

    About PARTS of equal size, unless they would be shorter or longer than is sensible.
    """
    with open_text(file) as stream:
        total = stream.seek(0, os.SEEK_END)
        size = min(max(total // PARTS, SHORTEST_PART), LONGEST_PART)
        edges = [0]
        for place in range(size, total, size):
            stream.seek(place)
            stream.readline()
            if edges[-1] < stream.tell() < total:
                edges.append(stream.tell())
    return list(zip(edges, [*edges[1:], total], strict=True))


def read_byte_range(file: Path, begin: int, end: int) -> Iterator[bytes]:
    """Yield the raw lines of a range of `byte_ranges`."""
    with open_text(file) as stream:
        stream.seek(begin)
        number = None if begin else 1  # only the first line can begin with a byte order mark
        while stream.tell() < end:
            line = stream.readline()
            require_utf8(line, str(file), number)
            yield line
            number = None


def count_lines(file: Path | None) -> int | None:
    """Return the number of lines of a plain text file, None if it is stdin, a pipe or compressed.

    The file is read once, without decoding.
    """
    if file is None or file.suffix in OPENERS or not file.is_file():
        return None
    with open(file, "rb") as stream:
        last, lines = b"\n", 0
        while block := stream.read(2**20):
            lines, last = lines + block.count(b"\n"), block[-1:]
    return lines + (last != b"\n")


def read_pairs(src: Path | None, tgt: Path) -> Iterator[Pair]:
    """Yield the (source, target) lines of two texts, src None for stdin; counts must be equal."""
    src_lines, tgt_lines = read_lines(src), read_lines(tgt)
    number = 0
    for src_line in src_lines:
        tgt_line = next(tgt_lines, None)
        if tgt_line is None:
            raise line_count_error(src, number + 1 + sum(1 for _ in src_lines), tgt, number)
        yield src_line, tgt_line
        number += 1
    extra = sum(1 for _ in tgt_lines)
    if extra:
        raise line_count_error(src, number, tgt, number + extra)


def line_count_error(src: Path | None, src_count: int, tgt: Path, tgt_count: int) -> DataError:
    """Return the error of two sides that do not belong together."""
    return DataError(
        f"expected the same number of lines on both sides, got {src_count} in {src or 'stdin'} "
        f"and {tgt_count} in {tgt}"
    )


def to_single_line(text: str) -> str:
    """Return text without line ends: byte pieces can spell one, and one line in is one line out."""
    return text.replace("\n", " ").replace("\r", " ")


def chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield lists of `size` items, the last shorter."""
    stream = iter(items)
    while chunk := list(islice(stream, size)):
        yield chunk
