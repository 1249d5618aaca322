"""Atomic and durable writes: the only module of nmt that changes the file system.

A file is written under a temporary name in the folder of its target, synced with the disk and
renamed. A folder is filled under a temporary name and renamed. Readers therefore see the old or the
new content, never a part of it. A killed process leaves at most temporary files, named
`.NAME.PID.nmt.tmp`. Content is synced before it is renamed, and the new name before old content is
deleted, so that a power failure loses neither.

Delete and replace folders through nmt/core/ownership.py, which checks that nmt wrote them.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, cast

from nmt.core.streams import find_descriptor
from nmt.errors import DiskFullError

TEMPORARY_SUFFIX = ".nmt.tmp"
OLD_SUFFIX = ".nmt.old.tmp"
"""Suffix of a folder that is renamed while another one replaces it."""
TEMPORARY_NAME = re.compile(r"\..+\.\d+\.nmt(\.old)?\.tmp")
DISK_FULL_ERRORS = (errno.ENOSPC, errno.EDQUOT)
"""Error numbers of a full file system and of an exceeded quota."""
NO_LOCKS_ERRORS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
"""Error numbers of file systems without locks."""
LOCK_SECONDS, LOCK_PAUSE = 0.2, 0.01
"""Timeout for a lock, and seconds between attempts. `is_locked` of another process takes the lock
for a moment."""


@contextmanager
def _report_full_disk(path: Path) -> Iterator[None]:
    """Raise DiskFullError with the path if the disk is full."""
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_FULL_ERRORS:
            raise
        raise DiskFullError(
            f"{path}: cannot be written: {os.strerror(error.errno)} (the previous content is "
            "intact; free some space and repeat the command)"
        ) from None


def _temporary_path(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY_SUFFIX}")


def _sync(path: Path) -> None:
    """Sync the content of a file, or the file names of a folder, with the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_tree(folder: Path) -> None:
    """Sync a folder and everything in it with the disk."""
    for path in folder.rglob("*"):
        if not path.is_symlink():
            _sync(path)
    _sync(folder)


def rename(path: Path, new_path: Path) -> None:
    """Rename a file or folder atomically and durably."""
    with _report_full_disk(new_path):
        os.replace(path, new_path)
        _sync(new_path.parent)


def partial_path(path: Path) -> Path:
    """Return the path at which an interrupted `open_atomic(path)` keeps partial content."""
    target = _resolve_link(path)
    return target.with_name(f"{target.name}.partial")


def is_stream(path: Path) -> bool:
    """Return whether a path names a device, a pipe or a descriptor instead of a file."""
    return find_descriptor(path) is not None or (
        path.exists() and not path.is_file() and not path.is_dir()
    )


def _open_descriptor(path: Path, descriptor: tuple[str | None, int]) -> BinaryIO:
    """Open a descriptor, such as /dev/stdout, for writing after its present content.

    Returns a duplicate, which shares its file position with all other processes that write to it.
    """
    process, number = descriptor
    if process is not None:
        return open(path, "ab")
    try:
        return os.fdopen(os.dup(number), "wb")
    except OSError as error:
        raise OSError(error.errno, os.strerror(error.errno or errno.EBADF), str(path)) from None


def unwritable_reason(path: Path) -> str | None:
    """Return why a file or folder cannot be created or replaced at `path`; None if it can.

    Checks folders and permissions only; a full disk, for example, is found when writing.
    """
    if is_stream(path):
        return None
    try:
        folder = _resolve_link(path).absolute().parent
        folder = next(parent for parent in (folder, *folder.parents) if parent.exists())
    except OSError as error:
        return os.strerror(error.errno) if error.errno else str(error)
    if not folder.is_dir():
        return f"{folder} is not a folder"
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"the folder {folder} is read-only"
    return None


def _resolve_link(path: Path) -> Path:
    """Return the target of a link; other paths, and links to unnamed pipes, are returned as is."""
    target = path.resolve()
    return target if path.is_symlink() and (target.exists() or not path.exists()) else path


@contextmanager
def open_atomic(path: Path, keep_partial: bool = False) -> Iterator[BinaryIO]:
    """Open `path` for writing bytes; the file appears when the block ends without an error.

    Writes to the target of a link. Writes to a device, a pipe or a descriptor such as /dev/stdout
    directly, after its present content. With `keep_partial`, Ctrl-C keeps the partial content at
    `partial_path(path)`. Raises DiskFullError if the disk is full.
    """
    if (descriptor := find_descriptor(path)) is not None:
        with _open_descriptor(path, descriptor) as stream:
            yield stream
        return
    path = _resolve_link(path)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if path.exists() and not path.is_file():
        with open(path, "wb") as stream:
            yield stream
        return
    temporary = _temporary_path(path)
    with _report_full_disk(path):
        make_folder(path.parent)
        try:
            with open(temporary, "wb") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            rename(temporary, path)
        except BaseException as error:
            if keep_partial and isinstance(error, KeyboardInterrupt):
                os.replace(temporary, partial_path(path))
            with suppress(OSError):  # a second error must not hide the first
                remove(temporary)
            raise


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path` atomically."""
    with open_atomic(path) as stream:
        stream.write(content)


def write_text(path: Path, content: str) -> None:
    """Write `content` to `path` as UTF-8, atomically."""
    write_bytes(path, content.encode("utf-8"))


def append_line(path: Path, line: str) -> None:
    """Append one line to a file; an interrupted write loses only this line."""
    with _report_full_disk(path), open(path, "ab") as stream:
        stream.write(line.encode("utf-8") + b"\n")


@contextmanager
def open_resumable(path: Path, keep_bytes: int) -> Iterator[BinaryIO]:
    """Truncate a partial file to its first `keep_bytes` bytes and open it for appending.

    So a download continues after the bytes that are valid. The file is locked during the block, and
    stays if the block fails. Raises BlockingIOError if another process has locked it. Raises the
    same if it is shorter than `keep_bytes`: another process changed it before it was locked here.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab") as stream:
        _lock(stream)
        if os.fstat(stream.fileno()).st_size < keep_bytes:
            raise BlockingIOError(errno.EAGAIN, "has become shorter", str(path))
        stream.truncate(keep_bytes)
        try:
            yield stream
        finally:
            stream.flush()
            os.fsync(stream.fileno())


def _lock(stream: BinaryIO) -> None:
    """Lock an open file until it is closed, if its file system has locks."""
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in NO_LOCKS_ERRORS:
            raise


@contextmanager
def hold_lock(path: Path, holder: str) -> Iterator[None]:
    """Lock the file `path` during the block; write `holder` into it and delete it at the end.

    The kernel releases the lock when the process ends. A file that a killed process leaves can be
    locked again. On a file system without locks, the block runs without one. Raises BlockingIOError
    if another process holds the lock for more than LOCK_SECONDS.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _open_locked(path) as stream:
        with _report_full_disk(path):
            stream.truncate(0)
            stream.write(holder.encode("utf-8"))
            stream.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _open_locked(path: Path) -> BinaryIO:
    """Open and lock a file; wait up to LOCK_SECONDS for another process to release it."""
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        with _report_full_disk(path):
            stream = cast(BinaryIO, open(path, "ab", buffering=0))  # noqa: SIM115 (the caller closes it)
        is_late = time.monotonic() > deadline
        try:
            _lock(stream)
        except BlockingIOError:
            stream.close()
            if is_late:
                raise
            time.sleep(LOCK_PAUSE)
            continue
        if is_late or os.fstat(stream.fileno()).st_nlink > 0:
            return stream
        stream.close()  # the previous holder deleted this file: open the new one of that name


def is_locked(path: Path) -> bool | None:
    """Return whether a process holds a lock on `path`; None if the file system has no locks."""
    try:
        with open(path, "rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    except OSError as error:
        if error.errno not in NO_LOCKS_ERRORS:
            raise
        return None
    return False


@contextmanager
def folder_atomic(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder; it replaces `path` when the block ends without an error.

    Two renames replace an older folder. If the process is killed between them, `path` is missing,
    and `recover_interrupted_writes` restores the older folder.
    """
    temporary = _temporary_path(path)
    old = path.with_name(f".{path.name}.{os.getpid()}{OLD_SUFFIX}")
    with _report_full_disk(path):
        make_folder(path.parent)
        _restore_or_remove(old)
        remove_folder(temporary)
        os.mkdir(temporary)
        try:
            yield temporary
            _sync_tree(temporary)
            if path.exists():
                rename(path, old)
            rename(temporary, path)
        except DiskFullError as error:
            _discard(temporary, old)
            raise DiskFullError(str(error).replace(str(temporary), str(path))) from None
        except BaseException:
            _discard(temporary, old)
            raise
        with suppress(OSError, DiskFullError):  # recover_interrupted_writes can remove it later
            remove_folder(old)


def _discard(temporary: Path, old: Path) -> None:
    """Remove an incomplete folder and restore the old one; ignore errors while doing so."""
    with suppress(OSError, DiskFullError):
        remove_folder(temporary)
    with suppress(OSError, DiskFullError):
        _restore_or_remove(old)


def _restore_or_remove(old: Path) -> None:
    """Rename an old folder back to its name, or remove it if its replacement exists."""
    path = old.with_name(old.name.removesuffix(OLD_SUFFIX)[1:].rpartition(".")[0])
    if old.is_dir() and not path.exists():
        rename(old, path)
    else:
        remove_folder(old)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yield an empty folder that is deleted at the end of the block."""
    with tempfile.TemporaryDirectory(prefix="nmt-") as folder:
        yield Path(folder)


def replace_symlink(link: Path, target: str) -> None:
    """Make `link` a symbolic link to the relative path `target`, atomically.

    On a file system without symbolic links, write a file that contains the target.
    """
    temporary = _temporary_path(link)
    with _report_full_disk(link):
        make_folder(link.parent)
        remove(temporary)
        try:
            try:
                os.symlink(target, temporary)
            except OSError as error:
                if error.errno in DISK_FULL_ERRORS:
                    raise
                with open(temporary, "wb") as stream:
                    stream.write(f"{target}\n".encode())
                    stream.flush()
                    os.fsync(stream.fileno())
            rename(temporary, link)
        except BaseException:
            remove(temporary)
            raise


def remove(path: Path) -> None:
    """Delete a file or a link if it exists."""
    if path.is_symlink() or path.exists():
        os.unlink(path)


def remove_folder(path: Path) -> None:
    """Delete a folder and its content if it exists; delete a link without following it.

    The folder is renamed to a temporary name first, so that it disappears atomically.
    """
    if path.is_symlink() or not path.is_dir():
        remove(path)
        return
    if not is_temporary(path):
        temporary = _temporary_path(path)
        remove_folder(temporary)
        rename(path, temporary)
        path = temporary
    _remove_tree(path)


def remove_empty_folder(folder: Path) -> None:
    """Delete a folder if it exists and is empty."""
    if folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir()):
        os.rmdir(folder)


def _remove_tree(path: Path) -> None:
    """Delete a file, or a folder with its content."""
    if path.is_dir() and not path.is_symlink():
        for child in list(path.iterdir()):
            _remove_tree(child)
        os.rmdir(path)
    else:
        os.unlink(path)


def is_temporary(path: Path) -> bool:
    """Return whether the name is that of a temporary file or folder of nmt."""
    return TEMPORARY_NAME.fullmatch(path.name) is not None


def recover_interrupted_writes(folder: Path) -> None:
    """Restore old folders and delete partial content below `folder` after a killed process."""
    for path in list(filter(is_temporary, folder.rglob(".*.tmp"))):
        if path.name.endswith(OLD_SUFFIX):
            _restore_or_remove(path)
        else:
            remove_folder(path)


def make_folder(path: Path) -> None:
    """Create a folder and its parents durably if they do not exist."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(exist_ok=True)
        _sync(path.parent)
