"""One file from an HTTP server, gone on with where an earlier try was cut.

What has arrived lies in FILE.part; FILE.part.json beside it says which version of the file that is,
by the server's ETag or date. Only the same version is gone on with (`If-Range`); a server that
cannot go on, or that has another version by now, sends the file from its start.
"""

from __future__ import annotations

import http.client
import json
import sys
import time
import urllib.error
import urllib.request
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from nmt.core import files
from nmt.core.logging import say, size
from nmt.errors import DataError

TIMEOUT = 60.0
"""Seconds without a sign of the server."""
MOST_CONNECTIONS = 5
PAUSE = 1.0
"""Seconds before another connection, after a cut."""
BLOCK = 2**18
MOST_BYTES = 20 * 10**9
"""No file whose size is not known beforehand may be longer."""
SECONDS_BETWEEN_LINES = 10.0
CUT = "the connection was cut"


@dataclass(frozen=True)
class Origin:
    """Which version of a file a part belongs to; `total` in bytes."""

    url: str
    etag: str | None
    modified: str | None
    total: int | None

    @property
    def validator(self) -> str | None:
        """What `If-Range` may carry: a strong ETag, else the date."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.modified


class Meter:
    """How far a download is: a bar on a terminal, else a line now and then."""

    def __init__(self, name: str, done: int, total: int | None) -> None:
        self.name, self.total = name, total
        self.next_line = time.monotonic() + SECONDS_BETWEEN_LINES
        self.bar: Any = None
        going_on = f", {size(done)} of it here already" if done else ""
        say(f"fetching {name}{f' ({size(total)}{going_on})' if total else ''}")
        if sys.stderr.isatty():
            from tqdm import tqdm

            self.bar = tqdm(total=total, initial=done, unit="B", unit_scale=True, leave=False)

    def move(self, arrived: int, done: int) -> None:
        """Say that `arrived` bytes more are here, `done` in all."""
        if self.bar is not None:
            self.bar.update(arrived)
        elif time.monotonic() >= self.next_line:
            share = f" of {size(self.total)} ({100 * done // self.total}%)" if self.total else ""
            say(f"  {self.name}: {size(done)}{share}")
            self.next_line = time.monotonic() + SECONDS_BETWEEN_LINES

    def close(self) -> None:
        """Take the bar away."""
        if self.bar is not None:
            self.bar.close()


def fetch(url: str, part: Path, expected: int | None = None) -> None:
    """Bring the file at `url` into `part`, whole; `expected` is its size in bytes, where known.

    Raises DataError where the server cannot be reached, cuts the connection again and again, or
    has a file of another size. What has arrived stays, and the next call goes on with it.
    """
    reason: str | None = None
    for connection in range(MOST_CONNECTIONS):
        if connection:
            say(f"  {part.stem}: {reason}; going on")
            time.sleep(PAUSE)
        arrived, reason = _one_connection(url, part, expected)
        if reason is None:
            return
        if not arrived:
            break
    kept = part.stat().st_size if part.exists() else 0
    raise DataError(
        f"{url}: expected an answer, got: {reason}; "
        + (f"{size(kept)} are kept, the same command goes on" if kept else "try again")
        + f", or name a folder that holds {part.stem} with --from"
    )


def discard(part: Path) -> None:
    """Delete a part and what is known of it."""
    files.remove(part)
    files.remove(_note(part))


def _note(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _check_own_part(part: Path) -> None:
    """Raise DataError if a file of this name is there that no earlier download left."""
    left = part.exists() and part.stat().st_size > 0 and not _note(part).exists()
    if left or part.is_symlink() or _note(part).is_symlink():
        raise DataError(
            f"{part}: expected no file, or a part that an earlier call left, got another file "
            "(move it away, or name another folder with --to)"
        )


def _read_origin(part: Path, url: str) -> Origin | None:
    """Return what `part` is a part of, where it can be gone on with."""
    try:
        origin = Origin(**json.loads(_note(part).read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError, ValueError, TypeError, RecursionError):
        return None
    return origin if origin.url == url and part.is_file() else None


def _write_origin(part: Path, origin: Origin) -> None:
    files.write_text(_note(part), json.dumps(asdict(origin)))


def _one_connection(
    url: str, part: Path, expected: int | None, anew: bool = False
) -> tuple[int, str | None]:
    """Take in what one connection gives: the bytes that arrived; why the file is not whole yet."""
    _check_own_part(part)
    origin = None if anew else _read_origin(part, url)
    done = part.stat().st_size if origin else 0
    if origin and origin.total == done:
        return 0, None
    headers = {"User-Agent": "nmt", "Accept-Encoding": "identity"}
    if origin and origin.validator and done:
        headers |= {"Range": f"bytes={done}-", "If-Range": origin.validator}
    else:
        origin, done = None, 0
    try:
        response = urllib.request.urlopen(
            urllib.request.Request(url, headers=headers), timeout=TIMEOUT
        )
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and done:
            return _one_connection(url, part, expected, anew=True)
        return 0, f"the server answers {error.code} {error.reason}"
    except urllib.error.URLError as error:
        return 0, _in_words(error.reason)
    except (OSError, http.client.HTTPException, ValueError) as error:
        return 0, _in_words(error)
    with response:
        now = _origin_of(url, response)
        if response.status == http.HTTPStatus.PARTIAL_CONTENT:
            if not origin:
                return 0, "the server sends a part of the file, unasked"
            if not _same_version(origin, now) or _start_of(response) != done:
                response.close()  # of another version: nothing of it may stay
                return _one_connection(url, part, expected, anew=True)
            now = replace(origin, total=now.total or origin.total)
        else:
            done = 0
        if expected is not None and now.total not in (None, expected):
            raise DataError(
                f"{url}: expected {expected:,} bytes, got {now.total:,}: another version than "
                f"the catalogue's; name a folder that holds {part.stem} with --from"
            )
        return _take_in(response, part, done, now, expected)


def _take_in(
    response: Any, part: Path, done: int, origin: Origin, expected: int | None
) -> tuple[int, str | None]:
    """Append the body of a response to the first `done` bytes of `part`."""
    arrived, reason, total = 0, None, origin.total or expected
    meter = Meter(part.stem, done, total)
    try:
        with files.open_part(part, keep=done) as stream:
            _write_origin(part, origin)
            while total is None or done < total:
                try:
                    block = response.read1(BLOCK)
                except (OSError, http.client.HTTPException) as error:
                    cut = isinstance(error, http.client.IncompleteRead)
                    reason = CUT if cut else _in_words(error)
                    break
                if not block:
                    break
                stream.write(block)
                arrived, done = arrived + len(block), done + len(block)
                meter.move(len(block), done)
                if done > (total or MOST_BYTES):
                    discard(part)
                    raise DataError(
                        f"{origin.url}: expected at most {total or MOST_BYTES:,} bytes, got more"
                    )
    except BlockingIOError:
        raise DataError(
            f"{part}: expected a file that no other process is fetching, got a locked one"
        ) from None
    finally:
        meter.close()
    if reason is None and total is not None and done < total:
        reason = CUT
    if reason is None and origin.total is None:
        _write_origin(part, replace(origin, total=done))
    return arrived, reason


def _origin_of(url: str, response: Any) -> Origin:
    """Read which version of the file a response carries, and its whole size in bytes."""
    if response.status == http.HTTPStatus.PARTIAL_CONTENT:
        total = response.headers.get("Content-Range", "").rpartition("/")[2]
    else:
        total = response.headers.get("Content-Length", "")
    return Origin(
        url,
        response.headers.get("ETag"),
        response.headers.get("Last-Modified"),
        int(total) if total.isdecimal() else None,
    )


def _same_version(origin: Origin, now: Origin) -> bool:
    """Tell whether nothing that a partial response says speaks against its continuing a part."""
    return all(
        None in (old, new) or new == old
        for new, old in (
            (now.etag, origin.etag),
            (now.modified, origin.modified),
            (now.total, origin.total),
        )
    )


def _start_of(response: Any) -> int | None:
    """Return the first byte that a partial response carries."""
    unit, _, range_ = response.headers.get("Content-Range", "").partition(" ")
    start = range_.partition("-")[0]
    return int(start) if unit == "bytes" and start.isdecimal() else None


def _in_words(error: object) -> str:
    words = " ".join(str(getattr(error, "strerror", None) or error).split())
    return words or type(error).__name__
