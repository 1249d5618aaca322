"""Convert progress in segments to progress in lines."""

from __future__ import annotations

from collections.abc import Callable


class LineProgress:
    """Converts a number of finished segments to a number of finished lines."""

    def __init__(self, lines: int, segments: int, report: Callable[[int], object]) -> None:
        """Call `report` with the number of lines that finished since the last call."""
        self.lines, self.segments, self.report = lines, segments, report
        self.finished_segments = self.reported_lines = 0

    def finish(self, count: int) -> None:
        """Count finished segments and report the corresponding number of lines."""
        self.finished_segments += count
        lines = self.lines * self.finished_segments // self.segments
        if lines > self.reported_lines:
            self.report(lines - self.reported_lines)
            self.reported_lines = lines
