"""The one door through which every write goes.

A file is written under a temporary name beside its target, fsynced and renamed; a folder is filled
under a temporary name and renamed as a whole. So a reader sees the old content or the new, never
half of it, and a killed process leaves at most a stray whose name ends in `.tmp`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

STRAY_SUFFIX = ".tmp"
WITHOUT_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
"""What a file system says that has no locks."""
LOCK_SECONDS, LOCK_PAUSE = 0.2, 0.01
"""A lock that `is_locked` looks at is not free for a moment: how long, and how often, to ask."""


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}{STRAY_SUFFIX}")


def sync_folder(folder: Path) -> None:
    """Make renames inside `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def partial(path: Path) -> Path:
    """Return where an interrupted `open_atomic` leaves what it has."""
    return (written := _behind_link(path)).with_name(f"{written.name}.partial")


def _behind_link(path: Path) -> Path:
    return path.resolve() if path.is_symlink() else path


@contextmanager
def open_atomic(path: Path, keep_partial: bool = False) -> Iterator[BinaryIO]:
    """Open `path` for writing bytes; it appears, whole, when the block ends without an error.

    A link is written through; a device or a pipe is written to as it is. With `keep_partial`
    Ctrl-C leaves what was written so far at `partial(path)`.
    """
    path = _behind_link(path)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if path.exists() and not path.is_file():
        with open(path, "wb") as stream:
            yield stream
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(path)
    try:
        with open(temporary, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        if keep_partial and isinstance(error, KeyboardInterrupt):
            os.replace(temporary, partial(path))
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path` as a whole."""
    with open_atomic(path) as stream:
        stream.write(content)


def write_text(path: Path, content: str) -> None:
    """Write `content` to `path` as UTF-8, as a whole."""
    write_bytes(path, content.encode("utf-8"))


def append_line(path: Path, line: str) -> None:
    """Add one line to a log-like file; a cut write loses that line only."""
    with open(path, "ab") as stream:
        stream.write(line.encode("utf-8") + b"\n")


@contextmanager
def open_part(path: Path, keep: int) -> Iterator[BinaryIO]:
    """Open a file that comes in over several runs, to go on after its first `keep` bytes.

    It stays however the block ends. Raises BlockingIOError where another process is at it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab") as stream:
        _lock(stream)
        if os.fstat(stream.fileno()).st_size < keep:
            raise BlockingIOError(errno.EAGAIN, "is no longer what it was", str(path))
        stream.truncate(keep)
        try:
            yield stream
        finally:
            stream.flush()
            os.fsync(stream.fileno())


def _lock(stream: BinaryIO) -> None:
    """Lock an open file until it is closed, where the file system has locks."""
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in WITHOUT_LOCKS:
            raise


@contextmanager
def locked(path: Path, holder: str) -> Iterator[None]:
    """Hold a lock on the file `path`, in which `holder` stands; the file goes with the block.

    The kernel lets go of the lock however the process ends; a file left behind is in nobody's way.
    Raises BlockingIOError where another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked_stream(path) as stream:
        stream.truncate(0)
        stream.write(holder.encode("utf-8"))
        stream.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _locked_stream(path: Path) -> BinaryIO:
    """Return `path`, open and locked, once it is free."""
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        stream = open(path, "ab")  # noqa: SIM115 (the caller closes it)
        late = time.monotonic() > deadline
        try:
            _lock(stream)
        except BlockingIOError:
            stream.close()
            if late:
                raise
            time.sleep(LOCK_PAUSE)
            continue
        if late or os.fstat(stream.fileno()).st_nlink > 0:
            return stream
        stream.close()  # its holder deleted it just before it let go


def is_locked(path: Path) -> bool | None:
    """Tell whether a process holds a lock on `path`; None where the file system cannot say."""
    try:
        with open(path, "rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    except OSError as error:
        if error.errno not in WITHOUT_LOCKS:
            raise
        return None
    return False


@contextmanager
def folder_atomic(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder; it becomes `path` when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(path)
    old = temporary.with_suffix(f".old{STRAY_SUFFIX}")
    remove(temporary)
    remove(old)
    temporary.mkdir()
    try:
        yield temporary
        sync_folder(temporary)
        if path.exists():
            os.replace(path, old)  # out of the way in one step, deleted only after the other
        os.replace(temporary, path)
    except BaseException:
        remove(temporary)
        raise
    remove(old)
    sync_folder(path.parent)


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Yield an empty folder that is gone when the block ends."""
    with tempfile.TemporaryDirectory(prefix="nmt-") as folder:
        yield Path(folder)


def point_link(link: Path, target: str) -> None:
    """Make `link` a symbolic link to the relative `target`, replacing the old one in one step."""
    temporary = _temporary(link)
    temporary.unlink(missing_ok=True)
    os.symlink(target, temporary)
    os.replace(temporary, link)
    sync_folder(link.parent)


def remove(path: Path) -> None:
    """Delete a file, a link or a folder with all it holds; nothing there is fine."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.is_dir():
        shutil.rmtree(path)


def sweep_strays(folder: Path) -> None:
    """Delete what a killed process left half-written anywhere below `folder`."""
    for stray in list(folder.rglob(f".*{STRAY_SUFFIX}")):
        remove(stray)


def make_folder(path: Path) -> None:
    """Create `path` with its parents; it may be there already."""
    path.mkdir(parents=True, exist_ok=True)
