"""Verify the content of a folder by its manifest.json: the size and SHA-256 of each file.

The manifest is written last, so a folder with a manifest is complete. The record of the folder
(state.json of a checkpoint, export.json of an export) refers to the manifest. Folders of older
releases have none and are accepted.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any, cast

from nmt.core import files
from nmt.core.run_dir import FORMAT_VERSION, read_json
from nmt.errors import RunError

MANIFEST_NAME = "manifest.json"
MANIFEST_REFERENCE = {"manifest": MANIFEST_NAME}
"""Entry of a record that refers to the manifest in the same folder."""
ENTRY_KEYS = {"size", "sha256"}
"""Keys of the entry of each file in a manifest."""


def hash_file(file: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_manifest(folder: Path) -> None:
    """Write the manifest of all files in a folder."""
    entries = {
        str(file.relative_to(folder)): {"size": file.stat().st_size, "sha256": hash_file(file)}
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name != MANIFEST_NAME
    }
    content = {"format_version": FORMAT_VERSION, "files": entries}
    files.write_text(
        folder / MANIFEST_NAME, json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    )


def read_verified_record(record: Path, file_names: Collection[str] | None = None) -> dict[str, Any]:
    """Verify a folder by its manifest, then return the content of its record, a JSON file.

    `file_names` restricts the verification to these files of the folder; name the record too. Files
    that the manifest does not list are ignored. A folder without a manifest is accepted if the
    record refers to none. Raises RunError with the first file that is missing or differs.
    """
    manifest = record.with_name(MANIFEST_NAME)
    if not manifest.is_file():
        content = read_json(record)
        if "manifest" in content:
            raise RunError(f"{manifest}: no such file (it is named in {record.name})")
        return content
    entries = read_manifest(manifest)
    for name in sorted(entries if file_names is None else file_names):
        if name not in entries:
            raise RunError(f"{manifest}: expected an entry for {name}, got none")
        _check_file(record.parent / name, entries[name])
    return read_json(record)


def read_manifest(manifest: Path) -> dict[str, Any]:
    """Return {relative path: {"size": bytes, "sha256": hexadecimal digits}} of a manifest.

    Raises RunError if it is damaged or has another format version. Sizes and hashes of a wrong type
    are not detected here: they differ from those of the file.
    """
    content = read_json(manifest)
    entries: Any = content.get("files")
    is_valid = (
        content.keys() == {"format_version", "files"}
        and content["format_version"] == FORMAT_VERSION
        and isinstance(entries, dict)
        and all(
            isinstance(entry, dict) and entry.keys() == ENTRY_KEYS for entry in entries.values()
        )
    )
    if not is_valid:
        raise RunError(
            f"{manifest}: expected the size and sha256 of each file, got a damaged manifest"
        )
    return cast(dict[str, Any], entries)


def _check_file(file: Path, entry: dict[str, Any]) -> None:
    """Raise RunError if a file differs from its entry in the manifest."""
    if not file.is_file():
        raise RunError(f"{file}: no such file (it is named in {MANIFEST_NAME})")
    size = file.stat().st_size
    message = (
        f"{file}: expected the content that {MANIFEST_NAME} records, got a damaged or edited file"
    )
    if size != entry["size"]:
        raise RunError(f"{message} (size {size} bytes, recorded {entry['size']})")
    if hash_file(file) != entry["sha256"]:
        raise RunError(f"{message} (different SHA-256)")
