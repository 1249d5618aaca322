"""A line to translate."""

from __future__ import annotations

from dataclasses import dataclass

from nmt.errors import DataError


@dataclass(frozen=True)
class Line:
    """A line to translate, with constraints on its translation."""

    text: str
    prefix: str = ""
    """Forced beginning of the translation."""
    phrases: tuple[str, ...] = ()
    """Phrases that the translation must contain; a phrase that is listed twice must occur twice."""

    def __post_init__(self) -> None:
        """Raise DataError if a field has another type."""
        phrases: object = self.phrases
        is_valid = isinstance(phrases, list | tuple) and all(
            isinstance(value, str) for value in (self.text, self.prefix, *phrases)
        )
        if not is_valid:
            raise DataError(
                f"expected a line of text, with a prefix and a list of phrases, got {self}"
            )
