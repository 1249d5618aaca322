"""Terminology: required translations of words and phrases of the source."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from nmt.data.text.normalization import Normalizer
from nmt.data.text.reader import read_lines
from nmt.data.text.word_boundaries import is_whole_word, is_word_character
from nmt.errors import DataError, show_value


class SpanConstraint(NamedTuple):
    """A span of a source line and the text that its translation must contain."""

    begin: int
    end: int
    target: str


class Terminology:
    """Required translations of source terms. Case is ignored on the source side."""

    def __init__(self, targets: Mapping[str, str], normalizer: Normalizer | None = None) -> None:
        """Build the terminology from a mapping of source terms to their translations.

        With a normalizer, a term matches wherever the normalized line equals the normalized term.
        Raises DataError if a term or translation is blank, or if a term has two translations.
        """
        self.originals, self.normalizer = dict(targets), normalizer
        self.targets: dict[str, str] = {}
        for source, target in targets.items():
            _add_term(self.targets, source if normalizer is None else normalizer(source), target)
        self._sources_by_first_word: defaultdict[str, list[str]] = defaultdict(list)
        for source in sorted(self.targets, key=len, reverse=True):
            _, first_word = next(_words(source))
            self._sources_by_first_word[first_word].append(source)
        texts = (text for pair in self.targets.items() for text in pair)
        self.numbers = {number for text in texts for number in re.findall(r"\d+", text)}
        """All numbers in terms and translations."""

    def find(self, line: str) -> list[SpanConstraint]:
        """Return the constraints of all terms in a source line, in order; spans index `line`.

        A term matches whole words. Of overlapping terms, the first counts, and of those that begin
        at the same position, the longest.
        """
        if self.normalizer is None:
            return self._find(line)
        aligned = self.normalizer.normalize_with_spans(line)
        return [
            SpanConstraint(*aligned.original_span(begin, end), target)
            for begin, end, target in self._find(aligned.text)
        ]

    def normalized_by(self, normalizer: Normalizer | None) -> Terminology:
        """Return the same terminology for lines that `normalizer` normalizes before encoding."""
        return Terminology(self.originals, normalizer)

    def _find(self, line: str) -> list[SpanConstraint]:
        """Return the constraints of a normalized line; spans index this line."""
        constraints: list[SpanConstraint] = []
        text = fold_case(line)
        for begin, word in _words(text):
            if constraints and begin < constraints[-1].end:
                continue
            for source in self._sources_by_first_word.get(word, ()):
                end = begin + len(source)
                if text.startswith(source, begin) and is_whole_word(text, begin, end):
                    constraints.append(SpanConstraint(begin, end, self.targets[source]))
                    break
        return constraints


def _words(text: str) -> Iterator[tuple[int, str]]:
    """Yield the position and text of all words, and of all characters outside words."""
    position = 0
    for is_word, characters in groupby(text, is_word_character):
        for word in ["".join(characters)] if is_word else characters:
            yield position, word
            position += len(word)


def fold_case(text: str) -> str:
    """Return the text in one case, with the same number of characters."""
    return "".join(map(_fold_character, text))


@cache
def _fold_character(character: str) -> str:
    for folded in (character.casefold(), character.lower()):
        if len(folded) == 1:
            return folded
    return character


def read_terminology(file: Path) -> Terminology:
    """Read a TSV file with a source term and its translation on each line.

    Equal lines count once. Raises DataError with the line number if a line is blank or has other
    columns, or if a term has two translations.
    """
    targets: dict[str, str] = {}
    """Translations by source term with folded case."""
    for number, line in enumerate(read_lines(file), 1):
        columns = [column.strip() for column in line.split("\t")]
        if len(columns) != 2 or not all(columns):
            raise DataError(
                f"{file}:{number}: expected a source term, a tab and its translation, "
                f"got {show_value(line)}"
            )
        source, target = columns
        _add_term(targets, source, target, f"{file}:{number}: ")
    return Terminology(targets)


def _add_term(targets: dict[str, str], source: str, target: str, location: str = "") -> None:
    """Add a translation to `targets` in place; the keys are source terms with folded case.

    Raises DataError, with `location` before the message, if source or target is blank, or if the
    term has another translation.
    """
    if not source.strip() or not target.strip():
        raise DataError(
            f"{location}expected a term and its translation, got {show_value((source, target))}"
        )
    first_target = targets.setdefault(fold_case(source), target)
    if first_target != target:
        raise DataError(
            f"{location}expected one translation of {source!r}, got {first_target!r} and {target!r}"
        )
