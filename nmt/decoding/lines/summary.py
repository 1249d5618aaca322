"""What became of translated lines besides their translations, and how far the work is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields

from nmt.decoding.constraints.score_drop import SHARP_DROP

NAMED = 10
"""Number of lines that a message names."""


def format_line_numbers(numbers: Sequence[int]) -> str:
    """Return "lines 3, 7" for these line numbers, at most NAMED of them."""
    more = f" and {len(numbers) - NAMED} more" if numbers[NAMED:] else ""
    return f"lines {', '.join(map(str, numbers[:NAMED]))}{more}"


@dataclass
class TranslationStatistics:
    """What became of lines, beside their translations."""

    split: int = 0
    """Lines translated in parts."""
    parts: int = 0
    """The parts of these."""
    demanded: int = 0
    """Phrases that had to stand in translations."""
    missing: list[tuple[int, str]] = field(default_factory=list)
    """Those that do not, with the number of their line, counted from 1."""
    protected: int = 0
    """Links, addresses, placeholders and numbers of sources."""
    lost: list[tuple[int, str]] = field(default_factory=list)
    """Those that are not in the translations as they were."""
    multi_sentence: int = 0
    """Lines translated sentence by sentence (decode.split)."""
    sentences: int = 0
    """The sentences of these."""
    unbalanced: list[int] = field(default_factory=list)
    """Numbers of the lines whose protected tags are out of order, from 1."""
    drops: list[tuple[int, float]] = field(default_factory=list)
    """For each line with phrases, its number from 1, and how far they lower its score."""
    long_pairs: list[int] = field(default_factory=list)
    """Numbers of the pairs that were too long to be forced at once, from 1."""

    def forced_messages(self, done: str) -> list[str]:
        """Return what to say about pairs that were forced in parts; `done` is a participle."""
        messages = []
        if self.multi_sentence:
            messages.append(
                f"pairs of several sentences, {done} sentence by sentence (decode.split): "
                f"{self.multi_sentence}, with {self.sentences} sentences"
            )
        if self.long_pairs:
            messages.append(
                f"warning: long pairs were {done} in parts: {format_line_numbers(self.long_pairs)}"
            )
        return messages

    def sharp_drops(self) -> str:
        """Return a warning about lines whose phrases lower the score sharply; empty if none do."""
        sharp = sorted(
            ((drop, line) for line, drop in self.drops if drop >= SHARP_DROP), reverse=True
        )
        if not sharp:
            return ""
        worst = ", ".join(f"{line} ({drop:.1f})" for drop, line in sharp[:NAMED])
        more = f" and {len(sharp) - NAMED} more" if sharp[NAMED:] else ""
        return (
            f"warning: required phrases may have broken {len(sharp)} of {len(self.drops)} lines: "
            f"log-probability per token lower by {SHARP_DROP} or more than without them; "
            f"lines (drop): {worst}{more}"
        )

    def __add__(self, other: TranslationStatistics) -> TranslationStatistics:
        return TranslationStatistics(
            *(getattr(self, each.name) + getattr(other, each.name) for each in fields(self))
        )


class LineProgress:
    """Turns the number of finished parts into a number of finished lines."""

    def __init__(self, lines: int, parts: int, report: Callable[[int], object]) -> None:
        self.lines, self.parts, self.report = lines, parts, report
        self.finished_parts = self.reported_lines = 0

    def finish(self, count: int) -> None:
        """Report the lines that `count` more finished parts amount to."""
        self.finished_parts += count
        lines = self.lines * self.finished_parts // self.parts
        if lines > self.reported_lines:
            self.report(lines - self.reported_lines)
            self.reported_lines = lines
