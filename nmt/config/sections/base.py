"""Base class and value types of the config sections, and the collector of conflicts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=1, le=10**9)]
"""A positive number of things, small enough for 32-bit integers."""
Depth = Annotated[int, Field(ge=1, le=1000)]
"""Number of layers."""
Width = Annotated[int, Field(ge=1, le=2**16)]
"""Dimension of a vector."""
Threads = Annotated[int, Field(ge=1, le=1024)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
FilePath = Annotated[Path, Field(strict=False)]


class Section(BaseModel):
    """A section of the config: immutable, strictly typed, without unknown keys."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        defer_build=True,
        serialize_by_alias=True,
    )


def setting_names(section: type[BaseModel]) -> list[str]:
    """Return the names of the settings of a section, as YAML has them."""
    return [field.alias or name for name, field in section.model_fields.items()]


class Conflict(NamedTuple):
    """A setting that contradicts another one."""

    key: str
    """Dotted key of the setting, such as `train.lr`."""
    message: str


class ConflictCollector:
    """The conflicts of a config, collected by one call of `error_if` per rule."""

    def __init__(self) -> None:
        self.conflicts: list[Conflict] = []
        self.checked_keys: set[str] = set()
        """Keys of all rules, broken or not."""

    def error(self, key: str, message: str) -> None:
        """Add a conflict of the setting `key`."""
        self.conflicts.append(Conflict(key, message))

    def error_if(self, condition: bool, key: str, message: str) -> None:
        """Add a conflict of the setting `key` if the condition holds."""
        self.checked_keys.add(key)
        if condition:
            self.error(key, message)
