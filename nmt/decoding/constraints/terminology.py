"""Terms: what a word of the source must become."""

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
from nmt.data.text.word_boundaries import ties, whole
from nmt.errors import DataError, show_value


class SpanConstraint(NamedTuple):
    """What of a source line demands something of its translation."""

    begin: int
    end: int
    demanded: str


class Terminology:
    """Translations of words and phrases of the source, in upper or lower case."""

    def __init__(self, targets: Mapping[str, str], normalizer: Normalizer | None = None) -> None:
        """Take target by source; DataError where a side is blank, or a source has two targets.

        With a normalizer, terms are found wherever a line is equal to them once it is normalized.
        """
        self.originals, self.normalizer = dict(targets), normalizer
        self.targets: dict[str, str] = {}
        for source, target in targets.items():
            _add(self.targets, source if normalizer is None else normalizer(source), target)
        self._by_word: defaultdict[str, list[str]] = defaultdict(list)
        for source in sorted(self.targets, key=len, reverse=True):
            _, word = next(_words(source))
            self._by_word[word].append(source)
        texts = (text for pair in self.targets.items() for text in pair)
        self.numbers = {number for text in texts for number in re.findall(r"\d+", text)}
        """All that stand on either side."""

    def of(self, line: str) -> list[SpanConstraint]:
        """Return where terms stand in a source line, and their translations.

        Places are those of the line as it is.

        A term stands there as whole words, in upper or lower case; of two that overlap the one
        that begins first counts, and of those the longer.
        """
        aligned = None if self.normalizer is None else self.normalizer.aligned(line)
        if aligned is None:
            return self._of(line)
        return [
            SpanConstraint(*aligned.span(begin, end), target)
            for begin, end, target in self._of(aligned.text)
        ]

    def normalized_by(self, normalizer: Normalizer | None) -> Terminology:
        """Return the same terms for lines that are normalized before they are read."""
        return Terminology(self.originals, normalizer)

    def _of(self, line: str) -> list[SpanConstraint]:
        found: list[SpanConstraint] = []
        text = fold_case(line)
        for begin, word in _words(text):
            if found and begin < found[-1].end:
                continue
            for source in self._by_word.get(word, ()):
                end = begin + len(source)
                if text.startswith(source, begin) and whole(text, begin, end):
                    found.append(SpanConstraint(begin, end, self.targets[source]))
                    break
        return found


def _words(text: str) -> Iterator[tuple[int, str]]:
    """Yield words and other letters, each with its place."""
    place = 0
    for one_word, letters in groupby(text, ties):
        for word in ["".join(letters)] if one_word else letters:
            yield place, word
            place += len(word)


def fold_case(text: str) -> str:
    """Return a text with its letters in one case, as many as there were."""
    return "".join(map(_one_case, text))


@cache
def _one_case(letter: str) -> str:
    for form in (letter.casefold(), letter.lower()):
        if len(form) == 1:
            return form
    return letter


def read_terminology(file: Path) -> Terminology:
    """Read a TSV of two columns, source and target.

    Raises DataError, with the line, where it has other columns, a blank one, or a source twice with
    different targets.
    """
    targets: dict[str, str] = {}
    for number, line in enumerate(read_lines(file), 1):
        columns = [column.strip() for column in line.split("\t")]
        if len(columns) != 2 or not all(columns):
            raise DataError(
                f"{file}:{number}: expected a source term, a tab and its translation, "
                f"got {show_value(line)}"
            )
        source, target = columns
        _add(targets, source, target, f"{file}:{number}: ")
    return Terminology(targets)


def _add(targets: dict[str, str], source: str, target: str, place: str = "") -> None:
    """Put a term to others; DataError where a side is blank, or it is there with another target."""
    if not source.strip() or not target.strip():
        raise DataError(
            f"{place}expected a term and its translation, got {show_value((source, target))}"
        )
    known = targets.setdefault(fold_case(source), target)
    if known != target:
        raise DataError(
            f"{place}expected one translation of {source!r}, got {known!r} and {target!r}"
        )
