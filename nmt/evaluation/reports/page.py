"""A report as a self-contained HTML page."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np

from nmt.core.rendering.pages import render_page
from nmt.evaluation.analysis import Analysis
from nmt.evaluation.attention_checks import WordAttention
from nmt.evaluation.report import EvaluationReport
from nmt.evaluation.systems import System

MAX_MORE_EXAMPLES = 200
"""Maximum number of lines of a test set shown in addition to the report's lists of examples.

Lines that fail checks come first, then random lines.
"""
MAX_FLAGGED = 10
"""Maximum number of those lines per system and check."""
CHRF_BINS = 20
"""Number of bins of the histogram of the lines' chrF."""
SEED = 1


def evaluation_page(
    report: EvaluationReport,
    analyses: Sequence[Analysis],
    systems: Sequence[System],
    learning_curves: Mapping[str, Mapping[str, Any]],
) -> str:
    """Return the HTML page of a report; learning curves by the name of their run's system."""
    data = {
        "report": report.model_dump(mode="json"),
        "systems": list(report.systems),  # JavaScript reorders keys such as "10" and "9"
        "sets": {analysis.test_set.name: _page_data(analysis, systems) for analysis in analyses},
        "curves": dict(learning_curves),
    }
    return render_page("evaluation/reports/page.html", data=data)


def _page_data(analysis: Analysis, systems: Sequence[System]) -> dict[str, Any]:
    """Return what the page shows of a test set in addition to its report."""
    rows = _select_rows(analysis)
    edges = np.linspace(0, 100, CHRF_BINS + 1)
    test_set, outputs, statistics = analysis.test_set, analysis.outputs, analysis.statistics
    attention = {}
    for system in systems:
        hypotheses = outputs[system.name].hypotheses
        pairs = [(test_set.src[row], hypotheses[row]) for row in rows] if test_set.src else []
        attention[system.name] = {
            row + 1: _attention_data(line)
            for row, line in zip(rows, system.attention(test_set, pairs), strict=False)
            if line is not None
        }
    return {
        "histograms": {
            name: np.histogram(system.chrf, edges)[0].tolist()
            for name, system in zip(outputs, statistics.systems, strict=True)
        },
        "examples": [
            {**analysis.example(row).model_dump(), "words": int(statistics.src_words[row])}
            for row in rows
        ],
        "attention": attention,
    }


def _attention_data(attention: WordAttention) -> dict[str, Any]:
    """Return attention with weights in percent."""
    return {
        "source": attention.source_words,
        "target": attention.target_words,
        "weights": np.rint(attention.weights * 100).astype(int).tolist(),
    }


def _select_rows(analysis: Analysis) -> list[int]:
    """Return the indices of the lines to show, in ascending order."""
    listed = dict.fromkeys(
        example.line - 1
        for example_list in analysis.report.examples
        for example in example_list.examples
    )
    flagged = [
        [line - 1 for line in check.lines[:MAX_FLAGGED]]
        for system in analysis.report.systems.values()
        for check in system.suspicions.values()
    ]
    # one line of each check before a second line of any
    interleaved = [row for rows in zip_longest(*flagged) for row in rows if row is not None]
    shuffled = list(range(len(analysis.test_set)))
    random.Random(SEED).shuffle(shuffled)
    more = [row for row in dict.fromkeys([*interleaved, *shuffled]) if row not in listed]
    return sorted([*listed, *more[:MAX_MORE_EXAMPLES]])
