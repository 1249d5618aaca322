"""Texts as lines to translate, between line ends and spaces that stay as they are."""

from __future__ import annotations

import re
from collections.abc import Sequence

from nmt.serving.aligned_translation import AlignedTranslation

LINE = re.compile(r"[^\n]*\n|[^\n]+")
"""A line with its end. As in files, only a line feed ends a line (nmt.data.text.reader)."""


class TextLines:
    """The lines of a text without their leading and trailing white space."""

    def __init__(self, text: str) -> None:
        self.segments: list[str] = []
        """Lines with text, in order; blank lines are left out."""
        self._spaces = [""]
        """White space before each line and after the last, with line ends and blank lines."""
        for raw in LINE.findall(text):
            line = raw.strip()
            begin = len(raw) - len(raw.lstrip())
            self._spaces[-1] += raw[:begin]
            if line:
                self.segments.append(line)
                self._spaces.append(raw[begin + len(line) :])

    def needs_alignment(self, index: int) -> bool:
        """Return False: a line has no markup."""
        return False

    def render(self, translations: Sequence[AlignedTranslation]) -> str:
        """Return the text with a translation in place of each line."""
        first, *spaces = self._spaces
        pairs = zip(translations, spaces, strict=True)
        return first + "".join(translation.text + space for translation, space in pairs)
