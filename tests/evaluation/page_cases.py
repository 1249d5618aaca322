"""Small analyses with known faults, and systems to go with them, for the page of an evaluation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from explain_cases import make_explanation

from nmt.evaluation.analysis import Analysis, SystemOutput, analyse_test_set, no_progress
from nmt.evaluation.attention_checks import WordAttention
from nmt.evaluation.reports.page import evaluation_page
from nmt.evaluation.reports.report import EvaluationReport, SystemInfo, new_report
from nmt.evaluation.statistics import TestSet
from nmt.evaluation.systems import FileSystem, RunSystem
from nmt.interpret.explanation import Explanation
from nmt.runs.learning_curves import read_curves

LINES = 60
NASTY = 'Le <script>alert("x")</script><!-- chien'
EMPTY, LOST, ODD = 7, 12, 5
"""Lines, from 1, where the first system says nothing, loses a number and says NASTY."""


def as_word_attention(explanation: Explanation) -> WordAttention:
    return WordAttention(explanation.source.words, explanation.target.words, explanation.by_words)


@dataclass(frozen=True)
class Looking:
    """A system that looks somewhere, wherever both sides have words."""

    name: str
    seen: list[str] = field(default_factory=list)
    """The hypotheses that it was asked about."""

    def attention(
        self, test: TestSet, pairs: Sequence[tuple[str, str]]
    ) -> list[WordAttention | None]:
        self.seen.extend(hypothesis for _, hypothesis in pairs)
        return [
            as_word_attention(
                make_explanation([[w] for w in src.split()], [[w] for w in hypothesis.split()])
            )
            if hypothesis.split()
            else None
            for src, hypothesis in pairs
        ]


def news() -> TestSet:
    """Sixty lines with a number each."""
    src = [f"The dog sees {i} old houses and barks." for i in range(101, 101 + LINES)]
    tgt = [f"Le chien voit {i} vieilles maisons et aboie." for i in range(101, 101 + LINES)]
    return TestSet("news", [tgt], src, "en", "fr")


def unsourced() -> TestSet:
    """The same without a source."""
    return replace(news(), src=None)


def talks() -> TestSet:
    """Three lines with two references, to the right and without spaces."""
    first = ["הכלב ישן בבית הגדול", "猫が家で寝ています", "הבית גדול"]
    second = ["הכלב נרדם בבית", "猫は家で寝ている", "הבית הגדול"]
    return TestSet("talks", [first, second], ["The dog sleeps.", "The cat.", "Home."], "en", "he")


def hypotheses(test: TestSet, system: int) -> list[str]:
    """Return what a system says: the reference with so many words cut off, the first with faults.

    The first line is right, the later ones lose more words the further on they are.
    """
    lines = [
        " ".join(line.split()[: max(1, 8 - (i * (system + 1)) % 7)])
        for i, line in enumerate(test.references[0])
    ]
    if system == 0 and test.name == "news":
        lines[EMPTY - 1] = ""
        lines[LOST - 1] = "Le chien voit les vieilles maisons et aboie."
        lines[ODD - 1] = NASTY
    if system == 1 and test.name == "talks":
        lines[1] = "猫は家で寝ています"
    return lines


@cache
def analysed(test: Callable[[], TestSet], names: tuple[str, ...]) -> Analysis:
    """Analyse what so many systems say."""
    its = test()
    answers = {name: SystemOutput(hypotheses(its, i), 2.0 + i) for i, name in enumerate(names)}
    return analyse_test_set(its, answers, 1, no_progress)


def reported(found: Sequence[Analysis], cautions: Sequence[str] = ()) -> EvaluationReport:
    """Return the report of analyses."""
    about = {name: SystemInfo(kind="file", path=f"{name}.txt") for name in found[0].outputs}
    report = new_report(about, {its.test_set.name: its.report for its in found})
    return report.model_copy(update={"cautions": list(cautions)})


def paged(found: Sequence[Analysis], special: Mapping[str, Any] | None = None) -> str:
    """Return the page of analyses, of files but for the special systems."""
    names = list(found[0].outputs)
    systems = [(special or {}).get(name) or FileSystem(name, Path(name)) for name in names]
    run_curves = {s.name: asdict(read_curves(s.run)) for s in systems if isinstance(s, RunSystem)}
    return evaluation_page(reported(found, ["a caution for all"]), found, systems, run_curves)
