"""What the doctor looks for, and what it found: a count and the lines of each kind."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

Severity = Literal["error", "warning", "note"]
Place = Literal["src", "tgt", "pair"]

LINES_KEPT = 10_000
"""Line numbers kept of one kind; the count goes on."""
EXAMPLES_KEPT = 5


@dataclass(frozen=True)
class Kind:
    """One thing that can be wrong with parallel text."""

    severity: Severity
    says: str
    """What holds on the lines named."""


KINDS: dict[str, Kind] = {
    "counts": Kind("error", "the two sides have different numbers of lines"),
    "encoding": Kind("error", "not UTF-8"),
    "separator": Kind(
        "error", "holds a character that other programs take for a line end (VT, FF, CR, NEL, ...)"
    ),
    "control": Kind("error", "holds a control character"),
    "blank": Kind("error", "one side is blank"),
    "shifted": Kind("error", "a block of lines fits better some lines up or down"),
    "unrelated": Kind("error", "a block of lines whose sides have nothing to do with each other"),
    "swapped": Kind("error", "each side is in the other's language"),
    "language": Kind("error", "in another language than its side"),
    "leaked": Kind("error", "training line that stands in a test or validation set"),
    "leaked_nearly": Kind("error", "training line that nearly stands in a test or validation set"),
    "entity": Kind("error", "holds an HTML entity"),
    "related_language": Kind("warning", "in a language that is easily confused with its side's"),
    "mark": Kind("warning", "begins with a byte order mark, or holds one"),
    "carriage_return": Kind("warning", "ends with CR before LF"),
    "no_final_newline": Kind("warning", "the file does not end with a line end"),
    "long": Kind("warning", "longer than 2,000 characters"),
    "ratio": Kind("warning", "one side is far longer than the other, as this corpus goes"),
    "copy": Kind("warning", "source and target are the same text"),
    "duplicate_pair": Kind("warning", "the pair stands on an earlier line too"),
    "near_duplicate_pair": Kind("warning", "nearly the same pair stands on an earlier line"),
    "numbers": Kind("warning", "the two sides hold different numbers"),
    "url": Kind("warning", "the two sides hold different addresses"),
    "tokenized": Kind(
        "warning", "looks tokenized already: blanks before marks or between unspaced words"
    ),
    "replacement": Kind("warning", "holds U+FFFD, where an earlier program met broken text"),
    "duplicate_src": Kind("note", "the source line stands on an earlier line too"),
    "duplicate_tgt": Kind("note", "the target line stands on an earlier line too"),
    "near_duplicate_src": Kind("note", "nearly the same source line stands on an earlier line"),
    "near_duplicate_tgt": Kind("note", "nearly the same target line stands on an earlier line"),
    "blank_pair": Kind("note", "both sides are blank"),
}
"""The worst first, which is the order of every report."""


@dataclass
class Finding:
    """What was found of one kind on one side."""

    kind: str
    place: Place
    count: int = 0
    lines: list[int] = field(default_factory=list)
    """Counted from 1, in order; the first LINES_KEPT."""
    examples: list[str] = field(default_factory=list)
    """What was seen on the first of them."""

    @property
    def severity(self) -> Severity:
        """How bad it is."""
        return KINDS[self.kind].severity

    def add(self, line: int, example: str = "") -> None:
        """Count one line."""
        self.count += 1
        if len(self.lines) < LINES_KEPT:
            self.lines.append(line)
        if example and len(self.examples) < EXAMPLES_KEPT:
            self.examples.append(example)

    def record(self) -> dict[str, Any]:
        """Return this as JSON."""
        return {
            "kind": self.kind,
            "severity": self.severity,
            "side": self.place,
            "says": KINDS[self.kind].says,
            "count": self.count,
            "lines": self.lines,
            "examples": self.examples,
        }


class Findings:
    """All findings of one text set."""

    def __init__(self) -> None:
        self._by_key: dict[tuple[str, Place], Finding] = {}

    def add(self, kind: str, place: Place, line: int, example: str = "") -> None:
        """Count a line of one kind."""
        found = self._by_key.setdefault((kind, place), Finding(kind, place))
        found.add(line, example)

    def __iter__(self) -> Iterator[Finding]:
        order = list(KINDS)
        return iter(sorted(self._by_key.values(), key=lambda f: (order.index(f.kind), f.place)))

    def of(self, kind: str) -> list[Finding]:
        """Return the findings of one kind."""
        return [found for found in self if found.kind == kind]
