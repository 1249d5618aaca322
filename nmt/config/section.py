"""What all sections of the schema share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=1, le=10**9)]
"""What is counted; no number of it overflows what it is handed to."""
Depth = Annotated[int, Field(ge=1, le=1000)]
"""Layers."""
Width = Annotated[int, Field(ge=1, le=2**16)]
"""Numbers of a vector."""
Threads = Annotated[int, Field(ge=1, le=1024)]
Rate = Annotated[float, Field(ge=0, lt=1)]
FilePath = Annotated[Path, Field(strict=False)]


class Section(BaseModel):
    """A part of the schema: strict types, no unknown keys, the docstring of a field is its help."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        defer_build=True,
    )
