"""Faults of clients and of the model: the server goes on, and answers the others."""

from __future__ import annotations

import json
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any
from urllib.request import Request, urlopen

import pytest
from starlette.testclient import TestClient

from nmt.serving import server
from nmt.serving.app import build_app
from nmt.serving.http_protocol import MAX_HEADER_BYTES
from nmt.serving.service import Service, ServiceLimits
from nmt.serving.translation.routes import LanguageRoutes
from nmt.serving.translation.served_model import ServedModel
from tests.support.serving import error_of

PAIR = {"source": "en", "target": "fr"}
TEXT = {"q": "1 2 3", **PAIR}
CONNECTIONS = 1000
MakeClient = Callable[..., TestClient]


@pytest.fixture(scope="module")
def address(model: ServedModel) -> Iterator[tuple[str, int]]:
    """Return the address of a server in this process, with a second for each request."""
    with run_server(model, ServiceLimits(timeout=1)) as address:
        yield address


@contextmanager
def run_server(model: ServedModel, limits: ServiceLimits) -> Iterator[tuple[str, int]]:
    """Run a server in this process until the end of the block; it must stop by itself."""
    service = Service(LanguageRoutes([model]), limits)
    http_server = server.build_server(build_app(service, (), lambda line: None), limits.timeout)
    with socket.create_server(("127.0.0.1", 0), backlog=2 * CONNECTIONS) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)  # of all connections
        thread = threading.Thread(target=http_server.run, args=([listener],), daemon=True)
        thread.start()
        yield listener.getsockname()
        http_server.should_exit = True
        thread.join(60)
        assert not thread.is_alive()


def translate(address: tuple[str, int], text: str = "1 2 3") -> str:
    """Translate a text with a new connection."""
    request = Request(
        "http://{}:{}/translate".format(*address),
        json.dumps({"q": text, **PAIR}).encode(),
        {"Content-Type": "application/json"},
    )
    with urlopen(request, timeout=60) as response:
        return str(json.load(response)["translatedText"])


def read_all(client: socket.socket) -> bytes:
    """Return what the server sends until it closes the connection."""
    parts = []
    try:
        while part := client.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass  # the server closed while data was on the way
    return b"".join(parts)


def test_server_body_byte_by_byte_gets_408(address: tuple[str, int]) -> None:
    with socket.create_connection(address, timeout=60) as client:
        client.sendall(b"POST /translate HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n")
        answers: list[bytes] = []
        thread = threading.Thread(target=lambda: answers.append(client.recv(1000)))
        thread.start()
        while thread.is_alive():
            client.sendall(b"q")
            time.sleep(0.02)
        assert answers[0].startswith(b"HTTP/1.1 408 ")
    assert translate(address) == "3 2 1"


def test_server_endless_header_gets_431(address: tuple[str, int]) -> None:
    for line in (b"x: " + b"a" * 10_000 + b"\r\n", b"a" * 10_000):
        with socket.create_connection(address, timeout=60) as client:
            client.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\ny: ")
            try:
                for _ in range(20 * MAX_HEADER_BYTES // len(line)):
                    client.sendall(line)
            except (BrokenPipeError, ConnectionResetError):
                pass
            answer = read_all(client)
        assert answer == b"" or answer.startswith(b"HTTP/1.1 431 ")
    assert translate(address) == "3 2 1"


def test_server_long_valid_header_is_accepted(address: tuple[str, int]) -> None:
    with socket.create_connection(address, timeout=60) as client:
        for _ in range(3):  # the limit counts for each request
            field = b"x: " + b"a" * (MAX_HEADER_BYTES // 2)
            client.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n" + field + b"\r\n\r\n")
            assert client.recv(1000).startswith(b"HTTP/1.1 200 ")


def test_server_many_open_connections_are_harmless(address: tuple[str, int]) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 2 * CONNECTIONS + 500
    if hard != resource.RLIM_INFINITY and hard < needed:
        pytest.skip(f"needs {needed} open files, the limit is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), hard))
    with ExitStack() as stack:
        for i in range(CONNECTIONS):
            client = stack.enter_context(socket.create_connection(address, timeout=60))
            if i % 2:
                client.sendall(b"POST /translate HTTP/1.1\r\nHost: a\r\nContent-Le")
        assert [translate(address, text) for text in ("1 2", "3 4")] == ["2 1", "4 3"]


def test_server_stops_while_a_client_reads_nothing(
    model: ServedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Responses that a client does not read fill all buffers; others are answered."""
    monkeypatch.setattr(server, "GRACE_SECONDS", 0)
    with run_server(model, ServiceLimits(timeout=0.2)) as address, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(address)
        client.settimeout(1)
        try:
            for _ in range(100_000):
                client.sendall(b"GET /spec HTTP/1.1\r\nHost: a\r\n\r\n" * 10)
        except TimeoutError:
            pass  # the server reads no more
        assert translate(address) == "3 2 1"


def test_server_disconnecting_clients_lose_no_other_answer(
    address: tuple[str, int], strings: list[str], translations: list[str]
) -> None:
    body = json.dumps({"q": "\n".join(strings), **PAIR}).encode()
    head = f"POST /translate HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n"

    def disconnect(part: int) -> None:
        with socket.create_connection(address, timeout=60) as client:
            client.sendall((head.encode() + body)[: len(head) + part])

    with ThreadPoolExecutor(8) as pool:
        for part in (1, len(body) // 2, len(body)) * 8:
            pool.submit(disconnect, part)
        answers = list(pool.map(lambda text: translate(address, text), strings[:24]))
    assert answers == translations[:24]


@pytest.mark.parametrize("depth", [300, 500, 900, 100_000])
@pytest.mark.parametrize("parts", ["[]", ('{"a":', "}")])
def test_translate_nested_json_gives_400(
    client: TestClient, depth: int, parts: tuple[str, str]
) -> None:
    begin, end = parts
    nested = begin * depth + "1" * (begin != "[") + end * depth
    for name in ("q", "other"):
        body = f'{{"{name}": {nested}, "source": "en", "target": "fr"}}'
        response = client.post("/translate", content=body)
        error_of(response, 400)
    assert client.post("/translate", json=TEXT).json() == {"translatedText": "3 2 1"}


def test_translate_repeated_keys_use_the_last(client: TestClient) -> None:
    body = '{"q": "4", "source": "en", "target": "fr", "q": "1 2 3"}'
    assert client.post("/translate", content=body).json() == {"translatedText": "3 2 1"}


@pytest.mark.parametrize("text", ["1 \0 2", "\0", "\x1b[31m1", "1 \ufeff\u200b 2", "\U0010ffff"])
def test_translate_control_characters_get_an_answer(client: TestClient, text: str) -> None:
    for parameters in (TEXT, {**TEXT, "format": "html"}):
        response = client.post("/translate", json={**parameters, "q": text})
        assert response.status_code == 200
        assert isinstance(response.json()["translatedText"], str)


def test_translate_deep_or_long_html_gets_an_answer(make_client: MakeClient) -> None:
    client = make_client(ServiceLimits(max_characters=2_000_000))
    text = "x 1 2 3"
    translation = client.post("/translate", json={**TEXT, "q": text}).json()["translatedText"]
    deep = "<div>" * 100_000, "</div>" * 100_000
    long = "<p title='x'>&nbsp;<!-- y --><br></p>\n" * 27_000, ""
    for begin, end in (deep, long):
        html = f"{begin}{text}{end}"
        response = client.post("/translate", json={**TEXT, "q": html, "format": "html"})
        assert response.json() == {"translatedText": f"{begin}{translation}{end}"}


def test_translate_very_long_sentence_delays_no_other(
    client: TestClient, strings: list[str], translations: list[str]
) -> None:
    text = " ".join("123456789"[i % 9] for i in range(2000))
    with ThreadPoolExecutor(5) as pool:
        future = pool.submit(client.post, "/translate", json={**TEXT, "q": text})
        answers = pool.map(
            lambda q: client.post("/translate", json={**TEXT, "q": q}).json(), strings[:12]
        )
        assert [answer["translatedText"] for answer in answers] == translations[:12]
        response = future.result(120)
    assert response.status_code == 200
    assert response.json()["translatedText"].strip()


def test_search_that_raises_at_a_step_fails_only_its_batch(
    client: TestClient,
    model: ServedModel,
    strings: list[str],
    translations: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps = 0

    def fail_at_some_steps() -> None:
        nonlocal steps
        steps += 1
        if steps % 13 == 0:
            raise RuntimeError("broken step")

    def answer(q: str) -> Any:
        return client.post("/translate", json={**TEXT, "q": q})

    with monkeypatch.context() as patch, ThreadPoolExecutor(8) as pool:
        patch.setattr(model.shared.engine, "before_step", fail_at_some_steps)
        responses = list(pool.map(answer, strings))
    assert {response.status_code for response in responses} == {200, 500}
    for response, translation in zip(responses, translations, strict=True):
        if response.status_code == 200:
            assert response.json() == {"translatedText": translation}
        else:
            assert "broken" not in error_of(response, 500)
    assert answer("1 2 3").json() == {"translatedText": "3 2 1"}
    assert model.shared.pool.queue.count() == (0, 0)
