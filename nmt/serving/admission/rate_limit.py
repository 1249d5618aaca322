"""Limit the rate of requests of each client."""

from __future__ import annotations

import ipaddress
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

MAX_CLIENTS = 100_000
"""Maximum number of clients that are remembered; the longest inactive one is forgotten first."""
IPV6_PREFIX = 64
"""Bits of an IPv6 address that identify a client, who usually has all addresses behind them."""


@dataclass
class _Allowance:
    """Requests that a client may send at once (a token bucket)."""

    requests: float
    time: float
    """Time at which `requests` was computed, in seconds."""


class RateLimit:
    """Allows each client a number of requests per minute, which it may also send at once."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._allowances: dict[str, _Allowance] = {}

    def count(self, client: str) -> int:
        """Count a request of a client; return 0, or the seconds to wait if it has too many."""
        now = self._clock()
        allowance = self._allowances.pop(client, _Allowance(self._per_minute, now))
        self._allowances[client] = allowance  # as the last one
        if len(self._allowances) > MAX_CLIENTS:
            del self._allowances[next(iter(self._allowances))]
        earned = (now - allowance.time) * self._per_minute / 60
        allowance.requests = min(self._per_minute, allowance.requests + earned)
        allowance.time = now
        if allowance.requests < 1:
            return math.ceil((1 - allowance.requests) * 60 / self._per_minute)
        allowance.requests -= 1
        return 0


def client_of_address(address: str) -> str:
    """Return the client with an address: an IPv4 address, or the network of an IPv6 address."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, IPV6_PREFIX), strict=False))
