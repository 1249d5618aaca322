"""Detection of changed files: by size and time first, by content on a difference."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from nmt.core import fingerprint
from nmt.core.fingerprint import file_fingerprint, files_unchanged


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a"
    path.write_bytes(b"one\n")
    return path


def test_file_fingerprint_records_path_size_time_and_hash(file: Path) -> None:
    assert file_fingerprint(file) == {
        "path": str(file),
        "size": 4,
        "mtime_ns": file.stat().st_mtime_ns,
        "sha256": hashlib.sha256(b"one\n").hexdigest(),
    }
    assert fingerprint.hash_bytes(b"one\n") == file_fingerprint(file)["sha256"]


def test_files_unchanged_untouched_file_is_not_read(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = file_fingerprint(file)
    monkeypatch.setattr(
        fingerprint, "hash_file", lambda _: pytest.fail("read the content of the file")
    )
    assert files_unchanged([old], [file])


def test_files_unchanged_touched_or_moved_file_is_true(file: Path) -> None:
    old = file_fingerprint(file)
    os.utime(file, (1, 1))
    assert files_unchanged([old], [file])
    assert files_unchanged([old], [file.rename(file.with_name("b"))])


@pytest.mark.parametrize("content", [b"two\n", b"one\n\n", b""], ids=["same size", "more", "none"])
def test_files_unchanged_different_content_is_false(file: Path, content: bytes) -> None:
    old = file_fingerprint(file)
    file.write_bytes(content)
    os.utime(file, (1, 1))
    assert not files_unchanged([old], [file])


def test_files_unchanged_missing_file_is_false(file: Path) -> None:
    old = file_fingerprint(file)
    file.unlink()
    assert not files_unchanged([old], [file])


def test_files_unchanged_different_list_is_false(file: Path) -> None:
    second = file.with_name("second")
    second.write_bytes(b"two\n")
    fingerprints = [file_fingerprint(file), file_fingerprint(second)]
    assert files_unchanged(fingerprints, [file, second])
    assert not files_unchanged(fingerprints, [second, file])
    assert not files_unchanged(fingerprints, [file])
    assert not files_unchanged(fingerprints[:1], [file, second])
    assert files_unchanged([], [])
