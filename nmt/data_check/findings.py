"""Collect findings: the number of lines, line numbers and examples of each kind."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from nmt.data_check.kinds import KINDS, Severity

Side = Literal["src", "tgt", "pair"]

MAX_LINE_NUMBERS = 10_000
"""Maximum number of line numbers stored per finding; further lines are only counted."""
MAX_EXAMPLES = 5
"""Maximum number of examples stored per finding."""


@dataclass
class Finding:
    """The lines on one side that have a fault of one kind."""

    kind: str
    side: Side
    count: int = 0
    lines: list[int] = field(default_factory=list)
    """Sorted line numbers, counted from 1; at most MAX_LINE_NUMBERS."""
    examples: list[str] = field(default_factory=list)
    """Details of the first lines."""

    @property
    def severity(self) -> Severity:
        """Severity of the kind."""
        return KINDS[self.kind].severity

    def add(self, line: int, example: str = "") -> None:
        """Add a line, with an example if there are details to show."""
        self.count += 1
        if len(self.lines) < MAX_LINE_NUMBERS:
            self.lines.append(line)
        if example and len(self.examples) < MAX_EXAMPLES:
            self.examples.append(example)

    def to_dict(self) -> dict[str, Any]:
        """Return the finding as JSON values."""
        kind = KINDS[self.kind]
        return {
            "kind": self.kind,
            "severity": kind.severity,
            "side": self.side,
            "says": kind.description,
            "setting": kind.setting,
            "fix": kind.fix,
            "count": self.count,
            "lines": self.lines,
            "examples": self.examples,
        }


class Findings:
    """All findings of one text set; iterates over them by severity."""

    def __init__(self) -> None:
        self._by_kind_and_side: dict[tuple[str, Side], Finding] = {}

    def add(self, kind: str, side: Side, line: int, example: str = "") -> None:
        """Add a line to the finding of a kind and side."""
        finding = self._by_kind_and_side.setdefault((kind, side), Finding(kind, side))
        finding.add(line, example)

    def __iter__(self) -> Iterator[Finding]:
        rank = {kind: index for index, kind in enumerate(KINDS)}
        findings = self._by_kind_and_side.values()
        return iter(sorted(findings, key=lambda finding: (rank[finding.kind], finding.side)))

    def of_kind(self, kind: str) -> list[Finding]:
        """Return the findings of one kind."""
        return [finding for finding in self if finding.kind == kind]
