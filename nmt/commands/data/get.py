"""`nmt data get`: download a data set, verify it, and write plain text."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nmt.core import files
from nmt.data.datasets.catalogue import Download, find_dataset
from nmt.data.datasets.download import delete_part, download_file
from nmt.data.datasets.extraction import ExtractedText, extract_texts
from nmt.errors import DataError

logger = logging.getLogger(__name__)

MIN_ANNOUNCED_BYTES = 10**7
"""Size of a download from which on verification and extraction are announced."""
CHECKSUM_NAMES = {"sha256": "SHA-256", "md5": "MD5"}
RECORD_FILE = "sources.json"
"""File in the output folder with the origin of each text without a checksum in the catalogue."""


@dataclass(frozen=True)
class GetOptions:
    """Options of `nmt data get`."""

    name: str
    """Name of the data set in the catalogue."""
    output_dir: Path | None = None
    """Folder to write; default: data/NAME."""
    source_dir: Path | None = None
    """Folder with the official files, which are then not downloaded."""
    mirror: str | None = None
    """Base URL of the official files in place of the URLs in the catalogue."""

    @property
    def folder(self) -> Path:
        """The folder to write."""
        return self.output_dir or Path("data") / self.name


def run(options: GetOptions) -> None:
    """Write the texts of a data set and print one line for each.

    Texts that a previous call wrote are kept. Raises DataError if a download is damaged, unsafe or
    not available, or if a file in the way was not written by this command.
    """
    dataset = find_dataset(options.name)
    _check_options(options)
    try:
        for download in dataset.downloads:
            _provide_texts(download, options)
    except KeyboardInterrupt:
        logger.info("interrupted; repeat the command to continue")
        raise
    except BrokenPipeError:  # stdout was closed, as by `| head`
        raise
    except OSError as error:
        path = error.filename or options.folder
        raise DataError(f"{path}: {error.strerror or error}; --to names another folder") from None
    print(f"{options.name}: {dataset.licence}; {dataset.home}")


def _check_options(options: GetOptions) -> None:
    """Raise DataError if options contradict each other or name unusable folders."""
    source_dir, mirror = options.source_dir, options.mirror
    if source_dir is not None and mirror is not None:
        raise DataError("--from and --mirror: expected at most one, got both")
    if mirror is not None and not mirror.startswith(("http://", "https://")):
        raise DataError(f"--mirror: expected an address with http:// or https://, got '{mirror}'")
    if source_dir is not None and not source_dir.is_dir():
        reality = "a file" if source_dir.exists() else "nothing there"
        raise DataError(f"--from {source_dir}: expected a folder, got {reality}")
    folder = options.folder
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not existing.is_dir():
        raise DataError(f"{existing}: expected a folder, got a file (choose another with --to)")


def _provide_texts(download: Download, options: GetOptions) -> None:
    """Write the texts of one download, unless they exist and are correct."""
    folder = options.folder
    existing = {name: _read_existing(folder / name) for name in download.texts}
    if all(_is_correct(folder, download, name, text) for name, text in existing.items()):
        for name, text in existing.items():
            _print_text("kept", folder / name, text, ", already there")
        return
    _check_replaceable(folder, download, existing)
    part = folder / f"{download.file}.part"
    if options.source_dir is not None:
        file = _find_official_file(options.source_dir, download)
        texts = _verify_and_extract(file, str(file), download, folder)
    else:
        url = download.url
        if options.mirror:
            url = f"{options.mirror.rstrip('/')}/{download.file}"
        download_file(url, part, download.size)
        try:
            texts = _verify_and_extract(part, url, download, folder)
        except DataError:
            delete_part(part)  # the next call must not continue with a wrong file
            raise
    _update_record(folder, download, texts)
    delete_part(part)
    for name, text in texts.items():
        action = "wrote" if existing[name] is None else "replaced"
        _print_text(action, folder / name, text)


def _verify_and_extract(
    file: Path, source: str, download: Download, folder: Path
) -> dict[str, ExtractedText]:
    """Check a file against the catalogue and extract its texts; `source` is used in messages."""
    _verify_checksum(file, source, download)
    return extract_texts(file, download.file, source, download.texts, folder)


def _check_replaceable(
    folder: Path, download: Download, existing: dict[str, ExtractedText | None]
) -> None:
    """Raise DataError if a file in the way was not written by this command, or was edited."""
    record = _read_record(folder)
    for name, text in existing.items():
        entry = record.get(name)
        recorded_sha256 = entry.get("sha256") if isinstance(entry, dict) else None
        if text and text.sha256 not in (download.texts[name].sha256, recorded_sha256):
            raise DataError(
                f"{folder / name}: expected no file, or the text of {download.url}, got other "
                "text (move it away, or name another folder with --to)"
            )
    is_record = all(isinstance(entry, dict) and "url" in entry for entry in record.values())
    if (folder / RECORD_FILE).exists() and not (record and is_record):
        raise DataError(
            f"{folder / RECORD_FILE}: expected the record that `nmt data get` writes, got another "
            "file (move it away, or name another folder with --to)"
        )


def _print_text(action: str, path: Path, text: ExtractedText | None, remark: str = "") -> None:
    lines = text.lines if text else 0
    print(f"{action:<8} {path}  ({lines:,} lines{remark})", flush=True)


def _find_official_file(source_dir: Path, download: Download) -> Path:
    """Return the path of a download in the folder that --from names."""
    paths = (source_dir / download.file, source_dir / "official" / download.file)
    for path in paths:
        if path.is_file():
            return path
    raise DataError(
        f"--from {source_dir}: expected {download.file} of {download.url}, got neither "
        f"{paths[0]} nor {paths[1]}"
    )


def _verify_checksum(file: Path, source: str, download: Download) -> None:
    """Raise DataError if the checksum is wrong; print it if the catalogue has none."""
    algorithm, expected = download.checksum or ("sha256", None)
    if file.stat().st_size >= MIN_ANNOUNCED_BYTES:
        logger.info(f"checking and unpacking {download.file}")
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, algorithm).hexdigest()
    if expected is None:
        logger.info(f"{source}: no checksum is known to compare with; its SHA-256 is {digest}")
    elif digest != expected:
        raise DataError(
            f"{source}: expected the {CHECKSUM_NAMES[algorithm]} {expected}, got {digest}: "
            "damaged, or another version; name a folder that holds the official "
            f"{download.file} with --from"
        )


def _read_existing(path: Path) -> ExtractedText | None:
    """Return the number of lines and the checksum of an existing text, or None."""
    if path.is_dir():
        raise DataError(
            f"{path}: expected a file or nothing, got a folder (choose another with --to)"
        )
    if not path.exists():
        return None
    sha256, lines = hashlib.sha256(), 0
    with path.open("rb") as stream:
        while block := stream.read(2**20):
            sha256.update(block)
            lines += block.count(b"\n")
    return ExtractedText(lines, sha256.hexdigest())


def _is_correct(folder: Path, download: Download, name: str, text: ExtractedText | None) -> bool:
    """Return whether an existing text matches the catalogue, or else the record."""
    if text is None:
        return False
    expected = download.texts[name].sha256
    if expected is not None:
        return text.sha256 == expected
    return _read_record(folder).get(name) == _record_entry(download, name, text)


def _record_entry(download: Download, name: str, text: ExtractedText) -> dict[str, Any]:
    """Return the entry of the record: the origin of a text, and its checksum."""
    settings = download.texts[name].model_dump(exclude_defaults=True)
    checksum = download.checksum and list(download.checksum)
    return {"url": download.url, "sum": checksum, **settings, "sha256": text.sha256}


def _read_record(folder: Path) -> dict[str, Any]:
    try:
        record = json.loads((folder / RECORD_FILE).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def _update_record(folder: Path, download: Download, texts: dict[str, ExtractedText]) -> None:
    """Add the texts without a checksum in the catalogue to the record."""
    entries = {
        name: _record_entry(download, name, text)
        for name, text in texts.items()
        if download.texts[name].sha256 is None
    }
    if entries:
        record = _read_record(folder) | entries
        files.write_text(folder / RECORD_FILE, json.dumps(record, indent=1) + "\n")
