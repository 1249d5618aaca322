"""Has an input changed since a stage read it? Size and time first, content hash on a difference."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nmt.core.manifest import sha256

Stamp = dict[str, Any]
"""{"path", "size", "mtime_ns", "sha256"} of one file when a stage read it."""


def digest(content: bytes) -> str:
    """Return the hex SHA-256 of bytes."""
    return hashlib.sha256(content).hexdigest()


def stamp(file: Path) -> Stamp:
    """Describe `file` as it is now."""
    status = file.stat()
    return {
        "path": str(file),
        "size": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "sha256": sha256(file),
    }


def unchanged(stamps: Iterable[Stamp], files: list[Path]) -> bool:
    """Tell whether `files` still hold what `stamps` recorded, in the same order."""
    stamps = list(stamps)
    return len(stamps) == len(files) and all(
        _same(old, file) for old, file in zip(stamps, files, strict=True)
    )


def _same(old: Stamp, file: Path) -> bool:
    if not file.is_file():
        return False
    status = file.stat()
    if status.st_size != old["size"]:
        return False
    if str(file) == old["path"] and status.st_mtime_ns == old["mtime_ns"]:
        return True
    return bool(sha256(file) == old["sha256"])
