"""Settings given outside the config file, with the name that error messages use for them."""

from __future__ import annotations

import json
from typing import Any

from nmt.errors import ConfigError


class Override(str):
    """A setting as `--set` takes it, `decode.beam_size=8`, that a flag or an argument gave.

    `origin` is the name that the user typed, such as `--beam`.
    """

    origin: str

    def __new__(cls, setting: str, origin: str) -> Override:
        """Create the setting."""
        override = super().__new__(cls, setting)
        override.origin = origin
        return override

    @classmethod
    def of(cls, setting: str, value: Any, origin: str) -> Override:
        """Return the override that gives `setting` this value; raise ConfigError if YAML cannot."""
        try:
            return cls(f"{setting}={json.dumps(value, ensure_ascii=False)}", origin)
        except (TypeError, ValueError):
            kind = type(value).__name__
            raise ConfigError(
                [f"{origin}: expected a number, text or list, got a {kind}"]
            ) from None


def label(override: str) -> str:
    """Return the name of an override in an error message: the flag, or the `--set` as typed."""
    return override.origin if isinstance(override, Override) else f"--set {override}"
