"""What `nmt translate` reports after the translation."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from heapq import heappush, heappushpop
from typing import Any, NamedTuple

from nmt.commands.translation.translate_options import TranslateOptions
from nmt.decoding.lines.statistics import TranslationStatistics, format_line_numbers

logger = logging.getLogger(__name__)


class ReviewLine(NamedTuple):
    """A line with low trust. Sorting puts the least trusted line first."""

    trust: float
    number: int
    source: str
    translation: str


class LeastTrustedLines:
    """Keeps the lines with the lowest trust."""

    def __init__(self, max_lines: int) -> None:
        self.max_lines = max_lines
        self._heap: list[tuple[float, int, str, str]] = []
        """Lines with negated trust, so that the most trusted line is the first to drop."""

    def add(self, trust: float, number: int, source: str, translation: str) -> None:
        """Add a line; drop the most trusted line if there are too many."""
        entry = (-trust, number, source, translation)
        if len(self._heap) < self.max_lines:
            heappush(self._heap, entry)
        else:
            heappushpop(self._heap, entry)

    def lines(self) -> list[ReviewLine]:
        """Return the lines in any order."""
        return [ReviewLine(-entry[0], *entry[1:]) for entry in self._heap]


@dataclass
class TranslationSummary:
    """Results of a translation that are logged at its end."""

    invalid_lines: int
    """Number of lines with invalid UTF-8."""
    statistics: TranslationStatistics
    review: list[ReviewLine]
    """Least trusted lines."""

    def to_json(self) -> list[Any]:
        """Return the summary as values that JSON can represent."""
        return [self.invalid_lines, list(vars(self.statistics).values()), self.review]

    @classmethod
    def from_json(cls, values: Any) -> TranslationSummary:
        """Return the summary from the values of `to_json`."""
        invalid_lines, statistics, review = values
        return cls(
            invalid_lines,
            TranslationStatistics(*statistics),
            [ReviewLine(*line) for line in review],
        )

    @classmethod
    def merge(cls, summaries: list[TranslationSummary], max_review: int) -> TranslationSummary:
        """Return the summary of all lines, with the `max_review` least trusted ones."""
        review = sorted(line for summary in summaries for line in summary.review)
        statistics = sum((summary.statistics for summary in summaries), TranslationStatistics())
        statistics.missing_phrases.sort()
        statistics.missing_spans.sort()
        statistics.score_drops.sort()
        statistics.unbalanced_lines.sort()
        invalid_lines = sum(summary.invalid_lines for summary in summaries)
        return cls(invalid_lines, statistics, review[:max_review])

    def log(self, options: TranslateOptions) -> None:
        """Log the summary."""
        statistics = self.statistics
        if self.invalid_lines:
            consequence = (
                "invalid bytes became U+FFFD"
                if options.invalid == "replace"
                else "their translations are blank"
            )
            logger.warning(f"{self.invalid_lines} lines were not UTF-8; {consequence}")
        if statistics.long_lines:
            segments = statistics.long_line_segments
            logger.info(
                f"{statistics.long_lines} long lines were translated in {segments} segments"
            )
        if statistics.multi_sentence_lines:
            logger.info(
                "lines of several sentences, translated sentence by sentence (decode.split): "
                f"{statistics.multi_sentence_lines}, with {statistics.sentences} sentences"
            )
        if statistics.required_phrases:
            _log_coverage(
                "required phrases", statistics.required_phrases, statistics.missing_phrases
            )
        if options.protect:
            _log_coverage("protected spans", statistics.protected_spans, statistics.missing_spans)
        if statistics.unbalanced_lines:
            numbers = format_line_numbers(statistics.unbalanced_lines)
            logger.warning(f"markup tags are out of order: {numbers}")
        if warning := statistics.sharp_drop_warning():
            logger.warning(warning)
        if options.review:
            logger.info("the least trusted lines, the worst first:")
        for line in sorted(self.review):
            logger.info(
                f"{line.trust:8.2f}  line {line.number}\n"
                f"          {line.source}\n          {line.translation}"
            )


def _log_coverage(name: str, total: int, missing: list[tuple[int, str]]) -> None:
    """Log how many phrases or spans the translations contain, and which are missing."""
    present = total - len(missing)
    share = present / total if total else 1.0
    logger.info(f"{present} of {total} {name} are in the translations ({share:.1%})")
    for number, phrase in missing:
        logger.warning(f"line {number}: {phrase!r} is missing from the translation")
