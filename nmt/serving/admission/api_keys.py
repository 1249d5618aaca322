"""API keys: random tokens, of which a file has the SHA-256 hashes.

Each line of the file is `NAME HASH`. A key has 256 random bits, so that a fast hash is safe: no one
can try all keys.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from pathlib import Path

from nmt.core import files
from nmt.data.text.reader import read_lines
from nmt.errors import ConfigError, DataError, show_value

KEY_BYTES = 32
NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
LINE = re.compile(rf"({NAME.pattern})[ \t]+([0-9a-f]{{64}})")


class ApiKeys:
    """The API keys that a server accepts."""

    def __init__(self, hashes: dict[str, str]) -> None:
        """Accept the keys with these hashes, by name."""
        self._hashes = hashes

    @classmethod
    def read(cls, file: Path) -> ApiKeys:
        """Read a file of API keys; raise DataError for an invalid line or a file without keys."""
        hashes: dict[str, str] = {}
        for number, line in enumerate(read_lines(file), 1):
            if not line.strip() or line.startswith("#"):
                continue
            match = LINE.fullmatch(line.strip())
            if match is None:
                raise DataError(
                    f"{file}:{number}: expected NAME and a SHA-256 hash, got {show_value(line)} "
                    "(`nmt serve --new-key NAME` writes such a line)"
                )
            if match[1] in hashes:
                raise DataError(f"{file}:{number}: expected distinct names, got {match[1]} twice")
            hashes[match[1]] = match[2]
        if not hashes:
            raise DataError(f"{file}: expected at least one key, got none")
        return cls(hashes)

    def has_name(self, name: str) -> bool:
        """Return whether a key has this name."""
        return name in self._hashes

    def find_name(self, key: str) -> str | None:
        """Return the name of a key, or None if it is wrong. The time does not depend on the key."""
        digest = _hash_key(key)
        names = [name for name, other in self._hashes.items() if hmac.compare_digest(digest, other)]
        return names[0] if names else None


def add_key(file: Path, name: str) -> str:
    """Add a new key to a file, which may not exist, and return the key.

    Raises ConfigError if the name is invalid, and DataError if the file or the name is.
    """
    if not NAME.fullmatch(name):
        raise ConfigError(
            [
                "--new-key: expected 1 to 64 letters, digits, dots, underscores and hyphens, "
                f"got {show_value(name)}"
            ]
        )
    text = ""
    if file.exists():
        text = "".join(f"{line}\n" for line in read_lines(file))
        if text.strip() and ApiKeys.read(file).has_name(name):
            raise ConfigError([f"--new-key: expected a new name, got {name}, which {file} has"])
    key = secrets.token_urlsafe(KEY_BYTES)
    files.write_text(file, f"{text}{name} {_hash_key(key)}\n")
    return key


def _hash_key(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8")).hexdigest()
