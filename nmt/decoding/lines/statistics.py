"""Statistics of translated or scored lines, for messages after the work."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, fields

logger = logging.getLogger(__name__)

MAX_LINES_IN_MESSAGE = 10
"""Maximum number of lines that a message lists."""
SHARP_DROP = 0.5
"""Minimum score drop of a reported line, in nats per token (docs/decoding.md)."""


def format_line_numbers(numbers: Sequence[int]) -> str:
    """Return "lines 3, 7"; list at most MAX_LINES_IN_MESSAGE line numbers."""
    listed = ", ".join(map(str, numbers[:MAX_LINES_IN_MESSAGE]))
    return f"lines {listed}{_and_more(len(numbers))}"


def _and_more(count: int) -> str:
    """Return " and N more" if a message lists only some of `count` lines."""
    return f" and {count - MAX_LINES_IN_MESSAGE} more" if count > MAX_LINES_IN_MESSAGE else ""


@dataclass
class TranslationStatistics:
    """Counts and line numbers of translated lines or scored pairs. Line numbers start at 1."""

    long_lines: int = 0
    """Number of lines that were translated in segments because they are too long."""
    long_line_segments: int = 0
    """Number of segments of the long lines."""
    required_phrases: int = 0
    """Number of phrases that translations must contain."""
    missing_phrases: list[tuple[int, str]] = field(default_factory=list)
    """Required phrases that translations do not contain, with their line numbers."""
    protected_spans: int = 0
    """Number of protected spans in sources."""
    missing_spans: list[tuple[int, str]] = field(default_factory=list)
    """Protected spans that translations do not contain, with their line numbers."""
    multi_sentence_lines: int = 0
    """Number of lines or pairs that were processed sentence by sentence (decode.split)."""
    sentences: int = 0
    """Number of sentences of those lines or pairs."""
    unbalanced_lines: list[int] = field(default_factory=list)
    """Line numbers of translations with markup tags in the wrong order."""
    score_drops: list[tuple[int, float]] = field(default_factory=list)
    """Line number and score drop of all lines with phrases, in nats per token."""
    long_pairs: list[int] = field(default_factory=list)
    """Line numbers of pairs that were scored in segments because they are too long."""

    def log_pair_segments(self) -> None:
        """Log which pairs were scored in segments."""
        if self.multi_sentence_lines:
            logger.info(
                "pairs of several sentences, scored sentence by sentence (decode.split): "
                f"{self.multi_sentence_lines}, with {self.sentences} sentences"
            )
        if self.long_pairs:
            logger.warning(
                f"long pairs were scored in parts: {format_line_numbers(self.long_pairs)}"
            )

    def sharp_drop_warning(self) -> str:
        """Return a warning about lines with a score drop of SHARP_DROP or more, else ""."""
        sharp_drops = sorted(
            ((drop, line) for line, drop in self.score_drops if drop >= SHARP_DROP), reverse=True
        )
        if not sharp_drops:
            return ""
        listed = ", ".join(
            f"{line} ({drop:.1f})" for drop, line in sharp_drops[:MAX_LINES_IN_MESSAGE]
        )
        return (
            f"required phrases may have broken {len(sharp_drops)} of "
            f"{len(self.score_drops)} lines: log-probability per token lower by {SHARP_DROP} or "
            f"more than without them; lines (drop): {listed}{_and_more(len(sharp_drops))}"
        )

    def __add__(self, other: TranslationStatistics) -> TranslationStatistics:
        """Return the statistics of the lines of both."""
        return TranslationStatistics(
            *(getattr(self, f.name) + getattr(other, f.name) for f in fields(self))
        )
