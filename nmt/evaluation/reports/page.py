"""A report as one self-contained web page: no network, all it shows inside."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np

from nmt.core.html_page import fill_page
from nmt.evaluation.analysis import Analysis
from nmt.evaluation.reports.report import Report
from nmt.evaluation.systems import System

EXAMPLES = 200
"""Lines of a test set that a page shows beside those of the report's lists: suspicious ones first,
then others by chance."""
SUSPICIOUS = 10
"""Of them for each system and kind of suspicion."""
BARS = 20
"""Of the distribution of the lines' chrF."""
SEED = 1


def page(
    report: Report,
    found: Sequence[Analysis],
    systems: Sequence[System],
    curves: Mapping[str, Mapping[str, Any]],
) -> str:
    """Return the page of a report; `curves` are the learning curves of the runs by system name."""
    data = {
        "report": report.model_dump(mode="json"),
        "systems": list(report.systems),  # in their order: JavaScript would put a run 10 first
        "sets": {its.test.name: _set(its, systems) for its in found},
        "curves": dict(curves),
    }
    return fill_page("nmt.evaluation.reports", data)


def _set(its: Analysis, systems: Sequence[System]) -> dict[str, Any]:
    """Return what a page shows of a test set beside its report; weights are in percent."""
    rows = _rows(its)
    bins = np.linspace(0, 100, BARS + 1)
    attention = {}
    for system in systems:
        hypotheses = its.answers[system.name].hypotheses
        pairs = [(its.test.src[i], hypotheses[i]) for i in rows] if its.test.src else []
        attention[system.name] = {
            i + 1: {
                "source": each.source_words,
                "target": each.target_words,
                "weights": np.rint(each.weights * 100).astype(int).tolist(),
            }
            for i, each in zip(rows, system.attention(its.test, pairs), strict=False)
            if each is not None
        }
    return {
        "histograms": {
            name: np.histogram(lines.chrf, bins)[0].tolist()
            for name, lines in zip(its.answers, its.measured.systems, strict=True)
        },
        "examples": [
            {**its.example(i).model_dump(), "words": int(its.measured.src_words[i])} for i in rows
        ],
        "attention": attention,
    }


def _rows(its: Analysis) -> list[int]:
    """Choose lines to show, counted from 0, in their order."""
    listed = [example.line - 1 for each in its.report.examples for example in each.examples]
    suspicious = [
        [line - 1 for line in kind.lines[:SUSPICIOUS]]
        for system in its.report.systems.values()
        for kind in system.suspicions.values()
    ]
    in_turn = [i for each in zip_longest(*suspicious) for i in each if i is not None]
    others = list(range(len(its.test)))
    random.Random(SEED).shuffle(others)
    chosen = dict.fromkeys(listed)
    more = [i for i in dict.fromkeys([*in_turn, *others]) if i not in chosen]
    return sorted([*chosen, *more[:EXAMPLES]])
