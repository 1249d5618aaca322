"""Has an input changed? Judged by size and time first, by content on a difference."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from nmt.core import fingerprint
from nmt.core.fingerprint import stamp, unchanged


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a"
    path.write_bytes(b"one\n")
    return path


def test_a_stamp_says_what_the_file_was(file: Path) -> None:
    assert stamp(file) == {
        "path": str(file),
        "size": 4,
        "mtime_ns": file.stat().st_mtime_ns,
        "sha256": hashlib.sha256(b"one\n").hexdigest(),
    }
    assert fingerprint.digest(b"one\n") == stamp(file)["sha256"]


def test_a_file_left_alone_is_unchanged_and_not_read(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = stamp(file)
    monkeypatch.setattr(fingerprint, "sha256", lambda _: pytest.fail("read the whole file"))
    assert unchanged([old], [file])


def test_a_touched_or_moved_file_of_the_same_content_is_unchanged(file: Path) -> None:
    old = stamp(file)
    os.utime(file, (1, 1))
    assert unchanged([old], [file])
    assert unchanged([old], [file.rename(file.with_name("b"))])


@pytest.mark.parametrize("content", [b"two\n", b"one\n\n", b""], ids=["same size", "more", "none"])
def test_another_content_is_a_change(file: Path, content: bytes) -> None:
    old = stamp(file)
    file.write_bytes(content)
    os.utime(file, (1, 1))
    assert not unchanged([old], [file])


def test_a_missing_file_is_a_change(file: Path) -> None:
    old = stamp(file)
    file.unlink()
    assert not unchanged([old], [file])


def test_one_file_more_fewer_or_in_another_order_is_a_change(file: Path) -> None:
    other = file.with_name("other")
    other.write_bytes(b"two\n")
    both = [stamp(file), stamp(other)]
    assert unchanged(both, [file, other])
    assert not unchanged(both, [other, file])
    assert not unchanged(both, [file])
    assert not unchanged(both[:1], [file, other])
    assert unchanged([], [])
