"""Terms: what a word of the source must become, and whether it did."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from nmt.data.text import read_lines
from nmt.decoding.demands import ties
from nmt.errors import DataError


@dataclass(frozen=True)
class Terms:
    """Translations of words and phrases, by the source in lower case."""

    targets: dict[str, str]

    def __post_init__(self) -> None:
        """Raise DataError where a side is blank."""
        for pair in self.targets.items():
            if not all(side.strip() for side in pair):
                raise DataError(f"a term and its translation must not be blank, are {pair}")

    @cached_property
    def _longest_first(self) -> list[str]:
        return sorted(self.targets, key=len, reverse=True)

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        each = (f"({whole_words(source)})" for source in self._longest_first)
        return re.compile("|".join(each), re.IGNORECASE)

    def of(self, line: str) -> list[str]:
        """Return what a source line demands: the translation of each term that stands in it.

        A term stands there as whole words, in upper or lower case; of two that overlap the one
        that begins first counts, and of those the longer.
        """
        if not self.targets:
            return []
        places = (found.lastindex or 1 for found in self._pattern.finditer(line))
        return [self.targets[self._longest_first[place - 1]] for place in places]


def read_terms(file: Path) -> Terms:
    """Read a TSV of two columns, source and target.

    Raises DataError, with the line, where it has other columns, a blank one, or a source twice with
    different targets.
    """
    targets: dict[str, str] = {}
    for number, line in enumerate(read_lines(file), 1):
        columns = [column.strip() for column in line.split("\t")]
        if len(columns) != 2 or not all(columns):
            raise DataError(
                f"{file}:{number}: must be a source term, a tab and its translation, is {line!r}"
            )
        source, target = columns[0].lower(), columns[1]
        if targets.setdefault(source, target) != target:
            raise DataError(
                f"{file}:{number}: {columns[0]!r} must have one translation, has "
                f"{targets[source]!r} and {target!r}"
            )
    return Terms(targets)


def whole_words(phrase: str) -> str:
    """Return a pattern that matches a phrase where no letter or digit makes its words longer."""
    before = r"(?<!\w)" if ties(phrase[0]) else ""
    after = r"(?!\w)" if ties(phrase[-1]) else ""
    return before + re.escape(phrase) + after


def standing(phrase: str, text: str) -> int:
    """Return how often a phrase stands in a text as whole words, overlaps counted."""
    return len(re.findall(f"(?={whole_words(phrase)})", text))
