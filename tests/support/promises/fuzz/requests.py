"""Requests for `nmt serve`: any method, path, query string, header and body, several at once."""

from __future__ import annotations

import functools
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st
from starlette.testclient import TestClient

import nmt
from nmt.serving.app import build_app
from nmt.serving.service import Service, ServiceLimits
from nmt.serving.translation.loading import ModelOptions
from nmt.serving.translation.routes import LanguageRoutes
from tests.support.kept_model import KeptModel, load_in_threads
from tests.support.paths import FROZEN_V1
from tests.support.promises.fuzz.command_runs import TIME_LIMIT, alarm
from tests.support.tiny_runs import digit_strings

MAX_CHARACTERS = 200
OPTIONS = ModelOptions(device="cpu", overrides=("data.src=en", "data.tgt=fr"), batch_wait=0.001)
"""Options of the model of format version 1, which reverses digits."""
PATHS = ["/translate", "/detect", "/suggest", "/translate_file", "/v1/translate", "/v1/explain"]
PATHS += ["/v1/score", "/v1/split", "/languages", "/frontend/settings", "/spec", "/metrics", "/"]
PATHS += ["/health", "/download_file/a/b", "/nothing"]
NAMES = ["q", "source", "target", "format", "alternatives", "api_key", "text", "pairs", "nbest"]
NAMES += ["prefix", "contain", "terms", "protect", "confidence", "alignment", "translation", "beam"]
TYPES = ["application/json", "application/x-www-form-urlencoded", "text/plain", "", "multipart/x"]
TYPES += ["multipart/form-data; boundary=x", "multipart/form-data", "application/json; charset=x"]
FIELDS = ["authorization", "content-encoding", "x-forwarded-for", "x-forwarded-proto", "host"]
FIELDS += ["accept", "origin", "cookie", "expect", "range", "if-none-match", "x"]
LINES = digit_strings(60, seed=11)
"""Lines of requests with a known answer."""


@dataclass(frozen=True)
class FuzzRequest:
    """A request, and the lines that its answer must translate, if it is valid."""

    method: str
    path: str
    content: bytes = b""
    headers: dict[str, bytes] = field(default_factory=dict)
    lines: list[str] | None = None


text = st.text(max_size=12) | st.sampled_from(["en", "fr", "auto", "1 2 3", "html", "<b>x</b> 1\n"])
scalar = st.none() | st.booleans() | st.integers() | st.floats(width=16) | text
value = st.recursive(
    scalar, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3)
)
likely_parameters = st.fixed_dictionaries(
    {"q": text | st.lists(text, max_size=3), "source": text, "target": st.just("fr")},
    optional=dict.fromkeys(NAMES[3:], value),
)
parameters = likely_parameters | st.dictionaries(st.sampled_from(NAMES) | text, value, max_size=5)
multipart_body = st.lists(
    st.tuples(st.sampled_from([*NAMES, "file"]), st.binary(max_size=12), st.booleans()), max_size=4
).map(
    lambda parts: (
        b"".join(
            b'--x\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
            % (name.encode(), b'; filename="a.html"' if is_file else b"", content)
            for name, content, is_file in parts
        )
        + b"--x--\r\n"
    )
)
nested_body = st.builds(
    lambda name, depth, end: f'{{"{name}": {"[" * depth}{end * depth}}}'.encode(),
    st.sampled_from(NAMES),
    st.integers(0, 1200),
    st.sampled_from(["", "]"]),
)
body = (
    st.binary(max_size=40)
    | multipart_body
    | nested_body
    | parameters.map(lambda values: json.dumps(values).encode())
    | parameters.map(lambda values: json.dumps(values, ensure_ascii=False).encode("utf-16"))
)
query_string = st.binary(max_size=12).map(lambda data: "".join(f"%{byte:02x}" for byte in data))
header_value = st.binary(max_size=20).map(lambda data: data.translate(None, b"\0\r\n").strip())
odd_request = st.builds(
    lambda method, path, query, content_type, headers, content: FuzzRequest(
        method, f"{path}?{query}", content, {"content-type": content_type, **headers}
    ),
    st.sampled_from(["POST"] * 4 + ["GET", "PUT", "OPTIONS", "HEAD", "DELETE", "TRACE", "odd"]),
    st.sampled_from(PATHS) | query_string.map(lambda escapes: f"/{escapes}"),
    query_string,
    st.sampled_from(TYPES).map(str.encode) | header_value,
    st.dictionaries(st.sampled_from(FIELDS), header_value, max_size=2),
    body,
)
likely_request = st.builds(
    lambda path, values: FuzzRequest(
        "POST", path, json.dumps(values).encode(), {"content-type": b"application/json"}
    ),
    st.sampled_from(PATHS[:8]),
    likely_parameters,
)


valid_request = st.builds(
    lambda lines: FuzzRequest(
        "POST",
        "/translate",
        json.dumps({"q": lines, "source": "en", "target": "fr"}).encode(),
        lines=lines,
    ),
    st.lists(st.sampled_from(LINES), min_size=1, max_size=3),
)
request_batches = st.lists(
    odd_request | likely_request | valid_request, min_size=1, max_size=6
) | st.lists(valid_request, min_size=2, max_size=6)
"""Requests that are sent at once."""


@functools.cache
def make_client() -> TestClient:
    """Return a client of an application that all examples share."""
    limits = ServiceLimits(max_characters=MAX_CHARACTERS, timeout=TIME_LIMIT)
    service = Service(LanguageRoutes([load_in_threads(FROZEN_V1, OPTIONS, KeptModel)]), limits)
    app = build_app(service, (), lambda line: None)
    return TestClient(app, raise_server_exceptions=False, follow_redirects=False)


@functools.cache
def translate_lines() -> dict[str, str]:
    """Return the translations of LINES without the server."""
    return dict(zip(LINES, nmt.load(FROZEN_V1, device="cpu").translate(LINES), strict=True))


def send_all(requests: list[FuzzRequest]) -> None:
    """Send requests at once, and check the responses."""
    client = make_client()

    def send(request: FuzzRequest) -> Any:
        return client.request(
            request.method, request.path, content=request.content, headers=request.headers
        )

    with alarm(2 * TIME_LIMIT), ThreadPoolExecutor(len(requests)) as pool:
        responses = list(pool.map(send, requests))
    for request, response in zip(requests, responses, strict=True):
        assert response.status_code < 500, (request, response.text)
        assert "Traceback" not in response.text, request
        if request.lines is not None:
            translations = [translate_lines()[line] for line in request.lines]
            assert response.json() == {"translatedText": translations}, request
        if response.status_code >= 400 and request.method != "HEAD":
            assert list(response.json()) == ["error"], request
            assert isinstance(response.json()["error"], str), request
