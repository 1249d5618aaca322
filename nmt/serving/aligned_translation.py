"""Translations of segments with links between characters of the source and the translation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Span = tuple[int, int]
"""Begin and end (exclusive) of characters in a text."""


@dataclass(frozen=True)
class AlignedTranslation:
    """The translation of a segment."""

    text: str
    links: Sequence[tuple[Span, Span]] = ()
    """Links between a span of the source segment and a span of `text`, the surest first. Empty if
    the model has no attention."""
