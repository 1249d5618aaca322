"""`nmt data get` and `nmt data list`: public parallel text, checked against known sums."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from nmt.core import files
from nmt.core.logging import say, size
from nmt.data.datasets.archives import Written, unpack
from nmt.data.datasets.catalogue import Download, find, read_catalogue
from nmt.data.datasets.download import discard, fetch
from nmt.errors import DataError

LARGE = 10**7
"""Bytes from which on checking and unpacking take long enough to be announced."""
SUMS = {"sha256": "SHA-256", "md5": "MD5"}
RECORD = "sources.json"
"""What each text came from, in its folder, where the catalogue does not know the text's own sum."""


def get(name: str, to: Path | None, source: Path | None, mirror: str | None) -> None:
    """Bring the texts of a data set into a folder, one line on stdout for each."""
    dataset = find(name)
    folder = to or Path("data") / name
    _check(folder, source, mirror)
    try:
        for download in dataset.downloads:
            _bring(download, folder, source, mirror)
    except KeyboardInterrupt:
        say("interrupted; the same command goes on where this one stopped")
        raise
    except BrokenPipeError:  # of our own stdout
        raise
    except OSError as error:
        place = error.filename or folder
        raise DataError(f"{place}: {error.strerror or error}; --to names another folder") from None
    print(f"{name}: {dataset.licence}; {dataset.home}")


def list_all() -> None:
    """Print the catalogue."""
    head = ("name", "languages", "pairs", "download", "sums", "licence")
    rows = [
        (
            name,
            " ".join(dataset.languages),
            f"{dataset.pairs:,}" if dataset.pairs else "?",
            size(dataset.size) if dataset.size else "?",
            dataset.sums,
            dataset.licence,
        )
        for name, dataset in read_catalogue().items()
    ]
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for name, languages, pairs, bytes_, sums, licence in [head, *rows]:
        print(
            f"{name:<{widths[0]}}  {languages:<{widths[1]}}  {pairs:>{widths[2]}}  "
            f"{bytes_:>{widths[3]}}  {sums:<{widths[4]}}  {licence}"
        )


def _check(folder: Path, source: Path | None, mirror: str | None) -> None:
    """Find fault with the flags before anything is fetched."""
    if source is not None and mirror is not None:
        raise DataError("--from and --mirror: expected one of them, got both")
    if mirror is not None and not mirror.startswith(("http://", "https://")):
        raise DataError(f"--mirror: expected an address with http:// or https://, got '{mirror}'")
    if source is not None and not source.is_dir():
        what = "a file" if source.exists() else "nothing there"
        raise DataError(f"--from {source}: expected a folder, got {what}")
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    if not nearest.is_dir():
        raise DataError(f"{nearest}: expected a folder, got a file (choose another with --to)")


def _bring(download: Download, folder: Path, source: Path | None, mirror: str | None) -> None:
    """Bring the texts of one download, unless all are there and right."""
    there = {name: _look(folder / name) for name in download.texts}
    if all(_is_right(folder, download, name, there[name]) for name in there):
        for name, found in there.items():
            _print("kept", folder / name, found, ", already there")
        return
    _check_replaceable(folder, download, there)
    part = folder / f"{download.file}.part"
    if source is not None:
        packed = _find_packed(source, download)
        _check_sum(packed, str(packed), download)
        written = unpack(packed, download.file, str(packed), download.texts, folder)
    else:
        url = f"{mirror.rstrip('/')}/{download.file}" if mirror else download.url
        fetch(url, part, download.size)
        try:
            _check_sum(part, url, download)
            written = unpack(part, download.file, url, download.texts, folder)
        except DataError:
            discard(part)  # wrong from its first byte on: the next call must not go on with it
            raise
    _remember(folder, download, written)
    discard(part)
    for name, found in written.items():
        _print("wrote" if there[name] is None else "replaced", folder / name, found)


def _check_replaceable(folder: Path, download: Download, there: dict[str, Written | None]) -> None:
    """Raise DataError if a text that is there was not written by an earlier call, or was edited."""
    record = _read_record(folder)
    for name, text in there.items():
        entry = record.get(name)
        recorded = entry.get("sha256") if isinstance(entry, dict) else None
        if text and text.sha256 not in (download.texts[name].sha256, recorded):
            raise DataError(
                f"{folder / name}: expected no file, or the text of {download.url}, got other "
                "text (move it away, or name another folder with --to)"
            )
    entries = all(isinstance(entry, dict) and "url" in entry for entry in record.values())
    if (folder / RECORD).exists() and not (record and entries):
        raise DataError(
            f"{folder / RECORD}: expected the record that `nmt data get` writes, got another file "
            "(move it away, or name another folder with --to)"
        )


def _print(word: str, path: Path, found: Written | None, remark: str = "") -> None:
    print(f"{word:<8} {path}  ({found.lines if found else 0:,} lines{remark})", flush=True)


def _find_packed(source: Path, download: Download) -> Path:
    """Return where the file of a download lies in the folder given with --from."""
    places = (source / download.file, source / "official" / download.file)
    for place in places:
        if place.is_file():
            return place
    raise DataError(
        f"--from {source}: expected {download.file} of {download.url}, got neither "
        f"{places[0]} nor {places[1]}"
    )


def _check_sum(packed: Path, place: str, download: Download) -> None:
    """Compare a file with the sum that the catalogue knows; where it knows none, say so."""
    kind, known = download.sum or ("sha256", None)
    if packed.stat().st_size >= LARGE:
        say(f"checking and unpacking {download.file}")
    with packed.open("rb") as stream:
        found = hashlib.file_digest(stream, kind).hexdigest()
    if known is None:
        say(f"{place}: no sum of it is known to compare with; its SHA-256 is {found}")
    elif found != known:
        raise DataError(
            f"{place}: expected the {SUMS[kind]} {known}, got {found}: damaged, or another "
            f"version; name a folder that holds the official {download.file} with --from"
        )


def _look(path: Path) -> Written | None:
    """Return the lines and the sum of a text that is there."""
    if path.is_dir():
        raise DataError(
            f"{path}: expected a file or nothing, got a folder (choose another with --to)"
        )
    if not path.exists():
        return None
    total, lines = hashlib.sha256(), 0
    with path.open("rb") as stream:
        while block := stream.read(2**20):
            total.update(block)
            lines += block.count(b"\n")
    return Written(lines, total.hexdigest())


def _is_right(folder: Path, download: Download, name: str, found: Written | None) -> bool:
    """Tell whether a text is what the catalogue, or else the record of its making, says."""
    if found is None:
        return False
    known = download.texts[name].sha256
    if known is not None:
        return found.sha256 == known
    return _read_record(folder).get(name) == _entry(download, name, found)


def _entry(download: Download, name: str, found: Written) -> dict[str, Any]:
    """What a text was made of and what came out, for the record."""
    text = download.texts[name].model_dump(exclude_defaults=True)
    return {"url": download.url, "sum": download.sum and list(download.sum), **text} | {
        "sha256": found.sha256
    }


def _read_record(folder: Path) -> dict[str, Any]:
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def _remember(folder: Path, download: Download, written: dict[str, Written]) -> None:
    """Add to the record the texts whose own sums the catalogue does not know."""
    unknown = [name for name in written if download.texts[name].sha256 is None]
    if unknown:
        record = _read_record(folder)
        record |= {name: _entry(download, name, written[name]) for name in unknown}
        files.write_text(folder / RECORD, json.dumps(record, indent=1) + "\n")
