"""Download one file over HTTP, and continue an interrupted download where it stopped.

This is our own code because neither urllib nor a dependency of nmt can resume downloads. FILE.part
holds the received bytes. FILE.part.json records the version of the file by its ETag or date. Only
the same version is continued (`If-Range`); otherwise the server sends the file from its start.
"""

from __future__ import annotations

import http.client
import json
import logging
import sys
import time
import urllib.error
import urllib.request
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from nmt.core import files
from nmt.core.console import format_size
from nmt.errors import DataError

logger = logging.getLogger(__name__)

TIMEOUT = 60.0
"""Seconds without a response after which a connection fails."""
MAX_CONNECTIONS = 5
"""Maximum number of connections for one file."""
RETRY_DELAY = 1.0
"""Seconds before the next connection after an interruption."""
BLOCK_BYTES = 2**18
MAX_FILE_BYTES = 20 * 10**9
"""Maximum size of a file if neither the server nor the catalogue states its size."""
SECONDS_BETWEEN_LOG_LINES = 10.0
INTERRUPTED = "the connection was cut"


@dataclass(frozen=True)
class FileVersion:
    """The version of a file on a server."""

    url: str
    etag: str | None
    modified: str | None
    total: int | None
    """Size of the file in bytes, if the server states it."""

    @property
    def if_range(self) -> str | None:
        """Value of `If-Range`: a strong ETag, or else the modification date."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.modified


class DownloadProgress:
    """Reports progress: a bar on a terminal, otherwise a log line every few seconds."""

    def __init__(self, name: str, received: int, total: int | None) -> None:
        self.name, self.total = name, total
        self._next_log_time = time.monotonic() + SECONDS_BETWEEN_LOG_LINES
        self._bar: Any = None
        resumed = f", {format_size(received)} of it here already" if received else ""
        logger.info(f"fetching {name}{f' ({format_size(total)}{resumed})' if total else ''}")
        if sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=total, initial=received, unit="B", unit_scale=True, leave=False)

    def update(self, block_size: int, received: int) -> None:
        """Report a new block of `block_size` bytes; `received` is the new total."""
        if self._bar is not None:
            self._bar.update(block_size)
        elif time.monotonic() >= self._next_log_time:
            share = ""
            if self.total:
                share = f" of {format_size(self.total)} ({100 * received // self.total}%)"
            logger.info(f"  {self.name}: {format_size(received)}{share}")
            self._next_log_time = time.monotonic() + SECONDS_BETWEEN_LOG_LINES

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()


def download_file(url: str, part: Path, expected_size: int | None = None) -> None:
    """Download the complete file at `url` to `part`; `expected_size` is in bytes, if known.

    Continues with the bytes that an earlier call left in `part`. Raises DataError if the server
    cannot be reached, interrupts the connection MAX_CONNECTIONS times, or has a file of another
    size. The received bytes are then kept for the next call.
    """
    failure: str | None = None
    for connection in range(MAX_CONNECTIONS):
        if connection:
            logger.info(f"  {part.stem}: {failure}; continuing")
            time.sleep(RETRY_DELAY)
        received, failure = _download_once(url, part, expected_size)
        if failure is None:
            return
        if not received:
            break
    kept_bytes = part.stat().st_size if part.exists() else 0
    advice = "try again"
    if kept_bytes:
        advice = f"{format_size(kept_bytes)} are kept, repeat the command to continue"
    raise DataError(
        f"{url}: expected an answer, got: {failure}; {advice}, or name a folder that holds "
        f"{part.stem} with --from"
    )


def delete_part(part: Path) -> None:
    """Delete a partial or complete download and its version file."""
    files.remove(part)
    files.remove(_version_file(part))


def _version_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _check_own_part(part: Path) -> None:
    """Raise DataError if `part` exists, but no earlier download wrote it."""
    version_file = _version_file(part)
    is_foreign = part.exists() and part.stat().st_size > 0 and not version_file.exists()
    if is_foreign or part.is_symlink() or version_file.is_symlink():
        raise DataError(
            f"{part}: expected no file, or a part that an earlier call left, got another file "
            "(move it away, or name another folder with --to)"
        )


def _read_version(part: Path, url: str) -> FileVersion | None:
    """Return the version of the file that `part` is a part of; None if it cannot be continued."""
    try:
        version = FileVersion(**json.loads(_version_file(part).read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError, ValueError, TypeError, RecursionError):
        return None
    return version if version.url == url and part.is_file() else None


def _write_version(part: Path, version: FileVersion) -> None:
    files.write_text(_version_file(part), json.dumps(asdict(version)))


def _download_once(
    url: str, part: Path, expected_size: int | None, restart: bool = False
) -> tuple[int, str | None]:
    """Download with one connection; return the bytes received, and why the file is incomplete.

    The reason is None if the file is complete. With `restart`, ignores the bytes in `part`.
    """
    _check_own_part(part)
    version = None if restart else _read_version(part, url)
    offset = part.stat().st_size if version else 0
    if version and version.total == offset:
        return 0, None
    headers = {"User-Agent": "nmt", "Accept-Encoding": "identity"}
    if version and version.if_range and offset:
        headers |= {"Range": f"bytes={offset}-", "If-Range": version.if_range}
    else:
        version, offset = None, 0
    try:
        response = urllib.request.urlopen(
            urllib.request.Request(url, headers=headers), timeout=TIMEOUT
        )
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and offset:
            return _download_once(url, part, expected_size, restart=True)
        return 0, f"the server answers {error.code} {error.reason}"
    except urllib.error.URLError as error:
        return 0, _describe_error(error.reason)
    except (OSError, http.client.HTTPException, ValueError) as error:
        return 0, _describe_error(error)
    with response:
        response_version = _version_of(url, response)
        if response.status == http.HTTPStatus.PARTIAL_CONTENT:
            if not version:
                return 0, "the server sends a part of the file, unasked"
            if not _may_be_same(version, response_version) or _range_start(response) != offset:
                response.close()  # the bytes of another version must not be appended
                return _download_once(url, part, expected_size, restart=True)
            # A partial response may omit ETag and date, so keep those of the first response.
            response_version = replace(version, total=response_version.total or version.total)
        else:
            offset = 0
        total = response_version.total
        if expected_size is not None and total is not None and total != expected_size:
            raise DataError(
                f"{url}: expected {expected_size:,} bytes, got {total:,}: another version than "
                f"the catalogue's; name a folder that holds {part.stem} with --from"
            )
        return _append_body(response, part, offset, response_version, expected_size)


def _append_body(
    response: Any, part: Path, offset: int, version: FileVersion, expected_size: int | None
) -> tuple[int, str | None]:
    """Append the body of a response to the first `offset` bytes of `part`.

    Return the bytes received, and why the file is incomplete, as `_download_once` does.
    """
    size_in_part, failure, total = offset, None, version.total or expected_size
    max_size = total or MAX_FILE_BYTES
    progress = DownloadProgress(part.stem, offset, total)
    try:
        with files.open_resumable(part, keep_bytes=offset) as stream:
            _write_version(part, version)
            while total is None or size_in_part < total:
                try:
                    block = response.read1(BLOCK_BYTES)
                except (OSError, http.client.HTTPException) as error:
                    is_cut = isinstance(error, http.client.IncompleteRead)
                    failure = INTERRUPTED if is_cut else _describe_error(error)
                    break
                if not block:
                    break
                stream.write(block)
                size_in_part += len(block)
                progress.update(len(block), size_in_part)
                if size_in_part > max_size:
                    delete_part(part)
                    raise DataError(f"{version.url}: expected at most {max_size:,} bytes, got more")
    except BlockingIOError:
        raise DataError(
            f"{part}: expected a file that no other process is fetching, got a locked one"
        ) from None
    finally:
        progress.close()
    if failure is None and total is not None and size_in_part < total:
        failure = INTERRUPTED
    if failure is None and version.total is None:
        _write_version(part, replace(version, total=size_in_part))
    return size_in_part - offset, failure


def _version_of(url: str, response: Any) -> FileVersion:
    """Return the version of the file that a response carries."""
    if response.status == http.HTTPStatus.PARTIAL_CONTENT:
        total = response.headers.get("Content-Range", "").rpartition("/")[2]
    else:
        total = response.headers.get("Content-Length", "")
    return FileVersion(
        url,
        response.headers.get("ETag"),
        response.headers.get("Last-Modified"),
        int(total) if total.isdecimal() else None,
    )


def _may_be_same(version: FileVersion, response_version: FileVersion) -> bool:
    """Return whether no property that both versions state differs."""
    return all(
        None in (old, new) or old == new
        for old, new in (
            (version.etag, response_version.etag),
            (version.modified, response_version.modified),
            (version.total, response_version.total),
        )
    )


def _range_start(response: Any) -> int | None:
    """Return the offset of the first byte that a partial response carries."""
    unit, _, byte_range = response.headers.get("Content-Range", "").partition(" ")
    start = byte_range.partition("-")[0]
    return int(start) if unit == "bytes" and start.isdecimal() else None


def _describe_error(error: object) -> str:
    """Return the message of an exception on one line."""
    message = " ".join(str(getattr(error, "strerror", None) or error).split())
    return message or type(error).__name__
