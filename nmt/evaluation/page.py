"""A report as one self-contained web page."""

from __future__ import annotations

from collections.abc import Sequence

from nmt.evaluation.analyse import Analysis
from nmt.evaluation.report import Report
from nmt.evaluation.systems import System


def page(report: Report, found: Sequence[Analysis], systems: Sequence[System]) -> str:
    """Return the page."""
    del found, systems
    return report.model_dump_json()
