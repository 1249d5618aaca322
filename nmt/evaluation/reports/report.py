"""`report.json`: what is known of systems and of their translations.

The fields' docstrings are the schema's; docs/report.schema.json is made from them.
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
from nmt.core.version import commit
from nmt.evaluation.metrics import DEFAULT_METRICS, Scores
from nmt.evaluation.warnings import other_tokenizers


class Part(BaseModel):
    """A part of the report."""

    model_config = ConfigDict(use_attribute_docstrings=True, extra="forbid")


class About(Part):
    """Where a system's translations come from."""

    kind: Literal["run", "file"]
    path: str
    """The run folder, or the file of translations."""
    checkpoint: str | None = None
    """The name of the checkpoint's folder."""
    decode: dict[str, Any] | None = None
    """The decode settings."""
    engine: str | None = None
    """What ran the model: nmt or ctranslate2."""


class Interval(Part):
    """A 95% confidence interval of the bootstrap: mean +- half."""

    mean: float
    half: float


class Suspects(Part):
    """Lines with one thing that looks wrong."""

    says: str
    """The formula, with its threshold."""
    count: int
    share: float
    """Of all lines."""
    lines: list[int]
    """Their numbers, from 1."""


class Copies(Part):
    """What should stand in the hypotheses as it stands in the source."""

    expected: int
    found: int
    accuracy: float | None
    """None where nothing was expected."""


class Band(Part):
    """Words by how often they were seen."""

    seen: str
    """How often: a number or a span of them."""
    words: int
    """In the references."""
    precision: float
    recall: float
    f1: float


class Subwords(Part):
    """What the run's tokenizers make of source and hypotheses."""

    src_tokens_a_word: float
    tgt_tokens_a_word: float
    byte_tokens: int
    """Of the source: pieces of a character that the vocabulary does not have."""
    unknown_tokens: int
    """Of the source: what a tokenizer without bytes cannot say."""


class SystemReport(Part):
    """One system on one test set."""

    scores: Scores
    intervals: dict[str, Interval]
    """By metric."""
    seconds: float | None = None
    """Spent translating."""
    words_per_second: float | None = None
    """Source words translated in a second."""
    copies: dict[str, Copies]
    suspicions: dict[str, Suspects]
    """By kind."""
    f1: list[Band]
    subwords: Subwords | None = None


class Comparison(Part):
    """A system beside the first, by one metric."""

    system: str
    against: str
    metric: str
    difference: float
    p_bootstrap: float
    """Paired bootstrap (Koehn 2004), 1,000 resamples."""
    p_randomisation: float
    """Paired approximate randomisation (Riezler & Maxwell 2005), 10,000 trials."""
    says: str
    """The same in a sentence, by the larger of the two."""


class Group(Part):
    """Some lines of a test set."""

    name: str
    lines: int
    scores: dict[str, dict[str, float]]
    """By system, by metric."""


class Grouping(Part):
    """All lines, in groups."""

    title: str
    says: str
    """How the groups are made."""
    groups: list[Group]


class Example(Part):
    """A line, as all systems have it."""

    line: int
    """From 1."""
    source: str | None
    references: list[str]
    hypotheses: dict[str, str]
    """By system."""
    chrf: dict[str, float]
    """By system, of this line alone."""
    suspicions: dict[str, list[str]]
    """By system."""


class Examples(Part):
    """Lines that are worth a look, the first the most."""

    title: str
    systems: list[str]
    """Those that it is about."""
    examples: list[Example]


class SetReport(Part):
    """All systems on one test set."""

    lines: int
    src_lang: str
    tgt_lang: str
    references: int
    """Reference files."""
    seen_in: str
    """Where words were counted that groups and bands go by."""
    systems: dict[str, SystemReport]
    comparisons: list[Comparison]
    groupings: list[Grouping]
    examples: list[Examples]
    """For one system its worst lines, for two where they differ most."""
    leaked: list[int]
    """Lines, from 1, whose source stands in the training text."""
    cautions: list[str]
    """What fools people who read scores."""


class Report(Part):
    """What `nmt evaluate` found."""

    format_version: int = FORMAT_VERSION
    nmt: str
    """The version of nmt."""
    commit: str | None
    """The commit of nmt, where it runs from a checkout."""
    metrics: list[str] = list(DEFAULT_METRICS)
    """Metrics that tables show and systems are compared by."""
    systems: dict[str, About]
    test_sets: dict[str, SetReport]
    cautions: list[str]
    """That go for all test sets together."""


def new_report(
    systems: dict[str, About],
    test_sets: dict[str, SetReport],
    metrics: Sequence[str] = DEFAULT_METRICS,
) -> Report:
    """Return a report made by this release, whose tables show `metrics`."""
    kinds = {
        name: next(iter(its.systems.values())).scores.signatures["bleu"]
        for name, its in test_sets.items()
    }
    return Report(
        nmt=version("nmt"),
        commit=commit() or None,
        metrics=list(metrics),
        systems=systems,
        test_sets=test_sets,
        cautions=other_tokenizers(kinds),
    )


def write_report(file: Path, report: Report) -> None:
    """Write `report.json`."""
    files.write_text(file, report.model_dump_json(indent=1) + "\n")


def report_schema() -> str:
    """Return the JSON schema of `report.json`."""
    return json.dumps(Report.model_json_schema(), indent=1, ensure_ascii=False) + "\n"
