"""Open compressed text files by the ending of their name."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, cast

from nmt.errors import DataError

COMPRESSED_BLOCK = 2**13
"""Compressed bytes that are decompressed at a time. Small, because a malicious block can expand to
thousands of times its size."""


class ZstdReader(io.RawIOBase):
    """Reads a file of zstd frames; raises EOFError if the file is truncated.

    The reader of the package zstandard treats a truncated file as complete.
    """

    def __init__(self, stream: BinaryIO, start_frame: Callable[[], Any]) -> None:
        """Read from `stream`; `start_frame` returns the decompressor of the next frame."""
        self._stream, self._start_frame = stream, start_frame
        self._frame: Any = None
        """Decompressor of the current frame, or None between frames."""
        self._compressed = b""
        """Compressed bytes read from the stream after the end of the last frame."""
        self._decompressed = memoryview(b"")

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read decompressed bytes into `buffer`, and return their number; 0 at the end."""
        while not self._decompressed:
            block = self._compressed or self._stream.read(COMPRESSED_BLOCK)
            if not block and self._frame is not None:
                raise EOFError("it ends in the middle of a frame")
            if not block:
                return 0
            self._frame = self._frame or self._start_frame()
            self._decompressed = memoryview(self._frame.decompress(block))
            self._compressed = self._frame.unused_data
            self._frame = None if self._frame.eof else self._frame
        size = min(len(buffer), len(self._decompressed))
        buffer[:size] = self._decompressed[:size]
        self._decompressed = self._decompressed[size:]
        return size

    def close(self) -> None:
        """Close the underlying stream too."""
        self._stream.close()
        super().close()


def _open_zstd(file: Path, mode: str) -> Any:
    try:
        import zstandard
    except ModuleNotFoundError:
        raise DataError(f"{file}: needs the package zstandard: pip install 'nmt[zstd]'") from None
    stream = cast(BinaryIO, open(file, mode))  # noqa: SIM115, closed by the reader
    return io.BufferedReader(ZstdReader(stream, zstandard.ZstdDecompressor().decompressobj))


OPENERS: dict[str, Callable[[Path, str], Any]] = {
    ".gz": gzip.open,
    ".xz": lzma.open,
    ".bz2": bz2.open,
    ".zst": _open_zstd,
}
"""For each file ending, the function that opens a compressed file."""


def decompression_errors() -> tuple[type[Exception], ...]:
    """Return the exceptions that decompressors raise if a file is damaged."""
    zstandard = sys.modules.get("zstandard")
    zstd_errors = [zstandard.ZstdError] if zstandard else []
    return (OSError, lzma.LZMAError, zlib.error, EOFError, *zstd_errors)
