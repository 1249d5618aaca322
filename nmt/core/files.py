"""The one door through which every write goes.

A file is written under a temporary name beside its target, fsynced and renamed; a folder is filled
under a temporary name and renamed as a whole. So a reader sees the old content or the new, never
half of it, and a killed process leaves at most a stray, named `.NAME.PROCESS.nmt.tmp`. Content
reaches the disk before its name does, and the name before what it replaces is deleted.

Folders are replaced and deleted through nmt/core/ownership.py, which looks first who wrote them.
"""

from __future__ import annotations

import errno
import fcntl
import io
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

from nmt.core.streams import find_descriptor
from nmt.errors import DiskFullError

T = TypeVar("T")
STRAY_SUFFIX = ".nmt.tmp"
OLD_SUFFIX = ".nmt.old.tmp"
"""Of a folder that is out of the way of the one that replaces it."""
STRAY = re.compile(r"\..+\.\d+\.nmt(\.old)?\.tmp")
FULL = (errno.ENOSPC, errno.EDQUOT)
"""What a file system says that has no room left, or none for this user."""
WITHOUT_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
"""What a file system says that has no locks."""
LOCK_SECONDS, LOCK_PAUSE = 0.2, 0.01
"""A lock that `is_locked` looks at is not free for a moment: how long, and how often, to ask."""

strike: Callable[[str], None] | None = None
"""Tests let faults strike here: called before and after each step on the disk, with its name."""


def _do(step: Callable[..., T], at: Path, *arguments: Any) -> T:
    """Take one step on the disk, on the path `at`."""
    if strike is None:
        return step(*arguments)
    strike(f"before {step.__name__} {at}")
    result = step(*arguments)
    strike(f"after {step.__name__} {at}")
    return result


class _Struck(io.FileIO):
    """A file that a fault can strike at each write."""

    def write(self, content: Any) -> int:
        """Write bytes."""
        return _do(super().write, Path(os.fsdecode(self.name)), content)


def _opened(path: Path, mode: str) -> BinaryIO:
    if strike is None:
        return cast(BinaryIO, open(path, mode))
    return cast(BinaryIO, io.BufferedWriter(_Struck(path, mode)))


@contextmanager
def _full_is_said(path: Path) -> Iterator[None]:
    """Turn the error of a full disk into one that says what could not be written."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise DiskFullError(
            f"{path}: cannot be written: {os.strerror(error.errno)} (what was there before is "
            "complete; free some space and repeat the command)"
        ) from None


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}{STRAY_SUFFIX}")


def _sync(path: Path) -> None:
    """Make the content of a file durable, or the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        _do(os.fsync, path, descriptor)
    finally:
        os.close(descriptor)


def _sync_all(folder: Path) -> None:
    """Make a folder durable with all it holds, whoever wrote it."""
    for path in folder.rglob("*"):
        if not path.is_symlink():
            _sync(path)
    _sync(folder)


def rename(path: Path, new: Path) -> None:
    """Give a file or folder another name beside its own, in one durable step."""
    with _full_is_said(new):
        _do(os.replace, path, path, new)
        _sync(new.parent)


def partial(path: Path) -> Path:
    """Return where an interrupted `open_atomic` leaves what it has."""
    return (written := _behind_link(path)).with_name(f"{written.name}.partial")


def is_stream(path: Path) -> bool:
    """Return whether a path names a device, a pipe or a descriptor rather than a file."""
    return find_descriptor(path) is not None or (
        path.exists() and not path.is_file() and not path.is_dir()
    )


def _descriptor_stream(path: Path, descriptor: tuple[str | None, int]) -> BinaryIO:
    """Open a descriptor for writing after what was written to it before.

    A duplicate shares the position in the file with every other process that writes to it.
    """
    process, number = descriptor
    if process is not None:
        return open(path, "ab")
    try:
        return os.fdopen(os.dup(number), "wb")
    except OSError as error:
        raise OSError(error.errno, os.strerror(error.errno or errno.EBADF), str(path)) from None


def unwritable(path: Path) -> str | None:
    """Return why a file cannot be created or replaced at `path`, None if nothing speaks against it.

    Looks only; a full disk, for example, shows later.
    """
    if is_stream(path):
        return None
    try:
        folder = _behind_link(path).absolute().parent
        folder = next(parent for parent in (folder, *folder.parents) if parent.exists())
    except OSError as error:
        return os.strerror(error.errno) if error.errno else str(error)
    if not folder.is_dir():
        return f"{folder} is not a folder"
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"the folder {folder} is read-only"
    return None


def _behind_link(path: Path) -> Path:
    """Return what a link names; a link to a pipe without a name, as /dev/stdout may be, itself."""
    target = path.resolve()
    return target if path.is_symlink() and (target.exists() or not path.exists()) else path


@contextmanager
def open_atomic(path: Path, keep_partial: bool = False) -> Iterator[BinaryIO]:
    """Open `path` for writing bytes; it appears, whole, when the block ends without an error.

    A link is written through. A device, a pipe or a descriptor such as /dev/stdout is written to
    as it is; what was written to it before stays. With `keep_partial` Ctrl-C leaves what was
    written so far at `partial(path)`.
    """
    if (descriptor := find_descriptor(path)) is not None:
        with _descriptor_stream(path, descriptor) as stream:
            yield stream
        return
    path = _behind_link(path)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if path.exists() and not path.is_file():
        with open(path, "wb") as stream:
            yield stream
        return
    temporary = _temporary(path)
    with _full_is_said(path):
        make_folder(path.parent)
        try:
            with _opened(temporary, "wb") as stream:
                yield stream
                stream.flush()
                _do(os.fsync, temporary, stream.fileno())
            rename(temporary, path)
        except BaseException as error:
            if keep_partial and isinstance(error, KeyboardInterrupt):
                os.replace(temporary, partial(path))
            with suppress(OSError):  # must not hide the first error
                remove(temporary)
            raise


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path` as a whole."""
    with open_atomic(path) as stream:
        stream.write(content)


def write_text(path: Path, content: str) -> None:
    """Write `content` to `path` as UTF-8, as a whole."""
    write_bytes(path, content.encode("utf-8"))


def append_line(path: Path, line: str) -> None:
    """Add one line to a log-like file; a cut write loses that line only."""
    with _full_is_said(path), _opened(path, "ab") as stream:
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
        with _full_is_said(path):
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
        with _full_is_said(path):
            stream = cast(BinaryIO, open(path, "ab", buffering=0))  # noqa: SIM115 (the caller closes it)
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
    """Yield an empty temporary folder; it becomes `path` when the block ends without an error.

    Between the two renames that put it in the place of an older folder a kill leaves neither
    under its name; `sweep_strays` then puts the older one back.
    """
    temporary = _temporary(path)
    old = path.with_name(f".{path.name}.{os.getpid()}{OLD_SUFFIX}")
    with _full_is_said(path):
        make_folder(path.parent)
        _put_back(old)
        remove_folder(temporary)
        _do(os.mkdir, temporary, temporary)
        try:
            yield temporary
            _sync_all(temporary)
            if path.exists():
                rename(path, old)
            rename(temporary, path)
        except DiskFullError as error:
            _clean_up(temporary, old)
            raise DiskFullError(str(error).replace(str(temporary), str(path))) from None
        except BaseException:
            _clean_up(temporary, old)
            raise
        with suppress(OSError, DiskFullError):  # a stray now, for the next sweep
            remove_folder(old)


def _clean_up(temporary: Path, old: Path) -> None:
    """Delete a folder that was not completed; a failure here must not hide the first one."""
    with suppress(OSError, DiskFullError):
        remove_folder(temporary)
    with suppress(OSError, DiskFullError):
        _put_back(old)


def _put_back(old: Path) -> None:
    """Rename a folder that was out of the way back, or delete it where its successor is there."""
    path = old.with_name(old.name.removesuffix(OLD_SUFFIX)[1:].rpartition(".")[0])
    if old.is_dir() and not path.exists():
        rename(old, path)
    else:
        remove_folder(old)


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Yield an empty folder that is gone when the block ends."""
    with tempfile.TemporaryDirectory(prefix="nmt-") as folder:
        yield Path(folder)


def point_link(link: Path, target: str) -> None:
    """Make `link` a symbolic link to the relative `target`, replacing the old one in one step.

    On a file system without symbolic links it becomes a file that holds the target.
    """
    temporary = _temporary(link)
    with _full_is_said(link):
        make_folder(link.parent)
        remove(temporary)
        try:
            try:
                _do(os.symlink, temporary, target, temporary)
            except OSError as error:
                if error.errno in FULL:
                    raise
                _write_synced(temporary, f"{target}\n".encode())
            rename(temporary, link)
        except BaseException:
            remove(temporary)
            raise


def _write_synced(path: Path, content: bytes) -> None:
    """Write a new file and make it durable."""
    with _opened(path, "wb") as stream:
        stream.write(content)
        stream.flush()
        _do(os.fsync, path, stream.fileno())


def remove(path: Path) -> None:
    """Delete a file or a link; it may be absent."""
    if path.is_symlink() or path.exists():
        _do(os.unlink, path, path)


def remove_folder(path: Path) -> None:
    """Delete a folder with everything in it; it may be absent. A link is deleted, not followed.

    The folder disappears in one step: it is renamed to a stray before its content is deleted.
    """
    if path.is_symlink() or not path.is_dir():
        remove(path)
        return
    if not is_stray(path):
        stray = _temporary(path)
        remove_folder(stray)
        rename(path, stray)
        path = stray
    _delete(path)


def remove_empty(folder: Path) -> None:
    """Delete a folder if nothing is in it."""
    if folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir()):
        _do(os.rmdir, folder, folder)


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        for inside in list(path.iterdir()):
            _delete(inside)
        _do(os.rmdir, path, path)
    else:
        _do(os.unlink, path, path)


def is_stray(path: Path) -> bool:
    """Return whether only an interrupted write of nmt leaves a file or folder of this name."""
    return STRAY.fullmatch(path.name) is not None


def sweep_strays(folder: Path) -> None:
    """Put what a killed process left anywhere below `folder` right: half-written, it is deleted."""
    for stray in list(filter(is_stray, folder.rglob(".*.tmp"))):
        if stray.name.endswith(OLD_SUFFIX):
            _put_back(stray)
        else:
            remove_folder(stray)


def make_folder(path: Path) -> None:
    """Create `path` with its parents; it may be there already."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(exist_ok=True)
        _sync(path.parent)
