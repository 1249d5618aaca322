"""Refuse request bodies that are too large before they are read."""

from __future__ import annotations

from fastapi import HTTPException
from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class BodyLimit:
    """ASGI middleware that answers 413 to bodies of more than `max_bytes` bytes.

    A body with a Content-Length is refused before it is read, another one when it exceeds the
    limit.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self.app, self.max_bytes = app, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request to the application unless its body is too large."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        length = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
        if length.isdigit() and int(length) > self.max_bytes:
            response = JSONResponse({"error": self._message(int(length))}, 413)
            await response(scope, receive, send)
            return
        received = 0

        async def receive_part() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.max_bytes:
                raise HTTPException(413, self._message(received))
            return message

        await self.app(scope, receive_part, send)

    def _message(self, size: int) -> str:
        return f"the body: expected at most {self.max_bytes:,} bytes, got {size:,} or more"
