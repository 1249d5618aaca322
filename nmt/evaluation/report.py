"""The schema of `report.json`, the result of `nmt evaluate`.

The docstrings of the fields are the descriptions in docs/report.schema.json.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from nmt.core import files
from nmt.core.run_dir import FORMAT_VERSION
from nmt.core.version import git_commit
from nmt.evaluation.metrics import DEFAULT_METRICS, Scores
from nmt.evaluation.warnings import different_tokenizers


class ReportSection(BaseModel):
    """Base of all sections of the report."""

    model_config = ConfigDict(use_attribute_docstrings=True, extra="forbid")


class SystemInfo(ReportSection):
    """Origin of a system's translations."""

    kind: Literal["run", "file"]
    path: str
    """The run folder, or the file of translations."""
    checkpoint: str | None = None
    """Name of the checkpoint folder."""
    decode: dict[str, Any] | None = None
    """Decoding settings."""
    engine: str | None = None
    """Engine that ran the model: nmt or ctranslate2."""


class ConfidenceInterval(ReportSection):
    """95% confidence interval of the bootstrap: mean +- half."""

    mean: float
    half: float


class FlaggedLines(ReportSection):
    """Lines of one system that fail one check."""

    says: str
    """Definition of the check, with its thresholds."""
    count: int
    share: float
    """Fraction of all lines."""
    lines: list[int]
    """Line numbers, from 1."""


class CopyAccuracy(ReportSection):
    """Accuracy of items that a translation copies from the source."""

    expected: int
    """Number of items to copy."""
    found: int
    """Number of items that the hypotheses contain."""
    accuracy: float | None
    """Found / expected; null if no item is expected."""


class FrequencyBand(ReportSection):
    """F1 of the words in one band of training frequency."""

    seen: str
    """Frequency of the words: a number or a range."""
    words: int
    """Number of words in the references."""
    precision: float
    recall: float
    f1: float


class SubwordCounts(ReportSection):
    """Token counts of sources and hypotheses under the run's tokenizers."""

    src_tokens_a_word: float
    tgt_tokens_a_word: float
    byte_tokens: int
    """Number of byte tokens in the source, from characters outside the vocabulary."""
    unknown_tokens: int
    """Number of unknown tokens in the source."""


class SystemReport(ReportSection):
    """Results of one system on one test set."""

    scores: Scores
    intervals: dict[str, ConfidenceInterval]
    """Confidence intervals by metric."""
    seconds: float | None = None
    """Translation time in seconds."""
    words_per_second: float | None = None
    """Source words translated per second."""
    copies: dict[str, CopyAccuracy]
    """Copy accuracy by kind of item."""
    suspicions: dict[str, FlaggedLines]
    """Lines that fail a check, by check."""
    f1: list[FrequencyBand]
    subwords: SubwordCounts | None = None


class SystemComparison(ReportSection):
    """Comparison of a system with the first system by one metric."""

    system: str
    against: str
    metric: str
    difference: float
    """Score of the system minus score of the first system."""
    p_bootstrap: float
    """p-value of the paired bootstrap (Koehn 2004), 1,000 resamples."""
    p_randomisation: float
    """p-value of paired approximate randomisation (Riezler & Maxwell 2005), 10,000 trials."""
    says: str
    """The result as a sentence, using the larger p-value."""


class LineGroup(ReportSection):
    """Scores on one group of lines."""

    name: str
    lines: int
    scores: dict[str, dict[str, float]]
    """Scores by system and metric."""


class Breakdown(ReportSection):
    """Scores on groups of lines that share a property."""

    title: str
    says: str
    """Definition of the groups."""
    groups: list[LineGroup]


class ExampleLine(ReportSection):
    """One line with the translations of all systems."""

    line: int
    """Line number, from 1."""
    source: str | None
    references: list[str]
    hypotheses: dict[str, str]
    """Hypothesis by system."""
    chrf: dict[str, float]
    """chrF of this line by system."""
    suspicions: dict[str, list[str]]
    """Names of failed checks by system."""


class ExampleList(ReportSection):
    """Lines worth reading, most important first."""

    title: str
    systems: list[str]
    """Systems that the list shows."""
    examples: list[ExampleLine]


class TestSetReport(ReportSection):
    """Results of all systems on one test set."""

    __test__ = False

    lines: int
    src_lang: str
    tgt_lang: str
    references: int
    """Number of reference files."""
    seen_in: str
    """Text in which word frequencies were counted."""
    systems: dict[str, SystemReport]
    comparisons: list[SystemComparison]
    groupings: list[Breakdown]
    examples: list[ExampleList]
    """Worst lines of a single system; largest differences between two systems."""
    leaked: list[int]
    """Numbers, from 1, of lines with a source that is in the training text."""
    cautions: list[str]
    """Warnings about reading the scores of this test set."""


class EvaluationReport(ReportSection):
    """Content of `report.json`."""

    format_version: int = FORMAT_VERSION
    nmt: str
    """Version of nmt."""
    commit: str | None
    """Git commit of nmt, if it runs from a checkout."""
    metrics: list[str] = list(DEFAULT_METRICS)
    """Metrics shown in tables and used to compare systems."""
    systems: dict[str, SystemInfo]
    test_sets: dict[str, TestSetReport]
    cautions: list[str]
    """Warnings about comparing test sets."""


def new_report(
    systems: dict[str, SystemInfo],
    test_sets: dict[str, TestSetReport],
    metrics: Sequence[str] = DEFAULT_METRICS,
) -> EvaluationReport:
    """Return a report of this version of nmt; tables show `metrics`."""
    bleu_signatures = {
        name: next(iter(test_set.systems.values())).scores.signatures["bleu"]
        for name, test_set in test_sets.items()
    }
    return EvaluationReport(
        nmt=version("nmt"),
        commit=git_commit() or None,
        metrics=list(metrics),
        systems=systems,
        test_sets=test_sets,
        cautions=different_tokenizers(bleu_signatures),
    )


def write_report(file: Path, report: EvaluationReport) -> None:
    """Write `report` to `file` as JSON."""
    files.write_text(file, report.model_dump_json(indent=1) + "\n")


def report_schema() -> str:
    """Return the JSON schema of `report.json`."""
    return json.dumps(EvaluationReport.model_json_schema(), indent=1, ensure_ascii=False) + "\n"
