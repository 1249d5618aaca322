"""The web application: endpoints, limits, errors as JSON, and the web page."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Scope

from nmt import __version__
from nmt.core.rendering.pages import render_page
from nmt.serving.admission.body_limit import BodyLimit
from nmt.serving.libretranslate_routes import (
    libretranslate_router,
    list_languages,
    page_settings,
)
from nmt.serving.native_routes import native_router
from nmt.serving.request_records import Metrics, RequestRecorder
from nmt.serving.service import Service

ERROR_SCHEMA = {
    "type": "object",
    "properties": {"error": {"type": "string"}},
    "required": ["error"],
}
ERROR_RESPONSES: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": "Error",
        "content": {"application/json": {"schema": ERROR_SCHEMA}},
    }
}
"""Part of the OpenAPI description of each endpoint."""


def build_app(
    service: Service, cors_origins: Sequence[str], write_access_log: Callable[[str], None]
) -> FastAPI:
    """Return the application. It closes the service at its end.

    Pages of `cors_origins` may call it in browsers; "*" allows all pages.
    """

    @asynccontextmanager
    async def close_at_end(app: FastAPI) -> AsyncIterator[None]:
        yield
        service.close()

    app = FastAPI(
        title="nmt",
        version=__version__,
        openapi_url="/spec",
        docs_url=None,
        redoc_url=None,
        lifespan=close_at_end,
    )
    metrics = Metrics(service)
    routers = [libretranslate_router(service), native_router(service)]
    for router in routers:
        app.include_router(router, responses=ERROR_RESPONSES)

    @app.get("/metrics", response_class=PlainTextResponse)
    async def show_metrics() -> Response:
        """Return the metrics in the format of Prometheus."""
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/", response_class=HTMLResponse)
    async def show_page() -> Response:
        """Return the web page, which runs no scripts but its own and sends requests only here."""
        nonce = secrets.token_urlsafe(16)
        values = {"languages": list_languages(service), "settings": page_settings(service)}
        text = render_page("serving/page/page.html", data=values, nonce=nonce)
        return HTMLResponse(text, headers=_page_headers(nonce))

    async def show_wrong_method(request: Request, error: Exception) -> Response:
        """Return the error with all methods of the path, which can belong to several endpoints."""
        routes = [*app.routes, *(route for router in routers for route in router.routes)]
        return JSONResponse(
            {"error": "Method Not Allowed"}, 405, {"Allow": _allowed_methods(routes, request.scope)}
        )

    app.add_exception_handler(405, show_wrong_method)
    app.add_exception_handler(StarletteHTTPException, _show_http_error)
    app.add_exception_handler(Exception, _show_defect)
    # the last middleware is the outermost
    app.add_middleware(BodyLimit, max_bytes=service.limits.max_body_bytes)
    if cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
        )
    app.add_middleware(RequestRecorder, metrics=metrics, write=write_access_log)
    return app


def _page_headers(nonce: str) -> dict[str, str]:
    """Return the headers of a page of which only elements with the nonce may run or set styles."""
    policy = {
        "default-src": "'none'",
        "script-src": f"'nonce-{nonce}'",
        "style-src": f"'nonce-{nonce}'",
        "connect-src": "'self'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return {
        "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-cache",
    }


def _allowed_methods(routes: Sequence[BaseRoute], scope: Scope) -> str:
    """Return the methods of the routes that have the path of a request, as a header's value."""
    methods: set[str] = set()
    for route in routes:
        if isinstance(route, Route) and route.matches(scope)[0] != Match.NONE:
            methods |= route.methods or set()
    return ", ".join(sorted(methods))


async def _show_http_error(request: Request, error: Exception) -> Response:
    """Return an error as JSON."""
    assert isinstance(error, StarletteHTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


async def _show_defect(request: Request, error: Exception) -> Response:
    """Return an answer without details for a defect, which the server logs."""
    return JSONResponse({"error": "internal error: the server has logged the details"}, 500)
