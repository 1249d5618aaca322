"""Atomic writes, resumable files, locks, and recovery after interrupted writes."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from threading import Timer

import pytest

from nmt.core import files


class Stop(BaseException):
    """An error that `except Exception` does not catch, such as the error of a signal handler."""


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_open_atomic_unfinished_file_is_not_visible(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "er" / "a.txt"
    with files.open_atomic(target) as stream:
        stream.write(b"one")
        assert not target.exists()
    assert target.read_bytes() == b"one"
    assert names(target.parent) == ["a.txt"]


def test_write_bytes_to_link_replaces_the_target(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    content = tmp_path / "deep" / "content.txt"
    content.write_bytes(b"old")
    link = tmp_path / "link.txt"
    link.symlink_to("deep/content.txt")
    files.write_bytes(link, b"new")
    assert link.is_symlink()
    assert content.read_bytes() == b"new"
    assert names(content.parent) == ["content.txt"]


def test_write_bytes_to_named_pipe_keeps_the_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    files.write_bytes(pipe, b"through")
    assert os.read(reader, 100) == b"through"
    os.close(reader)
    assert pipe.is_fifo()
    assert names(tmp_path) == ["pipe"]


@pytest.mark.skipif(not Path("/dev/fd").is_symlink(), reason="needs Linux's /dev/fd")
def test_write_bytes_to_unnamed_pipe_reaches_the_reader() -> None:
    reader, writer = os.pipe()
    files.write_bytes(Path(f"/dev/fd/{writer}"), b"through")
    assert os.read(reader, 100) == b"through"
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, Stop])
def test_open_atomic_error_leaves_only_the_old_file(
    tmp_path: Path, error: type[BaseException]
) -> None:
    target = tmp_path / "a.txt"
    target.write_bytes(b"old")
    with pytest.raises(error), files.open_atomic(target) as stream:  # noqa: PT012
        stream.write(b"half of the n")
        stream.flush()
        raise error
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["a.txt"]


def test_open_atomic_unfinished_write_shows_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_bytes(b"old")
    with files.open_atomic(target) as stream:
        stream.write(b"new")
        stream.flush()
        assert target.read_bytes() == b"old"
    assert target.read_bytes() == b"new"


def test_write_text_is_utf8_with_unchanged_line_ends(tmp_path: Path) -> None:
    files.write_text(tmp_path / "a", "é\r\n\n")
    assert (tmp_path / "a").read_bytes() == b"\xc3\xa9\r\n\n"


def test_append_line_keeps_earlier_lines(tmp_path: Path) -> None:
    for line in ("one", "zwei é"):
        files.append_line(tmp_path / "log", line)
    assert (tmp_path / "log").read_bytes() == "one\nzwei é\n".encode()


def test_folder_atomic_unfinished_folder_is_not_visible(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "folder"
    with files.folder_atomic(target) as temporary:
        (temporary / "x").write_text("1")
        assert not target.exists()
    assert names(target) == ["x"]
    assert names(target.parent) == ["folder"]


def test_folder_atomic_replaces_all_files_of_the_old_folder(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    (target / "old").write_text("")
    with files.folder_atomic(target) as temporary:
        (temporary / "new").write_text("")
        assert names(target) == ["old"]
    assert names(target) == ["new"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, Stop])
def test_folder_atomic_error_leaves_only_the_old_folder(
    tmp_path: Path, error: type[BaseException]
) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    (target / "old").write_text("")
    with pytest.raises(error), files.folder_atomic(target) as temporary:  # noqa: PT012
        (temporary / "new").write_text("")
        raise error
    assert names(target) == ["old"]
    assert names(tmp_path) == ["folder"]


def test_folder_atomic_ignores_remains_of_same_process_id(
    tmp_path: Path,
) -> None:
    with files.folder_atomic(tmp_path / "folder") as temporary:
        stray = temporary.name
    (tmp_path / stray).mkdir()
    (tmp_path / stray / "left over").write_text("")
    with files.folder_atomic(tmp_path / "folder") as temporary:
        assert names(temporary) == []
    assert names(tmp_path) == ["folder"]


def test_replace_symlink_creates_and_replaces_the_link(tmp_path: Path) -> None:
    link = tmp_path / "best"
    for target in ("one", "two"):
        (tmp_path / target).mkdir()
        files.replace_symlink(link, target)
        assert os.readlink(link) == target
        assert link.resolve() == (tmp_path / target).resolve()
    assert names(tmp_path) == ["best", "one", "two"]


def test_replace_symlink_moved_folder_keeps_link_valid(tmp_path: Path) -> None:
    (tmp_path / "run" / "step").mkdir(parents=True)
    files.replace_symlink(tmp_path / "run" / "last", "step")
    (tmp_path / "run").rename(tmp_path / "elsewhere")
    assert (tmp_path / "elsewhere" / "last").is_dir()


@pytest.mark.parametrize("kind", ["nothing", "file", "folder", "link to folder", "dead link"])
def test_remove_any_kind_deletes_only_the_path(tmp_path: Path, kind: str) -> None:
    path, other_folder = tmp_path / "path", tmp_path / "other"
    other_folder.mkdir()
    (other_folder / "inside").write_text("")
    if kind == "file":
        path.write_text("")
    elif kind == "folder":
        (path / "deep").mkdir(parents=True)
    elif kind == "link to folder":
        path.symlink_to(other_folder)
    elif kind == "dead link":
        path.symlink_to("nowhere")
    (files.remove_folder if kind == "folder" else files.remove)(path)
    assert names(tmp_path) == ["other"]
    assert names(other_folder) == ["inside"]


def test_recover_interrupted_writes_deletes_only_temporaries(tmp_path: Path) -> None:
    keep = ["a.tmp", ".hidden", "b.txt", ".a.txt.123.tmp", ".b.tmp", ".x.nmt.tmp"]
    for name in [*keep, ".a.txt.123.nmt.tmp"]:
        (tmp_path / name).write_text("")
    (tmp_path / ".folder.7.nmt.tmp" / "deep").mkdir(parents=True)
    files.recover_interrupted_writes(tmp_path)
    assert names(tmp_path) == sorted(keep)


def test_recover_interrupted_writes_after_kill_deletes_remains(tmp_path: Path) -> None:
    with files.open_atomic(tmp_path / "a") as stream, files.folder_atomic(tmp_path / "b"):
        stream.write(b"x")
        temporary_names = names(tmp_path)
    assert names(tmp_path) == ["a", "b"]
    for name in temporary_names:
        (tmp_path / name).write_text("")
    files.recover_interrupted_writes(tmp_path)
    assert len(temporary_names) == 2
    assert names(tmp_path) == ["a", "b"]


def test_recover_interrupted_writes_accepts_missing_folder(tmp_path: Path) -> None:
    files.recover_interrupted_writes(tmp_path / "nowhere")
    assert names(tmp_path) == []


def test_make_folder_existing_folder_is_accepted(tmp_path: Path) -> None:
    for _ in range(2):
        files.make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()


def make_atomic_folder(path: Path) -> None:
    with files.folder_atomic(path):
        pass


@pytest.mark.parametrize(
    "write",
    [
        lambda path: files.write_text(path, "x"),
        lambda path: files.append_line(path, "x"),
        lambda path: files.replace_symlink(path, "x"),
        files.make_folder,
        make_atomic_folder,
    ],
    ids=["file", "line", "link", "folder", "atomic folder"],
)
def test_write_below_a_file_raises_error_with_its_name(
    tmp_path: Path, write: Callable[[Path], None]
) -> None:
    parent = tmp_path / "file"
    parent.write_text("")
    with pytest.raises(OSError, match="file") as caught:
        write(parent / "below")
    assert str(caught.value.filename).startswith(str(parent))
    assert names(tmp_path) == ["file"]
    assert parent.read_text() == ""


def test_write_text_over_folder_raises_and_keeps_it(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(IsADirectoryError):
        files.write_text(tmp_path / "a", "x")
    assert names(tmp_path) == ["a"]


def test_open_resumable_interrupted_write_is_continued(tmp_path: Path) -> None:
    part = tmp_path / "deep" / "a.part"

    def stopped() -> None:
        with files.open_resumable(part, keep_bytes=0) as stream:
            stream.write(b"one two")
            raise Stop

    with pytest.raises(Stop):
        stopped()
    with files.open_resumable(part, keep_bytes=4) as stream:
        stream.write(b"three")
    assert part.read_bytes() == b"one three"


def test_open_resumable_second_writer_is_refused(tmp_path: Path) -> None:
    part = tmp_path / "a.part"
    with files.open_resumable(part, keep_bytes=0) as stream:
        with pytest.raises(BlockingIOError), files.open_resumable(part, keep_bytes=0):
            pass
        stream.write(b"one")
    assert part.read_bytes() == b"one"


def test_open_resumable_file_shorter_than_kept_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BlockingIOError), files.open_resumable(tmp_path / "a.part", keep_bytes=7):
        pass
    assert (tmp_path / "a.part").read_bytes() == b""


def test_locks_unsupported_by_file_system_are_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(files.fcntl, "flock", no_locks)
    with files.open_resumable(tmp_path / "a.part", keep_bytes=0) as stream:
        stream.write(b"text")
    assert (tmp_path / "a.part").read_bytes() == b"text"
    with files.hold_lock(tmp_path / "lock", "me"), files.hold_lock(tmp_path / "lock", "another"):
        assert files.is_locked(tmp_path / "lock") is None
    assert files.is_locked(tmp_path / "lock") is False, "the lock file does not exist"


def test_hold_lock_has_one_holder_and_deletes_its_file(tmp_path: Path) -> None:
    lock = tmp_path / "deep" / "lock"
    assert files.is_locked(lock) is False
    with files.hold_lock(lock, "me é"):
        assert lock.read_text(encoding="utf-8") == "me é"
        assert files.is_locked(lock) is True
        with pytest.raises(BlockingIOError), files.hold_lock(lock, "another"):
            pass
        assert lock.read_text(encoding="utf-8") == "me é"
    assert names(lock.parent) == []


def test_hold_lock_waits_for_brief_shared_lock(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    lock.write_text("left by a killed process")
    reader = lock.open("rb")
    files.fcntl.flock(reader, files.fcntl.LOCK_SH)
    Timer(files.LOCK_SECONDS / 2, reader.close).start()
    with files.hold_lock(lock, "me"):
        assert lock.read_text() == "me"


def test_hold_lock_file_deleted_while_waiting_is_recreated(tmp_path: Path) -> None:
    """Otherwise a third process could lock a new file of the same name at the same time."""
    lock = tmp_path / "lock"
    with ExitStack() as first:
        first.enter_context(files.hold_lock(lock, "first"))
        Timer(files.LOCK_SECONDS / 2, first.close).start()
        with files.hold_lock(lock, "second"):
            assert lock.read_text() == "second"
            assert files.is_locked(lock) is True


@pytest.mark.parametrize("name", ["", ".", "folder"])
def test_open_atomic_on_folder_raises_before_the_work(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    with pytest.raises(IsADirectoryError), files.open_atomic(Path(name)):
        pytest.fail("the error was raised after the work")
