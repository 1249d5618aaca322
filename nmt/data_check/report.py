"""Write scan reports as text for a terminal, as one HTML page, or as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nmt.core.rendering.pages import render_page
from nmt.data_check.chunk_scan import CHARACTER_COLUMNS, WORD_COLUMNS
from nmt.data_check.kinds import KINDS
from nmt.data_check.pair_checks import excerpt
from nmt.data_check.scan import ScanReport

MAX_RANGES = 8
"""Maximum number of line ranges per finding on a terminal."""
MAX_PAGE_RANGES = 30
"""Maximum number of line ranges per finding on the HTML page."""
HISTOGRAM_BARS = 40


def format_line_ranges(lines: Sequence[int], max_ranges: int = MAX_RANGES) -> str:
    """Return line numbers as ranges, such as 5-9, with an ellipsis after `max_ranges`."""
    ranges: list[list[int]] = []
    for line in lines:
        if ranges and line == ranges[-1][1] + 1:
            ranges[-1][1] = line
        else:
            ranges.append([line, line])
    texts = [
        f"{first}" if first == last else f"{first}-{last}" for first, last in ranges[:max_ranges]
    ]
    return ", ".join(texts) + (", …" if len(ranges) > max_ranges else "")


def render_text(report: ScanReport) -> str:
    """Return the report of one text set for a terminal."""
    src_file, tgt_file = report.files
    rows = [f"{report.name}: {src_file} | {tgt_file}", f"  {_summarize(report)}"]
    findings = list(report.findings)
    for finding in findings:
        kind = KINDS[finding.kind]
        side = "" if finding.side == "pair" else f", {finding.side}"
        rows += [
            f"  {finding.severity:<7}  {finding.kind}{side}: {finding.count} ({kind.description})",
            f"           line {format_line_ranges(finding.lines)}",
        ]
        rows += [f"           {excerpt(example, 100)}" for example in finding.examples[:2]]
        rows.append(f"           fix: {kind.fix}")
    if not findings:
        rows.append("  nothing found")
    if report.pairs:
        rows.append("  random pairs:")
        rows += [f"    {excerpt(src)} | {excerpt(tgt)}" for src, tgt in report.pairs]
    return "\n".join(rows)


def _summarize(report: ScanReport) -> str:
    """Return the number of pairs, the languages and the line lengths in one phrase.

    Lines beyond the end of the shorter side form no pairs.
    """
    languages = " and ".join(code or "an unknown language" for code in report.languages)
    summary = f"{min(report.counts)} pairs in {languages}"
    if not len(report.lengths):
        return summary
    words = report.lengths[:, WORD_COLUMNS]
    mean = words.mean(0)
    high = np.percentile(words, 95, axis=0)
    return (
        f"{summary}; words a line {mean[0]:.1f} and {mean[1]:.1f} (95% have at most {high[0]:.0f} "
        f"and {high[1]:.0f})"
    )


def render_html(reports: Iterable[ScanReport]) -> str:
    """Return one self-contained HTML page with the reports of all text sets."""
    return render_page(
        "data_check/page.html",
        sections=[_page_section(report) for report in reports],
        kinds=KINDS,
        line_ranges=lambda lines: format_line_ranges(lines, MAX_PAGE_RANGES),
    )


def _page_section(report: ScanReport) -> dict[str, Any]:
    """Return the content of the page for one text set."""
    histograms = []
    if len(report.lengths):
        characters = report.lengths[:, CHARACTER_COLUMNS]
        words = report.lengths[:, WORD_COLUMNS]
        is_filled = (characters > 0).all(1)
        ratio = np.log2((characters[is_filled, 1] + 1) / (characters[is_filled, 0] + 1))
        histograms = [
            draw_histogram(words[:, 0], "words a line, source"),
            draw_histogram(words[:, 1], "words a line, target"),
            draw_histogram(ratio, "log2 of target by source characters"),
        ]
    return {
        "name": report.name,
        "summary": _summarize(report),
        "findings": list(report.findings),
        "histograms": histograms,
        "pairs": report.pairs,
    }


def draw_histogram(values: NDArray[np.float64] | NDArray[np.int64], title: str) -> str:
    """Return a histogram of the middle 99% of the values as SVG."""
    if not len(values):
        return ""
    low, high = (float(np.percentile(values, percent)) for percent in (0.5, 99.5))
    width = max(high - low, 1e-9) / HISTOGRAM_BARS
    if values.dtype.kind == "i":  # bars of integers have integer edges
        low, width = math.floor(low), max(1, math.ceil((high - low + 1) / HISTOGRAM_BARS))
    edges = low + width * np.arange(HISTOGRAM_BARS + 1)
    counts, _ = np.histogram(values, edges)
    return render_page(
        "data_check/histogram.html",
        title=title,
        bars=list(zip(edges[:-1], edges[1:], counts, strict=True)),
        max_count=counts.max() or 1,
        beyond=len(values) - int(counts.sum()),
    )


def render_json(reports: Iterable[ScanReport]) -> str:
    """Return all reports as one JSON object."""
    sets = [report.to_dict() for report in reports]
    return json.dumps({"sets": sets}, indent=1, ensure_ascii=False) + "\n"
