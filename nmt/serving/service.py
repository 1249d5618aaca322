"""The state that all endpoints share, and the model work of a request outside the event loop."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from fastapi import HTTPException, Request

from nmt.errors import ConfigError, DataError
from nmt.serving.admission.api_keys import ApiKeys
from nmt.serving.admission.rate_limit import RateLimit, client_of_address
from nmt.serving.request_values import P, parse_parameters, read_values
from nmt.serving.translated_files import TranslatedFiles
from nmt.serving.translation.job import Job, JobCancelledError
from nmt.serving.translation.routes import LanguageRoutes, Route, UnsupportedLanguageError

logger = logging.getLogger(__name__)

THREADS = 128
"""Maximum number of requests in progress; further ones wait."""
CLIENT_CLOSED_REQUEST = 499
"""Status in the access log after the client has disconnected, the same as that of nginx."""
BYTES_PER_CHARACTER = 12
"""Maximum number of bytes of a character in a request: a JSON escape of a surrogate pair."""
MAX_OTHER_BYTES = 100_000
"""Maximum number of bytes of a request in addition to its text."""
RETRY_SECONDS = 1
"""Seconds after which a client may retry if the queue was full."""

T = TypeVar("T")


@dataclass(frozen=True)
class ServiceLimits:
    """Limits on requests."""

    max_characters: int = 50_000
    """Maximum number of characters of a request."""
    max_queue: int = 1000
    """Maximum number of lines of all requests in progress. An idle server accepts more."""
    timeout: float = 60.0
    """Maximum number of seconds to receive a request, and to answer it."""
    rate_limit: int | None = None
    """Maximum number of requests of a client per minute; None for no limit."""

    @property
    def max_body_bytes(self) -> int:
        """Maximum number of bytes of a request body."""
        return self.max_characters * BYTES_PER_CHARACTER + MAX_OTHER_BYTES


class Service:
    """Translates for the endpoints, within the limits."""

    def __init__(
        self, routes: LanguageRoutes, limits: ServiceLimits, api_keys: ApiKeys | None = None
    ) -> None:
        """Serve the models of `routes`; without `api_keys`, everyone may use them."""
        self.routes = routes
        self.limits = limits
        self.api_keys = api_keys
        self.translated_files = TranslatedFiles()
        self.lines_in_progress = 0
        self._rate_limit = RateLimit(limits.rate_limit) if limits.rate_limit else None
        # forced decoding in these threads uses one CPU thread each
        self._threads = ThreadPoolExecutor(THREADS, "request", torch.set_num_threads, (1,))

    def close(self) -> None:
        """Finish the work in progress, and end all threads."""
        self._threads.shutdown()
        for model in self.routes.models:
            model.close()

    def count_sentences(self) -> tuple[int, int]:
        """Return the numbers of waiting and of running sentences of all models."""
        queues = {model.shared.pool.queue for model in self.routes.models}
        counts = [queue.count() for queue in queues]
        return sum(waiting for waiting, _ in counts), sum(running for _, running in counts)

    async def read(self, request: Request, parameters: type[P]) -> P:
        """Read and authorize a request, and return its parameters."""
        values = await read_values(request, self.limits.timeout)
        self.authorize(request, values)
        return parse_parameters(parameters, values)

    def authorize(self, request: Request, values: dict[str, Any]) -> None:
        """Raise HTTPException with 403 for a wrong or missing key, or 429 for too many requests.

        A key is the parameter `api_key` or a bearer token.
        """
        address = request.client.host if request.client else ""
        client = client_of_address(address)
        name = None
        if self.api_keys is not None:
            key = values.get("api_key")
            scheme, _, token = request.headers.get("authorization", "").partition(" ")
            if not key and scheme.lower() == "bearer":
                key = token.strip()
            name = self.api_keys.find_name(key) if isinstance(key, str) else None
            if name is not None:
                client = f"key {name}"
                request.state.key = name
        if self._rate_limit is not None and (seconds := self._rate_limit.count(client)):
            message = f"expected at most {self.limits.rate_limit} requests per minute, got more"
            raise HTTPException(429, message, {"Retry-After": str(seconds)})
        if self.api_keys is not None and name is None:
            raise HTTPException(403, "api_key: expected a valid API key, got a wrong or no key")

    def check_length(self, request: Request, texts: list[str]) -> None:
        """Raise HTTPException with 400 if texts are too long; note their length for the log."""
        characters = sum(map(len, texts))
        request.state.characters = characters
        if characters > self.limits.max_characters:
            raise HTTPException(
                400,
                f"q: expected at most {self.limits.max_characters:,} characters, "
                f"got {characters:,}",
            )

    def find_route(self, source: str, target: str) -> Route:
        """Return the route between two languages; raise HTTPException with 400 without one."""
        try:
            return self.routes.find(source, target)
        except UnsupportedLanguageError as error:
            raise HTTPException(400, str(error)) from None

    async def run(self, request: Request, lines: int, work: Callable[[Job], T]) -> T:
        """Do model work on a number of lines in a thread, and return its result.

        The job is cancelled if the client disconnects or the time limit passes. Raises
        HTTPException if the work fails: with 400 for invalid input, with 429 if too many lines are
        in progress, with 500 for defects, which are logged, and with 503 after the time limit.
        """
        if self.lines_in_progress and self.lines_in_progress + lines > self.limits.max_queue:
            message = f"expected at most {self.limits.max_queue:,} lines in the queue, got more"
            raise HTTPException(429, message, {"Retry-After": str(RETRY_SECONDS)})
        job = Job()
        self.lines_in_progress += lines
        future = self._threads.submit(work, job)
        result = asyncio.wrap_future(future)
        disconnect = asyncio.ensure_future(_wait_for_disconnect(request))
        try:
            await asyncio.wait(
                (result, disconnect),
                timeout=self.limits.timeout,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if result.done():
                return self._result(result)
            if disconnect.done():
                raise HTTPException(CLIENT_CLOSED_REQUEST, "the client has disconnected")
            raise HTTPException(503, f"expected an answer within {self.limits.timeout:g} s")
        finally:
            disconnect.cancel()
            if not result.done():
                job.cancel()
                result.cancel()
            self.lines_in_progress -= lines

    def _result(self, result: asyncio.Future[T]) -> T:
        """Return the result of model work, or convert its error."""
        try:
            return result.result()
        except HTTPException:
            raise
        except (ConfigError, DataError) as error:
            raise HTTPException(400, str(error)) from None
        except UnsupportedLanguageError as error:
            raise HTTPException(400, str(error)) from None
        except JobCancelledError:
            raise HTTPException(503, "the server is shutting down") from None
        except Exception as error:
            details = "".join(traceback.format_exception(error))
            logger.error(f"a request failed:\n{details.rstrip()}")
            raise HTTPException(500, "internal error: the server has logged the details") from None


async def _wait_for_disconnect(request: Request) -> None:
    """Wait until the client of a request, of which the body has been read, disconnects."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
