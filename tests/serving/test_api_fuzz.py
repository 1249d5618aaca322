"""Arbitrary requests: every answer is a result, or an error as JSON, and never a defect."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from nmt.serving.service import ServiceLimits

PATHS = ("/translate", "/detect", "/suggest", "/translate_file", "/v1/translate", "/v1/explain")
PATHS += ("/v1/score", "/v1/split", "/languages", "/download_file/a/b", "/nothing")
NAMES = ("q", "source", "target", "format", "alternatives", "api_key", "text", "pairs", "nbest")
NAMES += ("prefix", "contain", "terms", "protect", "confidence", "alignment", "translation", "beam")
TYPES = ("application/json", "application/x-www-form-urlencoded", "text/plain", "", "multipart/x")
TYPES += ("multipart/form-data; boundary=x", "multipart/form-data", "application/json; charset=x")

text = st.text(max_size=12) | st.sampled_from(["en", "fr", "auto", "1 2 3", "html", "<b>x</b> 1\n"])
scalar = st.none() | st.booleans() | st.integers() | st.floats(width=16) | text
value = st.recursive(
    scalar, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3)
)
likely = st.fixed_dictionaries(
    {"q": text | st.lists(text, max_size=3), "source": text, "target": st.just("fr")},
    optional=dict.fromkeys(NAMES[3:], value),
)
parameters = likely | st.dictionaries(st.sampled_from(NAMES) | text, value, max_size=5)
multipart = st.lists(
    st.tuples(st.sampled_from(NAMES), st.binary(max_size=12), st.booleans()), max_size=4
).map(
    lambda parts: (
        b"".join(
            b'--x\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
            % (name.encode(), b'; filename="a.txt"' if is_file else b"", content)
            for name, content, is_file in parts
        )
        + b"--x--\r\n"
    )
)
body = (
    st.binary(max_size=40) | multipart | parameters.map(lambda values: json.dumps(values).encode())
)
FUZZ = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture
def fuzzed(make_client: Any) -> TestClient:
    client: TestClient = make_client(ServiceLimits(max_characters=200))
    return client


def check(response: Any) -> None:
    """Check that a response is no defect, and that an error is a JSON object with its text."""
    assert response.status_code < 500, response.text
    if response.status_code >= 400:
        assert list(response.json()) == ["error"]
        assert isinstance(response.json()["error"], str)


@FUZZ
@given(
    method=st.sampled_from(["POST", "POST", "POST", "GET", "PUT", "OPTIONS"]),
    path=st.sampled_from(PATHS),
    content_type=st.sampled_from(TYPES),
    content=body,
    query=st.binary(max_size=12),
)
def test_fuzz_any_request_gets_an_answer(
    fuzzed: TestClient, method: str, path: str, content_type: str, content: bytes, query: bytes
) -> None:
    url = f"{path}?{''.join(f'%{byte:02x}' for byte in query)}"
    headers = {"content-type": content_type}
    check(fuzzed.request(method, url, content=content, headers=headers))


@FUZZ
@given(path=st.sampled_from(PATHS[:7]), values=likely)
def test_fuzz_likely_parameters_get_an_answer(
    fuzzed: TestClient, path: str, values: dict[str, Any]
) -> None:
    headers = {"content-type": "application/json"}
    check(fuzzed.post(path, content=json.dumps(values), headers=headers))
