"""`nmt config show` and `nmt config schema`."""

from __future__ import annotations

from pathlib import Path

from nmt.config.loader import config_json_schema, format_config, load_config


def show(file: Path, overrides: list[str]) -> None:
    """Print the resolved config."""
    print(format_config(load_config(file, overrides)), end="")


def schema() -> None:
    """Print the JSON schema."""
    print(config_json_schema())
