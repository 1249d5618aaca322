"""Translated files in memory, until they are downloaded or expire."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

MAX_BYTES = 64 * 2**20
"""Maximum size of all files; the oldest ones are removed first."""
LIFETIME = 600.0
"""Seconds until a file is removed."""


@dataclass(frozen=True)
class TranslatedFile:
    """A translated file."""

    name: str
    content: bytes
    expiry: float


class TranslatedFiles:
    """Files by random tokens, so that only the client that knows the token can read its file."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._files: dict[str, TranslatedFile] = {}

    def add(self, name: str, content: bytes) -> str:
        """Store a file, and return its token."""
        token = secrets.token_urlsafe(16)
        self._files[token] = TranslatedFile(name, content, self._clock() + LIFETIME)
        self._remove_old()
        return token

    def find(self, token: str) -> TranslatedFile | None:
        """Return the file of a token, or None if there is none or it was removed."""
        self._remove_old()
        return self._files.get(token)

    def _remove_old(self) -> None:
        size = sum(len(file.content) for file in self._files.values())
        for token, file in list(self._files.items()):
            if file.expiry > self._clock() and size <= MAX_BYTES:
                break
            size -= len(file.content)
            del self._files[token]
