"""Detect whether input files have changed since a pipeline stage read them.

Compares size and time of modification first, and content hashes only if these differ.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nmt.core.manifest import hash_file

Fingerprint = dict[str, Any]
"""{"path", "size", "mtime_ns", "sha256"} of one file."""


def hash_bytes(content: bytes) -> str:
    """Return the SHA-256 of bytes, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def file_fingerprint(file: Path) -> Fingerprint:
    """Return the fingerprint of a file."""
    status = file.stat()
    return {
        "path": str(file),
        "size": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "sha256": hash_file(file),
    }


def files_unchanged(fingerprints: Iterable[Fingerprint], files: list[Path]) -> bool:
    """Return whether `files` have the same content as recorded, in the same order."""
    fingerprints = list(fingerprints)
    return len(fingerprints) == len(files) and all(
        _is_unchanged(fingerprint, file)
        for fingerprint, file in zip(fingerprints, files, strict=True)
    )


def _is_unchanged(fingerprint: Fingerprint, file: Path) -> bool:
    if not file.is_file():
        return False
    status = file.stat()
    if status.st_size != fingerprint["size"]:
        return False
    if str(file) == fingerprint["path"] and status.st_mtime_ns == fingerprint["mtime_ns"]:
        return True
    return bool(hash_file(file) == fingerprint["sha256"])
