"""A running `nmt serve`: signals, many connections, slow and disconnecting clients."""

from __future__ import annotations

import http.client
import json
import resource
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest
import uvicorn

from nmt.serving.http_protocol import HeaderLimitProtocol
from tests.support.serving import ServerProcess, serve

PAIR = {"source": "en", "target": "fr"}
CLIENTS = 32


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with serve("--device", "cpu") as server:
        yield server


def translate(url: str, text: str) -> str:
    """Translate a text with a new connection."""
    body = urlencode({"q": text, **PAIR}).encode()
    with urlopen(f"{url}/translate", body, timeout=60) as response:
        return str(json.load(response)["translatedText"])


def test_server_parallel_requests_get_their_answers(
    server: ServerProcess, strings: list[str], translations: list[str]
) -> None:
    with ThreadPoolExecutor(CLIENTS) as pool:
        answers = list(pool.map(lambda text: translate(server.url, text), strings * 4))
    assert answers == translations * 4


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_server_signal_under_load_answers_accepted_requests(
    number: int, strings: list[str], translations: list[str]
) -> None:
    long_text, expected = "\n".join(strings * 3), "\n".join(translations * 3)
    flags = ("--device", "cpu", "--max-queue", 2000)
    with serve(*flags) as server, ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(translate, server.url, long_text) for _ in range(8)]
        while accepted_lines(server.url) < 8 * 3 * len(strings):
            time.sleep(0.005)
        assert server.stop(number) == 0
        assert [future.result(30) for future in futures] == [expected] * 8
        with pytest.raises(URLError):
            translate(server.url, "1 2")
    assert server.messages[-1] == "stopped: all requests were answered\n"
    assert not any("Traceback" in line for line in server.messages)


def accepted_lines(url: str) -> float:
    """Return the number of lines in progress."""
    with urlopen(f"{url}/metrics", timeout=60) as response:
        metrics = response.read().decode()
    return float(metrics.rpartition("\nnmt_lines_in_progress ")[2].split()[0])


def test_server_idle_connection_does_not_delay_the_stop() -> None:
    with (
        serve("--device", "cpu") as server,
        socket.create_connection(("127.0.0.1", server.port)),
        socket.create_connection(("127.0.0.1", server.port)) as half,
    ):
        half.sendall(b"POST /translate HTTP/1.1\r\nHost: a\r\n")
        assert translate(server.url, "1 2 3") == "3 2 1"
        assert server.stop() == 0


def test_server_disconnected_client_cancels_its_work(server: ServerProcess) -> None:
    text = "\n".join(["1 2 3 4 5 6 7"] * 900)
    body = urlencode({"q": text, **PAIR}).encode()
    head = f"POST /translate HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(head.encode() + body)
        while accepted_lines(server.url) < 900:
            time.sleep(0.005)
    while accepted_lines(server.url):
        time.sleep(0.005)
    assert translate(server.url, "1 2 3") == "3 2 1"
    records = [json.loads(line) for line in server.messages if line.startswith("{")]
    assert [record["status"] for record in records if record["characters"] == len(text)] == [499]


def test_server_slow_client_gets_408_and_delays_nobody() -> None:
    with serve("--device", "cpu", "--timeout", 1) as server:
        client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        client.putrequest("POST", "/translate")
        client.putheader("Content-Length", "100")
        client.endheaders(b"q=1")
        assert translate(server.url, "1 2 3") == "3 2 1"
        response = client.getresponse()
        assert response.status == 408
        assert json.load(response) == {"error": "expected the body within 1 s"}
        client.close()


def test_server_large_body_gets_413_over_a_socket(server: ServerProcess) -> None:
    body = b"q=" + b"1" * 10_000_000
    for headers in ({"Content-Length": str(len(body))}, {"Transfer-Encoding": "chunked"}):
        client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        parts = [body[i : i + 100_000] for i in range(0, len(body), 100_000)]
        client.request(
            "POST",
            "/translate",
            iter(parts),
            headers,
            encode_chunked="Transfer-Encoding" in headers,
        )
        assert client.getresponse().status == 413
        client.close()
    assert translate(server.url, "1 2 3") == "3 2 1"


def test_server_many_half_open_connections_are_harmless(server: ServerProcess) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limits[1], limits[1]))
    with ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
        for i in range(1000):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            if i % 2:
                client.sendall(b"POST /translate HTTP/1.1\r\nContent-Le")
        assert translate(server.url, "1 2 3") == "3 2 1"


@pytest.mark.parametrize(
    "data", [b"\x16\x03\x01\x02", b"GET / HTTP/9.9\r\n\r\n", b"\xff" * 5000, b"GET \r\n\r\n"]
)
def test_server_bytes_that_are_not_http_are_refused(server: ServerProcess, data: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        answer = client.recv(1000)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400")
    assert translate(server.url, "1 2 3") == "3 2 1"


def test_server_keeps_a_connection_for_several_requests(server: ServerProcess) -> None:
    client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    for text, translation in (("1 2", "2 1"), ("3 4", "4 3")):
        headers = {"Content-Type": "application/json"}
        client.request("POST", "/translate", json.dumps({"q": text, **PAIR}), headers)
        assert json.load(client.getresponse()) == {"translatedText": translation}
    client.close()


def test_server_urls_behind_a_proxy_name_the_public_host(server: ServerProcess) -> None:
    boundary = "x"
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n{value}\r\n'
        for name, more, value in (
            ("source", "", "en"),
            ("target", "", "fr"),
            ("file", '; filename="a.txt"', "1 2 3"),
        )
    ]
    body = ("".join(parts) + f"--{boundary}--\r\n").encode()
    headers = {
        "Content-Type": f"multipart/form-data; boundary={boundary}",
        "Host": "translate.example",
        "X-Forwarded-Proto": "https",
    }
    with urlopen(Request(f"{server.url}/translate_file", body, headers), timeout=60) as response:
        url = json.load(response)["translatedFileUrl"]
    assert url.startswith("https://translate.example/download_file/")


def test_connection_without_complete_header_is_closed() -> None:
    class Hasty(HeaderLimitProtocol):
        header_seconds = 0.3

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

    config = uvicorn.Config(answer, http=Hasty, log_config=None, lifespan="off", ws="none")
    server = uvicorn.Server(config)
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        ThreadPoolExecutor(1) as pool,
    ):
        address = listener.getsockname()
        future = pool.submit(server.run, [listener])
        for data in (b"", b"GET / HTTP/1.1\r\nHost: a\r\n"):
            with socket.create_connection(address, timeout=60) as half_open:
                half_open.sendall(data)
                assert half_open.recv(100) == b""
        client = http.client.HTTPConnection(*address, timeout=60)
        client.connect()
        connection = client.sock
        for _ in range(2):  # a connection that waits for its next request stays open
            client.request("GET", "/")
            assert client.getresponse().read() == b"ok"
            time.sleep(0.5)
        assert client.sock is connection
        client.close()
        server.should_exit = True
        future.result(60)
