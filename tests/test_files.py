"""Every write is whole or not there, and nothing half-written stays behind."""

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
    """What a signal raises: not even an Exception."""


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_a_file_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "er" / "a.txt"
    with files.open_atomic(target) as stream:
        stream.write(b"one")
        assert not target.exists()
    assert target.read_bytes() == b"one"
    assert names(target.parent) == ["a.txt"]


def test_a_link_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    content = tmp_path / "deep" / "content.txt"
    content.write_bytes(b"old")
    link = tmp_path / "link.txt"
    link.symlink_to("deep/content.txt")
    files.write_bytes(link, b"new")
    assert link.is_symlink()
    assert content.read_bytes() == b"new"
    assert names(content.parent) == ["content.txt"]


def test_a_pipe_stays_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    files.write_bytes(pipe, b"through")
    assert os.read(reader, 100) == b"through"
    os.close(reader)
    assert pipe.is_fifo()
    assert names(tmp_path) == ["pipe"]


@pytest.mark.skipif(not Path("/dev/fd").is_symlink(), reason="needs Linux's /dev/fd")
def test_a_pipe_without_a_name_is_written_to() -> None:
    reader, writer = os.pipe()
    files.write_bytes(Path(f"/dev/fd/{writer}"), b"through")
    assert os.read(reader, 100) == b"through"
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, Stop])
def test_an_error_keeps_the_old_file_and_leaves_no_stray(
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


def test_the_old_file_is_readable_until_the_new_one_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_bytes(b"old")
    with files.open_atomic(target) as stream:
        stream.write(b"new")
        stream.flush()
        assert target.read_bytes() == b"old"
    assert target.read_bytes() == b"new"


def test_text_is_written_as_utf8_without_changing_line_ends(tmp_path: Path) -> None:
    files.write_text(tmp_path / "a", "é\r\n\n")
    assert (tmp_path / "a").read_bytes() == b"\xc3\xa9\r\n\n"


def test_append_line_adds_to_what_is_there(tmp_path: Path) -> None:
    for line in ("one", "zwei é"):
        files.append_line(tmp_path / "log", line)
    assert (tmp_path / "log").read_bytes() == "one\nzwei é\n".encode()


def test_a_folder_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "folder"
    with files.folder_atomic(target) as temporary:
        (temporary / "x").write_text("1")
        assert not target.exists()
    assert names(target) == ["x"]
    assert names(target.parent) == ["folder"]


def test_a_new_folder_replaces_all_of_the_old(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    (target / "old").write_text("")
    with files.folder_atomic(target) as temporary:
        (temporary / "new").write_text("")
        assert names(target) == ["old"]
    assert names(target) == ["new"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, Stop])
def test_an_error_keeps_the_old_folder_and_leaves_no_stray(
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


def test_a_link_is_made_and_then_replaced(tmp_path: Path) -> None:
    link = tmp_path / "best"
    for target in ("one", "two"):
        (tmp_path / target).mkdir()
        files.replace_symlink(link, target)
        assert os.readlink(link) == target
        assert link.resolve() == (tmp_path / target).resolve()
    assert names(tmp_path) == ["best", "one", "two"]


def test_a_link_moves_with_its_folder(tmp_path: Path) -> None:
    (tmp_path / "run" / "step").mkdir(parents=True)
    files.replace_symlink(tmp_path / "run" / "last", "step")
    (tmp_path / "run").rename(tmp_path / "elsewhere")
    assert (tmp_path / "elsewhere" / "last").is_dir()


@pytest.mark.parametrize("kind", ["nothing", "file", "folder", "link to folder", "dead link"])
def test_remove_takes_away_whatever_is_there(tmp_path: Path, kind: str) -> None:
    path, kept = tmp_path / "path", tmp_path / "kept"
    kept.mkdir()
    (kept / "inside").write_text("")
    if kind == "file":
        path.write_text("")
    elif kind == "folder":
        (path / "deep").mkdir(parents=True)
    elif kind == "link to folder":
        path.symlink_to(kept)
    elif kind == "dead link":
        path.symlink_to("nowhere")
    (files.remove_folder if kind == "folder" else files.remove)(path)
    assert names(tmp_path) == ["kept"]
    assert names(kept) == ["inside"]


def test_sweeping_takes_strays_and_nothing_else(tmp_path: Path) -> None:
    keep = ["a.tmp", ".hidden", "b.txt", ".a.txt.123.tmp", ".b.tmp", ".x.nmt.tmp"]
    for name in [*keep, ".a.txt.123.nmt.tmp"]:
        (tmp_path / name).write_text("")
    (tmp_path / ".folder.7.nmt.tmp" / "deep").mkdir(parents=True)
    files.recover_interrupted_writes(tmp_path)
    assert names(tmp_path) == sorted(keep)


def test_what_a_killed_writer_leaves_is_what_sweeping_finds(tmp_path: Path) -> None:
    with files.open_atomic(tmp_path / "a") as stream, files.folder_atomic(tmp_path / "b"):
        stream.write(b"x")
        left = names(tmp_path)
    assert names(tmp_path) == ["a", "b"]
    for name in left:
        (tmp_path / name).write_text("")
    files.recover_interrupted_writes(tmp_path)
    assert len(left) == 2
    assert names(tmp_path) == ["a", "b"]


def test_sweeping_a_folder_that_is_not_there_is_fine(tmp_path: Path) -> None:
    files.recover_interrupted_writes(tmp_path / "nowhere")
    assert names(tmp_path) == []


def test_a_folder_may_be_there_already(tmp_path: Path) -> None:
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
def test_a_parent_that_is_a_file_is_an_error_that_names_it(
    tmp_path: Path, write: Callable[[Path], None]
) -> None:
    parent = tmp_path / "file"
    parent.write_text("")
    with pytest.raises(OSError, match="file") as caught:
        write(parent / "below")
    assert str(caught.value.filename).startswith(str(parent))
    assert names(tmp_path) == ["file"]
    assert parent.read_text() == ""


def test_a_folder_in_the_way_of_a_file_stays(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(IsADirectoryError):
        files.write_text(tmp_path / "a", "x")
    assert names(tmp_path) == ["a"]


def test_append_part_survives_any_end_and_is_continued(tmp_path: Path) -> None:
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


def test_a_part_has_one_writer(tmp_path: Path) -> None:
    part = tmp_path / "a.part"
    with files.open_resumable(part, keep_bytes=0) as stream:
        with pytest.raises(BlockingIOError), files.open_resumable(part, keep_bytes=0):
            pass
        stream.write(b"one")
    assert part.read_bytes() == b"one"


def test_a_part_that_is_shorter_by_now_is_not_gone_on_with(tmp_path: Path) -> None:
    with pytest.raises(BlockingIOError), files.open_resumable(tmp_path / "a.part", keep_bytes=7):
        pass
    assert (tmp_path / "a.part").read_bytes() == b""


def test_a_file_system_without_locks_is_no_obstacle(
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
    assert files.is_locked(tmp_path / "lock") is False, "its file is not there"


def test_a_lock_has_one_holder_and_goes_with_the_block(tmp_path: Path) -> None:
    lock = tmp_path / "deep" / "lock"
    assert files.is_locked(lock) is False
    with files.hold_lock(lock, "me é"):
        assert lock.read_text(encoding="utf-8") == "me é"
        assert files.is_locked(lock) is True
        with pytest.raises(BlockingIOError), files.hold_lock(lock, "another"):
            pass
        assert lock.read_text(encoding="utf-8") == "me é"
    assert names(lock.parent) == []


def test_a_lock_that_is_only_looked_at_is_waited_for(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    lock.write_text("left by a killed process")
    look = lock.open("rb")
    files.fcntl.flock(look, files.fcntl.LOCK_SH)
    Timer(files.LOCK_SECONDS / 2, look.close).start()
    with files.hold_lock(lock, "me"):
        assert lock.read_text() == "me"


def test_a_lock_is_never_that_of_a_file_which_its_holder_deleted(tmp_path: Path) -> None:
    """Else a third process could lock the new file of that name at the same time."""
    lock = tmp_path / "lock"
    with ExitStack() as first:
        first.enter_context(files.hold_lock(lock, "first"))
        Timer(files.LOCK_SECONDS / 2, first.close).start()
        with files.hold_lock(lock, "second"):
            assert lock.read_text() == "second"
            assert files.is_locked(lock) is True


@pytest.mark.parametrize("name", ["", ".", "folder"])
def test_a_folder_is_no_place_for_a_file(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    with pytest.raises(IsADirectoryError), files.open_atomic(Path(name)):
        pytest.fail("the work would be done before the error")
