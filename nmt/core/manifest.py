"""What a folder must hold: manifest.json, with the size and SHA-256 of each file beside it.

Written last, it says that all else is whole. The folder's own record (state.json of a checkpoint,
export.json of an export) says that there is one; folders of older releases have none and pass.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from nmt.core import files
from nmt.core.run_dir import FORMAT_VERSION, read_json
from nmt.errors import RunError

NAME = "manifest.json"
MARK = {"manifest": NAME}
"""What a record says of a manifest beside it."""
KEYS = {"size", "sha256"}
"""What a manifest says of each file."""


def sha256(file: Path) -> str:
    """Return the hex SHA-256 of a file's bytes."""
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_manifest(folder: Path) -> None:
    """Describe all files of a folder as they are now."""
    listed = {
        str(file.relative_to(folder)): {"size": file.stat().st_size, "sha256": sha256(file)}
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name != NAME
    }
    content = {"format_version": FORMAT_VERSION, "files": listed}
    files.write_text(folder / NAME, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def verified(record: Path, only: Collection[str] | None = None) -> dict[str, Any]:
    """Return what a folder's record says, once the files beside it are seen to be what they were.

    `only` names those that matter. Raises RunError with the first that is missing or another.
    """
    manifest = record.with_name(NAME)
    if not manifest.is_file():
        content = read_json(record)
        if "manifest" in content:
            raise RunError(f"{manifest}: no such file; {record.name} says that there is one")
        return content
    listed = entries(manifest)
    for name in sorted(listed if only is None else only):
        if name not in listed:
            raise RunError(f"{manifest}: expected an entry for {name}, got none")
        _check(record.parent / name, listed[name])
    return read_json(record)


def entries(manifest: Path) -> dict[str, Any]:
    """Return the size and SHA-256 of each file in a manifest; RunError if it is damaged."""
    content = read_json(manifest)
    listed = content.get("files")
    if (
        content.keys() == {"format_version", "files"}
        and content["format_version"] == FORMAT_VERSION
        and isinstance(listed, dict)
        and all(isinstance(entry, dict) and entry.keys() == KEYS for entry in listed.values())
    ):
        return listed
    raise RunError(f"{manifest}: expected the size and sha256 of each file, got a damaged manifest")


def _check(file: Path, entry: dict[str, Any]) -> None:
    if not file.is_file():
        raise RunError(f"{file}: no such file; {NAME} beside it names it")
    size = file.stat().st_size
    differs = f"{file}: expected the content that {NAME} records, got a damaged or edited file"
    if size != entry["size"]:
        raise RunError(f"{differs}: {size} bytes in place of {entry['size']}")
    if sha256(file) != entry["sha256"]:
        raise RunError(f"{differs}: another SHA-256")
