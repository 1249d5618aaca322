"""Read the members of an untrusted archive one by one, without unpacking it to disk.

Every member must be a regular file or a folder, and its path must stay inside the archive's folder.
The archive must not expand to more bytes than compressed text can (a decompression bomb).
"""

from __future__ import annotations

import io
import lzma
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from nmt.data.text.compression import OPENERS
from nmt.errors import DataError

FREE_BYTES = 100 * 2**20
MAX_EXPANSION = 20
"""A file of n bytes may expand to FREE_BYTES + MAX_EXPANSION * n bytes. Compressed text has about a
tenth of its size, a decompression bomb less than a thousandth."""
TAR_ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2")
ENCRYPTED_FLAG = 1
"""Flag bit of an encrypted zip member."""


def read_members(file: Path, name: str, source: str) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield the path and the content of each file in a download.

    `name` is the file name on the server; its ending determines the format. A file that is not an
    archive has one member with the path "". `source` names the download in error messages. Raises
    DataError if the archive is unsafe.
    """
    max_bytes = FREE_BYTES + MAX_EXPANSION * file.stat().st_size
    if name.endswith(".zip"):
        yield from _read_zip_members(file, max_bytes, source)
        return
    ending = ".gz" if name.endswith(".tgz") else f".{name.rpartition('.')[2]}"
    opener: Callable[[Path, str], Any] = OPENERS.get(ending, open)
    with opener(file, "rb") as stream:
        limited = _LimitedReader(stream, max_bytes, source)
        if name.endswith(TAR_ENDINGS):
            yield from _read_tar_members(limited, source)
        else:
            yield "", io.BufferedReader(limited)


@contextmanager
def report_damaged_archive(source: str) -> Iterator[None]:
    """Convert the exceptions of decompressors into DataError. Errors of the disk pass unchanged.

    `source` names the download in the error message, as in `read_members`.
    """
    try:
        yield
    except (
        EOFError,
        NotImplementedError,  # a compression method that zipfile does not support
        OSError,
        lzma.LZMAError,
        tarfile.TarError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # an error of the disk: decompressors set no errno
        raise DataError(
            f"{source}: expected a complete archive, got a damaged one: {error}"
        ) from None


class _LimitedReader(io.RawIOBase):
    """A stream that raises DataError if more than `max_bytes` are read from it."""

    def __init__(self, stream: IO[bytes], max_bytes: int, source: str) -> None:
        self.stream, self.max_bytes, self.source = stream, max_bytes, source
        self.read_bytes = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        block = self.stream.read(len(buffer))
        self.read_bytes += len(block)
        if self.read_bytes > self.max_bytes:
            raise _size_error(self.source, self.max_bytes)
        buffer[: len(block)] = block
        return len(block)


def _size_error(source: str, max_bytes: int) -> DataError:
    return DataError(
        f"{source}: expected at most {max_bytes:,} bytes of text, got more; nothing was written"
    )


def _read_tar_members(stream: io.RawIOBase, source: str) -> Iterator[tuple[str, IO[bytes]]]:
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        for info in archive:
            member_type = _tar_member_type(info)
            _check_member(info.name, member_type, source)
            if member_type == "file":
                content = archive.extractfile(info)
                assert content is not None
                yield _normalize_member_path(info.name), content


def _tar_member_type(info: tarfile.TarInfo) -> str:
    """Return "file", "folder", or the name of a type that is refused."""
    if info.issparse():  # a regular file, but it can expand without limit
        return "file with holes"
    if info.isreg():
        return "file"
    if info.isdir():
        return "folder"
    if info.issym():
        return "symbolic link"
    if info.islnk():
        return "hard link"
    return "device or pipe" if info.isdev() else "something else"


def _read_zip_members(file: Path, max_bytes: int, source: str) -> Iterator[tuple[str, IO[bytes]]]:
    with zipfile.ZipFile(file) as archive:
        infos = archive.infolist()
        for info in infos:
            _check_member(info.filename, _zip_member_type(info), source)
        if sum(info.file_size for info in infos) > max_bytes:
            raise _size_error(source, max_bytes)
        for info in infos:
            if not info.is_dir():
                with archive.open(info) as content:
                    yield _normalize_member_path(info.filename), content


def _zip_member_type(info: zipfile.ZipInfo) -> str:
    """Return "file", "folder", or the name of a type that is refused."""
    if info.flag_bits & ENCRYPTED_FLAG:
        return "file behind a password"
    unix_mode = info.external_attr >> 16
    if stat.S_ISLNK(unix_mode):
        return "symbolic link"
    return "folder" if info.is_dir() else "file"


def _normalize_member_path(name: str) -> str:
    return name.removeprefix("./")


def _check_member(name: str, member_type: str, source: str) -> None:
    """Raise DataError if a member leaves the archive's folder, or is neither file nor folder."""
    posix_name = name.replace("\\", "/")
    is_absolute = posix_name.startswith("/") or re.match(r"[A-Za-z]:", name)
    if is_absolute or ".." in posix_name.split("/"):
        raise DataError(
            f"{source}: expected names inside the archive's folder, got {name!r}; "
            "nothing was written"
        )
    if member_type not in ("file", "folder"):
        raise DataError(
            f"{source}: {name!r}: expected a file or a folder, got a {member_type}; "
            "nothing was written"
        )
