"""Settings from outside the config file, with the name that error messages use for them."""

from __future__ import annotations

import json
from typing import Any

from nmt.errors import ConfigError


class Override(str):
    """A setting in the form of `--set`, such as `decode.beam_size=8`, from another flag.

    `origin` is the name that the user typed, such as `--beam`.
    """

    origin: str

    def __new__(cls, setting: str, origin: str) -> Override:
        """Create an override from the text KEY=VALUE."""
        override = super().__new__(cls, setting)
        override.origin = origin
        return override

    @classmethod
    def from_value(cls, key: str, value: Any, origin: str) -> Override:
        """Create an override of a dotted key; raise ConfigError if YAML has no such value."""
        try:
            return cls(f"{key}={json.dumps(value, ensure_ascii=False)}", origin)
        except (TypeError, ValueError):
            kind = type(value).__name__
            raise ConfigError(
                [f"{origin}: expected a number, text or list, got a {kind}"]
            ) from None


def override_label(override: str) -> str:
    """Return the name of an override for error messages: a flag, or `--set KEY=VALUE`."""
    return override.origin if isinstance(override, Override) else f"--set {override}"
