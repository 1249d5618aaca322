"""Downloads from servers that fail: the error is reported, and received bytes are kept."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from nmt.data.datasets import download
from nmt.data.datasets.download import download_file
from nmt.errors import DataError
from tests.support.data.downloads import CONTENT, download_page, interrupt_download
from tests.support.web_server import Page, Site


def test_download_wrong_size_is_refused_before_writing(site: Site, part: Path) -> None:
    with pytest.raises(
        DataError, match=r"a\.gz: expected 19,999 bytes, got 20,000: another version"
    ):
        download_page(site, part, 19_999)
    assert not part.parent.exists()


def test_download_endless_file_is_refused(
    site: Site, part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "MAX_FILE_BYTES", 10_000)
    site.pages["/a.gz"].length = False
    with pytest.raises(DataError, match="expected at most 10,000 bytes, got more"):
        download_page(site, part)
    assert list(part.parent.iterdir()) == []


@pytest.mark.parametrize("status", [403, 404, 500, 503])
def test_download_http_error_is_reported(status: int, site: Site, part: Path) -> None:
    site.pages["/a.gz"].status = status
    match = rf"{site.url}/a\.gz: expected an answer, got: the server answers {status} .*; try again"
    with pytest.raises(DataError, match=match + r", or name a folder that holds a\.gz with --from"):
        download_page(site, part)
    assert not part.parent.exists()
    assert len(site.requests) == 1


def test_download_unavailable_server_keeps_the_part(
    site: Site, part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_download(site, part, monkeypatch)
    site.pages["/a.gz"].status = 503
    with pytest.raises(
        DataError, match=r"503.*; 7 kB are kept, repeat the command to continue, or"
    ):
        download_page(site, part)
    assert part.read_bytes() == CONTENT[:7_000]


def test_download_repeated_interruptions_give_up(site: Site, part: Path) -> None:
    site.pages["/a.gz"].cuts = [100] * 100
    with pytest.raises(DataError, match=r"cut; 500 B are kept, repeat the command to continue"):
        download_page(site, part)
    assert len(site.requests) == download.MAX_CONNECTIONS


def test_download_refused_connection_is_reported(part: Path) -> None:
    with socket.socket() as free:  # bound but not listening: connections are refused
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/a.gz"
        with pytest.raises(
            DataError, match="expected an answer, got: Connection refused; try again"
        ):
            download_file(url, part)
    assert not part.parent.exists()


def test_download_silent_server_times_out(part: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "TIMEOUT", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/a.gz"
        with pytest.raises(DataError, match="expected an answer, got: timed out; try again"):
            download_file(url, part)


def test_download_stalled_server_is_retried(
    site: Site, part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "TIMEOUT", 0.2)
    calls = []

    class Slow(Page):
        @property
        def pause(self) -> float:  # type: ignore[override]
            calls.append(1)
            return 1.0 if len(calls) == 4 else 0.0

        @pause.setter
        def pause(self, value: float) -> None:
            pass

    site.pages["/a.gz"] = Slow(CONTENT)
    assert download_page(site, part) == CONTENT
    assert [request.range for request in site.requests] == [None, "bytes=3000-"]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"hello\r\n\r\n", "hello"),
        (b"", "Remote end closed connection without response"),
        (
            b"HTTP/1.0 206 Partial Content\r\nContent-Length: 1\r\n\r\nx",
            "unasked",
        ),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", "the connection was cut"),
    ],
    ids=["nonsense", "nothing", "unasked part", "cut chunk"],
)
def test_download_invalid_response_is_reported(answer: bytes, reason: str, part: Path) -> None:
    def answer_all(listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(65_536)
                connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer_all, args=(listener,))
        thread.start()
        try:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}/a.gz"
            with pytest.raises(DataError, match=f"expected an answer, got: .*{reason}"):
                download_file(url, part)
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
