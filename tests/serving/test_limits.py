"""Limits on requests: keys, rates, lengths, the queue and time."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from nmt.decoding.lines.line import Line
from nmt.decoding.lines.translation import Translation
from nmt.decoding.translator import TranslatorFeatures
from nmt.errors import ConfigError, DataError, RunError
from nmt.serving import request_records
from nmt.serving.admission.api_keys import ApiKeys, add_key
from nmt.serving.admission.rate_limit import RateLimit, client_of_address
from nmt.serving.service import ServiceLimits
from nmt.serving.translated_files import LIFETIME, MAX_BYTES, TranslatedFiles
from nmt.serving.translation.job import Job
from nmt.serving.translation.language_pairs import LanguagePair
from nmt.serving.translation.routes import LanguageRoutes
from nmt.serving.translation.served_model import ServedModel
from tests.support.serving import error_of

PAIR = {"source": "en", "target": "fr"}
TEXT = {"q": "1 2 3", **PAIR}
MakeClient = Callable[..., TestClient]


class ScriptedModel(ServedModel):
    """A model that calls a function instead of a search."""

    def __init__(self, model: ServedModel, act: Callable[[Job], list[list[Translation]]]) -> None:
        self.__dict__.update(model.__dict__)
        self.act = act

    def translate(
        self,
        pair: LanguagePair,
        lines: Sequence[str | Line],
        job: Job,
        n: int = 1,
        features: TranslatorFeatures | None = None,
    ) -> list[list[Translation]]:
        return self.act(job)[: len(lines)] if lines else []

    def close(self) -> None:
        """Keep the model of the session."""


def test_body_over_the_limit_gives_413(make_client: MakeClient) -> None:
    client = make_client(ServiceLimits(max_characters=100))
    error_of(client.post("/translate", content=b"x" * 200_000), 413)

    def parts() -> Any:
        for _ in range(20):
            yield b"x" * 10_000

    error_of(client.post("/translate", content=parts()), 413)
    assert client.post("/translate", json=TEXT).status_code == 200


def test_text_over_the_limit_gives_400(make_client: MakeClient) -> None:
    client = make_client(ServiceLimits(max_characters=10))
    response = client.post("/translate", json={"q": ["1 2 3", "4 5 6 7"], **PAIR})
    assert error_of(response, 400) == "q: expected at most 10 characters, got 12"
    assert client.post("/translate", json={"q": ["1 2 3", "4 5 6"], **PAIR}).status_code == 200


def test_api_keys_are_required_and_named_in_the_log(
    make_client: MakeClient, tmp_path: Path
) -> None:
    file = tmp_path / "keys"
    first, second = add_key(file, "weblate"), add_key(file, "mastodon")
    log: list[str] = []
    client = make_client(log=log, api_keys=ApiKeys.read(file))
    for path in ("/translate", "/detect", "/v1/translate", "/v1/explain", "/translate_file"):
        error_of(client.post(path, json=TEXT), 403)
        error_of(client.post(path, json={**TEXT, "api_key": f"{first}x"}), 403)
    error_of(client.get("/translate", params={"text": "1", **PAIR}), 403)
    assert client.post("/translate", json={**TEXT, "api_key": first}).status_code == 200
    headers = {"authorization": f"Bearer {second}"}
    assert client.post("/translate", json=TEXT, headers=headers).status_code == 200
    assert client.get("/languages").status_code == client.get("/health").status_code == 200
    assert client.get("/frontend/settings").json()["keyRequired"] is True
    names = [record["key"] for record in map(json.loads, log) if record["status"] == 200]
    assert names[:2] == ["weblate", "mastodon"]
    text = "".join(log)
    assert first not in text
    assert second not in text
    assert first not in file.read_text()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "keys: expected at least one key, got none"),
        ("a b\n", "keys:1: expected NAME and a SHA-256 hash, got 'a b'"),
        (
            f"# comment\na {'0' * 64}\na {'1' * 64}\n",
            "keys:3: expected distinct names, got a twice",
        ),
    ],
)
def test_api_keys_invalid_file_is_refused(content: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(content)
    with pytest.raises(DataError) as error:
        ApiKeys.read(file)
    assert message in str(error.value)


def test_add_key_with_used_or_invalid_name_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    add_key(file, "a")
    content = file.read_text()
    with pytest.raises(ConfigError, match="expected a new name, got a"):
        add_key(file, "a")
    with pytest.raises(ConfigError, match="expected 1 to 64 letters"):
        add_key(file, "a b")
    assert file.read_text() == content


def test_rate_limit_gives_429_until_the_time_it_names(make_client: MakeClient) -> None:
    client = make_client(ServiceLimits(rate_limit=2))
    for _ in range(2):
        assert client.post("/translate", json=TEXT).status_code == 200
    response = client.post("/translate", json=TEXT)
    assert error_of(response, 429) == "expected at most 2 requests per minute, got more"
    assert 25 <= int(response.headers["retry-after"]) <= 30
    assert client.get("/health").status_code == 200


def test_rate_limit_counts_each_client_alone() -> None:
    now = 0.0
    limit = RateLimit(60, lambda: now)
    assert [limit.count("a") for _ in range(60)] == [0] * 60
    assert limit.count("a") == 1
    assert limit.count("b") == 0
    now = 1.0
    assert limit.count("a") == 0
    assert limit.count("a") == 1


def test_rate_limit_of_keys_is_separate(make_client: MakeClient, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    keys = [add_key(file, name) for name in "ab"]
    client = make_client(ServiceLimits(rate_limit=1), api_keys=ApiKeys.read(file))
    statuses = [
        client.post("/translate", json={**TEXT, "api_key": key}).status_code
        for key in (keys[0], keys[1], keys[0], "wrong", "wrong")
    ]
    assert statuses == [200, 200, 429, 403, 429]


@pytest.mark.parametrize(
    ("first", "second", "is_same"),
    [
        ("10.0.0.1", "10.0.0.2", False),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("testclient", "testclient", True),
    ],
)
def test_client_of_address_joins_ipv6_networks(first: str, second: str, is_same: bool) -> None:
    assert (client_of_address(first) == client_of_address(second)) is is_same


def test_full_queue_gives_429_and_an_idle_one_accepts(
    make_client: MakeClient, model: ServedModel
) -> None:
    release = threading.Event()
    translation = [[Translation("done", 0.0)]]

    def act(job: Job) -> list[list[Translation]]:
        release.wait(30)
        return translation

    client = make_client(ServiceLimits(max_queue=2), LanguageRoutes([ScriptedModel(model, act)]))
    long_text = {"q": ["1"] * 3, **PAIR}
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(client.post("/translate", json=TEXT)))
    thread.start()
    wait_for_line(client)
    response = client.post("/translate", json=long_text)
    assert error_of(response, 429) == "expected at most 2 lines in the queue, got more"
    assert int(response.headers["retry-after"]) >= 1
    assert client.get("/health").status_code == 200
    release.set()
    thread.join()
    assert answers[0].json() == {"translatedText": "done"}
    translation *= 3
    assert client.post("/translate", json=long_text).status_code == 200


def wait_for_line(client: TestClient) -> None:
    """Wait until the server works on a line."""
    while "nmt_lines_in_progress 1.0" not in client.get("/metrics").text:
        time.sleep(0.01)


def test_timeout_gives_503_and_cancels_the_job(make_client: MakeClient, model: ServedModel) -> None:
    cancelled = threading.Event()

    def act(job: Job) -> list[list[Translation]]:
        while not job.is_cancelled:
            time.sleep(0.01)
        cancelled.set()
        return []

    client = make_client(ServiceLimits(timeout=0.2), LanguageRoutes([ScriptedModel(model, act)]))
    response = client.post("/translate", json=TEXT)
    assert error_of(response, 503) == "expected an answer within 0.2 s"
    assert cancelled.wait(30)


@pytest.mark.parametrize("error", [RunError("secret"), ValueError("secret"), MemoryError("secret")])
def test_model_that_raises_gives_500_without_details(
    error: Exception,
    make_client: MakeClient,
    model: ServedModel,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def act(job: Job) -> list[list[Translation]]:
        raise error

    client = make_client(routes=LanguageRoutes([ScriptedModel(model, act)]))
    assert "secret" not in error_of(client.post("/translate", json=TEXT), 500)
    assert "secret" in capsys.readouterr().err
    assert client.get("/health").status_code == 200


def test_search_that_raises_fails_only_its_requests(
    client: TestClient, model: ServedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise RuntimeError("broken search")

    with monkeypatch.context() as patch:
        patch.setattr(model.shared.engine, "search_queue", fail)
        error_of(client.post("/translate", json={"q": ["1 2 3"] * 5, **PAIR}), 500)
    assert client.post("/translate", json=TEXT).json() == {"translatedText": "3 2 1"}
    assert model.shared.pool.queue.count() == (0, 0)


def test_cors_is_off_by_default(client: TestClient) -> None:
    response = client.post("/translate", json=TEXT, headers={"origin": "https://a.example"})
    assert "access-control-allow-origin" not in response.headers


@pytest.mark.parametrize(
    ("allowed", "expected"),
    [("*", "*"), ("https://a.example", "https://a.example"), ("https://b.example", None)],
)
def test_cors_allows_the_given_origins(
    allowed: str, expected: str | None, make_client: MakeClient
) -> None:
    client = make_client(cors=(allowed,))
    headers = {"origin": "https://a.example"}
    response = client.post("/translate", json=TEXT, headers=headers)
    assert response.headers.get("access-control-allow-origin") == expected
    preflight = {**headers, "access-control-request-method": "POST"}
    response = client.options("/translate", headers=preflight)
    assert response.headers.get("access-control-allow-origin") == expected


def test_access_log_has_no_texts(make_client: MakeClient) -> None:
    log: list[str] = []
    client = make_client(log=log)
    client.get("/translate", params={"text": "sesame", **PAIR})
    client.post("/translate", json={"q": "sesame", **PAIR})
    client.get("/nothing")
    records = [json.loads(line) for line in log]
    assert [(r["method"], r["path"], r["status"], r["characters"]) for r in records] == [
        ("GET", "/translate", 200, 6),
        ("POST", "/translate", 200, 6),
        ("GET", "/nothing", 404, 0),
    ]
    assert "sesame" not in "".join(log)


def test_access_log_has_no_tokens_of_files(make_client: MakeClient) -> None:
    log: list[str] = []
    client = make_client(log=log)
    files = {"file": ("sesame.txt", b"1 2 3")}
    answer = client.post("/translate_file", data=PAIR, files=files).json()
    assert client.get(answer["translatedFileUrl"]).content == b"3 2 1"
    assert json.loads(log[-1])["path"] == "/download_file/{token}/{name}"
    assert "sesame" not in "".join(log)


def test_access_log_continues_in_a_new_file_after_a_rename(tmp_path: Path) -> None:
    file, old_file = tmp_path / "log", tmp_path / "log.1"
    write = request_records.write_access_log(file)
    write("first")
    write("second")
    file.rename(old_file)
    write("third")
    assert old_file.read_text() == "first\nsecond\n"
    assert file.read_text() == "third\n"


def test_metrics_count_requests_and_characters(make_client: MakeClient) -> None:
    client = make_client()
    client.post("/translate", json=TEXT)
    client.post("/translate", json={})
    client.get("/some/path")
    metrics = client.get("/metrics").text
    assert 'nmt_requests_total{path="/translate",status="200"} 1.0' in metrics
    assert 'nmt_requests_total{path="/translate",status="400"} 1.0' in metrics
    assert 'nmt_requests_total{path="other",status="404"} 1.0' in metrics
    assert "nmt_characters_total 5.0" in metrics
    assert 'nmt_sentences{state="waiting"} 0.0' in metrics


def test_translated_files_expire_and_are_bounded() -> None:
    now = 0.0
    store = TranslatedFiles(lambda: now)
    first = store.add("a", b"x")
    assert store.find(first) is not None
    now = LIFETIME + 1
    assert store.find(first) is None
    tokens = [store.add("a", b"x" * (MAX_BYTES // 2)) for _ in range(3)]
    assert [store.find(token) is None for token in tokens] == [True, False, False]
