"""`nmt config show` and `nmt config schema`: print settings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nmt.config.loader import config_json_schema, format_config, load_config
from nmt.errors import ConfigError
from nmt.export.engines import unsupported_settings


@dataclass(frozen=True)
class ConfigShowOptions:
    """Options of `nmt config show`."""

    config: Path
    """Config file or run folder."""
    overrides: list[str]


def show(options: ConfigShowOptions) -> None:
    """Print the resolved config.

    Raises ConfigError if the model cannot be exported to an engine that the config names.
    """
    config = load_config(options.config, options.overrides)
    problems = [
        f"{options.config}: model.{setting}: export: {reason}"
        for engine in config.export
        for setting, reason in unsupported_settings(config.model, engine)
    ]
    if problems:
        raise ConfigError(problems)
    print(format_config(config), end="")


def schema() -> None:
    """Print the JSON schema of the config."""
    print(config_json_schema())
