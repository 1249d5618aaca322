"""Small analyses with known errors, and systems, for the tests of the evaluation page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from nmt.evaluation.analysis import Analysis, SystemOutput, analyse_test_set, no_progress
from nmt.evaluation.attention_checks import WordAttention
from nmt.evaluation.report import EvaluationReport, SystemInfo, new_report
from nmt.evaluation.reports.page import evaluation_page
from nmt.evaluation.statistics import TestSet
from nmt.evaluation.systems import FileSystem, RunSystem
from nmt.runs.learning_curves import read_curves
from tests.support.evaluation.explanations import make_explanation

LINES = 60
HOSTILE_HYPOTHESIS = 'Le <script>alert("x")</script><!-- chien'
EMPTY_LINE, LOST_NUMBER_LINE, HOSTILE_LINE = 7, 12, 5
"""Lines, from 1, where the first system has no hypothesis, no number and the hypothesis NASTY."""


@dataclass(frozen=True)
class AttendingSystem:
    """A system with random attention for each pair without a blank side."""

    name: str
    hypotheses: list[str] = field(default_factory=list)
    """Hypotheses for which attention was requested."""

    def attention(
        self, test_set: TestSet, pairs: Sequence[tuple[str, str]]
    ) -> list[WordAttention | None]:
        self.hypotheses.extend(hypothesis for _, hypothesis in pairs)
        return [self._pair_attention(source, hypothesis) for source, hypothesis in pairs]

    def _pair_attention(self, source: str, hypothesis: str) -> WordAttention | None:
        if not hypothesis.split():
            return None
        explanation = make_explanation(
            [[word] for word in source.split()], [[word] for word in hypothesis.split()]
        )
        return WordAttention(
            explanation.source.words, explanation.target.words, explanation.by_words
        )


def news_set() -> TestSet:
    """Return a test set of sixty lines with one number each."""
    src = [f"The dog sees {i} old houses and barks." for i in range(101, 101 + LINES)]
    tgt = [f"Le chien voit {i} vieilles maisons et aboie." for i in range(101, 101 + LINES)]
    return TestSet("news", [tgt], src, "en", "fr")


def sourceless_set() -> TestSet:
    """Return `news_set` without its source."""
    return replace(news_set(), src=None)


def talks_set() -> TestSet:
    """Return three lines with two references, right-to-left and without spaces."""
    first = ["הכלב ישן בבית הגדול", "猫が家で寝ています", "הבית גדול"]
    second = ["הכלב נרדם בבית", "猫は家で寝ている", "הבית הגדול"]
    return TestSet("talks", [first, second], ["The dog sleeps.", "The cat.", "Home."], "en", "he")


def make_hypotheses(test_set: TestSet, system: int) -> list[str]:
    """Return truncated references; the first system also has errors.

    The first line is complete, and later lines lose up to six words.
    """
    lines = [
        " ".join(line.split()[: max(1, 8 - (i * (system + 1)) % 7)])
        for i, line in enumerate(test_set.references[0])
    ]
    if system == 0 and test_set.name == "news":
        lines[EMPTY_LINE - 1] = ""
        lines[LOST_NUMBER_LINE - 1] = "Le chien voit les vieilles maisons et aboie."
        lines[HOSTILE_LINE - 1] = HOSTILE_HYPOTHESIS
    if system == 1 and test_set.name == "talks":
        lines[1] = "猫は家で寝ています"
    return lines


@cache
def analyse(make_test_set: Callable[[], TestSet], names: tuple[str, ...]) -> Analysis:
    """Return the analysis of one system for each name."""
    test_set = make_test_set()
    outputs = {
        name: SystemOutput(make_hypotheses(test_set, i), 2.0 + i) for i, name in enumerate(names)
    }
    return analyse_test_set(test_set, outputs, 1, no_progress)


def make_report(analyses: Sequence[Analysis], cautions: Sequence[str] = ()) -> EvaluationReport:
    """Return the report of analyses."""
    systems = {name: SystemInfo(kind="file", path=f"{name}.txt") for name in analyses[0].outputs}
    report = new_report(systems, {analysis.test_set.name: analysis.report for analysis in analyses})
    return report.model_copy(update={"cautions": list(cautions)})


def make_page(
    analyses: Sequence[Analysis], special_systems: Mapping[str, Any] | None = None
) -> str:
    """Return the page of analyses; systems are files, except the special ones."""
    systems = [
        (special_systems or {}).get(name) or FileSystem(name, Path(name))
        for name in analyses[0].outputs
    ]
    run_curves = {s.name: asdict(read_curves(s.run)) for s in systems if isinstance(s, RunSystem)}
    report = make_report(analyses, ["a caution for all"])
    return evaluation_page(report, analyses, systems, run_curves)
