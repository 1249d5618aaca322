"""An HTTP server for tests with ranges, broken connections, changed files and errors."""

from __future__ import annotations

import functools
import http.server
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Page:
    """A file on the server and the behavior of the server for this file."""

    content: bytes
    etag: str | None = '"1"'
    modified: str | None = None
    ranges: bool = True
    """Whether `Range` and `If-Range` are supported."""
    if_range: bool = True
    length: bool = True
    """Whether Content-Length is sent."""
    validators_in_parts: bool = True
    shift: int = 0
    """Offset of a partial response from the requested byte."""
    cuts: list[int] = field(default_factory=list)
    """Number of body bytes after which each of the next responses breaks off."""
    pause: float = 0.0
    """Seconds before every thousandth byte."""
    status: int = 0
    """HTTP error code to answer with, 0 for none."""


@dataclass
class Request:
    """A request and the number of body bytes sent for it."""

    path: str
    range: str | None
    if_range: str | None
    sent: int = 0


@dataclass
class Site:
    """The pages by path, and the received requests."""

    url: str
    pages: dict[str, Page] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)


class Handler(http.server.BaseHTTPRequestHandler):
    """Request handler that serves the pages of a site."""

    def __init__(self, *args: Any, site: Site) -> None:
        self.site = site
        super().__init__(*args)

    def do_GET(self) -> None:
        request = Request(self.path, self.headers.get("Range"), self.headers.get("If-Range"))
        self.site.requests.append(request)
        page = self.site.pages.get(self.path)
        if page is None or page.status:
            self.send_error(404 if page is None else page.status)
            return
        start, status = self.start(page, request)
        if start > len(page.content) or (start and start == len(page.content)):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(page.content)}")
            self.end_headers()
            return
        body = page.content[start:]
        self.send_response(status)
        if page.length:
            self.send_header("Content-Length", str(len(body)))
        if status == 206:
            total = len(page.content)
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        if status == 200 or page.validators_in_parts:
            if page.etag is not None:
                self.send_header("ETag", page.etag)
            if page.modified is not None:
                self.send_header("Last-Modified", page.modified)
        self.end_headers()
        if page.cuts:
            body = body[: page.cuts.pop(0)]
        with suppress(ConnectionError):
            for offset in range(0, len(body), 1000):
                time.sleep(page.pause)
                chunk = body[offset : offset + 1000]
                request.sent += len(chunk)  # before the client can see that it has everything
                self.wfile.write(chunk)

    def start(self, page: Page, request: Request) -> tuple[int, int]:
        """Return the first byte to send, and the status."""
        match = re.fullmatch(r"bytes=(\d+)-", request.range or "")
        if match is None or not page.ranges:
            return 0, 200
        if page.if_range and request.if_range not in (None, page.etag, page.modified):
            return 0, 200
        return int(match[1]) + page.shift, 206

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def run_server(pages: dict[str, Page] | None = None) -> Iterator[Site]:
    """Serve pages on a free local port."""
    site = Site("", pages or {})
    handler = functools.partial(Handler, site=site)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        site.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield site
        finally:
            server.shutdown()
            thread.join()
