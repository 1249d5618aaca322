"""Record each request: a line of JSON in the access log, and metrics for Prometheus.

Neither contains texts, query strings or API keys.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nmt.core import files
from nmt.serving.service import CLIENT_CLOSED_REQUEST, Service

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds of the buckets of durations."""


class Metrics:
    """The metrics of a server."""

    def __init__(self, service: Service) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.requests = Counter(
            "nmt_requests",
            "Requests by endpoint and status",
            ["path", "status"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "nmt_request_seconds",
            "Duration of requests",
            ["path"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.characters = Counter(
            "nmt_characters", "Characters of the texts in requests", registry=self.registry
        )
        sentences = Gauge(
            "nmt_sentences",
            "Sentences that wait or are searched",
            ["state"],
            registry=self.registry,
        )
        lines = Gauge(
            "nmt_lines_in_progress", "Lines of all requests in progress", registry=self.registry
        )
        lines.set_function(lambda: service.lines_in_progress)
        sentences.labels("waiting").set_function(lambda: service.count_sentences()[0])
        sentences.labels("running").set_function(lambda: service.count_sentences()[1])


def write_access_log(file: Path | None) -> Callable[[str], None]:
    """Return a function that appends a line to a file, or to stderr for None."""
    if file is None:
        return lambda line: print(line, file=sys.stderr, flush=True)
    return lambda line: files.append_line(file, line)


class RequestRecorder:
    """ASGI middleware that records each request after its response."""

    def __init__(self, app: ASGIApp, metrics: Metrics, write: Callable[[str], None]) -> None:
        self.app, self.metrics, self.write = app, metrics, write

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request to the application and record it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begin = time.perf_counter()
        status = CLIENT_CLOSED_REQUEST

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, send_and_note)
        finally:
            self._record(scope, status, time.perf_counter() - begin)

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        """Update the metrics and write a line of the access log."""
        state = scope.get("state", {})
        path = getattr(scope.get("route"), "path", None)
        self.metrics.requests.labels(path or "other", status).inc()
        self.metrics.seconds.labels(path or "other").observe(seconds)
        characters = state.get("characters", 0)
        self.metrics.characters.inc(characters)
        client = scope.get("client")
        record = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "client": client[0] if client else None,
            "key": state.get("key"),
            "method": scope["method"],
            "path": path or scope["path"],  # without the token of a translated file
            "status": status,
            "ms": round(1000 * seconds, 1),
            "characters": characters,
        }
        self.write(json.dumps(record))
