"""Run the application on a socket until SIGTERM or SIGINT."""

from __future__ import annotations

import ipaddress
import logging
import math
import resource
import signal
import socket
from types import FrameType

import uvicorn
from fastapi import FastAPI

from nmt.errors import ConfigError
from nmt.serving.http_protocol import HeaderLimitProtocol

logger = logging.getLogger(__name__)

BACKLOG = 2048
"""Number of connections that wait until they are accepted."""
KEEP_ALIVE_SECONDS = 75
"""Seconds until an idle connection is closed: longer than a proxy keeps it, so that it does not
send a request to a closed connection."""

GRACE_SECONDS = 5
"""Seconds after the time limit of requests until a server that stops closes all connections."""


def bind_socket(host: str, port: int) -> socket.socket:
    """Return a socket with this address; port 0 is any free one.

    Raises ConfigError if the host is unknown or the port is in use.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError, OverflowError) as error:
        raise ConfigError(
            [f"--host: expected an address of this machine, got {host!r} ({error})"]
        ) from None
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise ConfigError(
            [f"--port: expected a free port of {host}, got {port} ({error.strerror})"]
        ) from None
    return listener


def is_public(host: str) -> bool:
    """Return whether other machines can reach a server with this host."""
    if host == "localhost":
        return False
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return True


def build_server(app: FastAPI, timeout: float) -> uvicorn.Server:
    """Return a server that answers each request within `timeout` seconds.

    After this time and GRACE_SECONDS it stops, even if clients do not read their responses.
    """
    return uvicorn.Server(
        uvicorn.Config(
            app,
            http=HeaderLimitProtocol,
            log_config=None,
            log_level="error",
            access_log=False,
            server_header=False,
            ws="none",
            lifespan="on",
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=math.ceil(timeout) + GRACE_SECONDS,
            backlog=BACKLOG,
        )
    )


def run_server(server: uvicorn.Server, listener: socket.socket) -> None:
    """Answer requests until SIGTERM or SIGINT.

    Then refuse new ones, finish those in progress, and return. A second SIGINT does not wait.
    """
    _raise_file_limit()

    def stop(number: int, frame: FrameType | None) -> None:
        server.should_exit = True

    # uvicorn installs its own handlers when it runs. It raises the signal again after it has
    # stopped, so that the handlers from before are called.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    listener.listen(BACKLOG)
    host, port, *_ = listener.getsockname()
    logger.info(f"listening on http://{f'[{host}]' if ':' in host else host}:{port}")
    server.run([listener])
    logger.info("stopped: all requests were answered")


def _raise_file_limit() -> None:
    """Allow as many open connections as the system permits."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
