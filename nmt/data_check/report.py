"""The doctor's report for people: lines for a terminal, and one page for a browser."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Iterable, Sequence
from importlib.resources import files as resources

import numpy as np
from numpy.typing import NDArray

from nmt.data_check.findings import KINDS, Finding
from nmt.data_check.pair_checks import shown
from nmt.data_check.scan import Report

LINES_SHOWN = 8
BARS = 40


def spans(lines: Sequence[int], most: int = LINES_SHOWN) -> str:
    """Write line numbers, runs of them as 5-9; at most this many items, then an ellipsis."""
    runs: list[list[int]] = []
    for line in lines:
        if runs and line == runs[-1][1] + 1:
            runs[-1][1] = line
        else:
            runs.append([line, line])
    written = [f"{a}" if a == b else f"{a}-{b}" for a, b in runs[:most]]
    return ", ".join(written) + (", …" if len(runs) > most else "")


def terminal(report: Report) -> str:
    """Return the report of one text set in lines."""
    src, tgt = report.files
    rows = [f"{report.name}: {src} | {tgt}", f"  {_counted(report)}"]
    found = list(report.findings)
    for finding in found:
        side = "" if finding.place == "pair" else f", {finding.place}"
        head = f"  {finding.severity:<7}  {finding.kind}{side}: {finding.count}"
        rows.append(f"{head} ({KINDS[finding.kind].says})")
        rows.append(f"           line {spans(finding.lines)}")
        rows += [f"           {shown(example, 100)}" for example in finding.examples[:2]]
        rows.append(f"           fix: {KINDS[finding.kind].fix}")
    if not found:
        rows.append("  nothing found")
    if report.pairs:
        rows.append("  random pairs:")
        rows += [f"    {shown(src)} | {shown(tgt)}" for src, tgt in report.pairs]
    return "\n".join(rows)


def _counted(report: Report) -> str:
    languages = " and ".join(code or "an unknown language" for code in report.languages)
    said = f"{min(report.counts)} pairs in {languages}"
    if not len(report.lengths):
        return said
    mean = report.lengths.mean(0)
    high = np.percentile(report.lengths[:, (1, 3)], 95, axis=0)
    return (
        f"{said}; words a line {mean[1]:.1f} and {mean[3]:.1f} (95% have at most {high[0]:.0f} "
        f"and {high[1]:.0f})"
    )


def page(reports: Iterable[Report]) -> str:
    """Return one self-contained HTML page."""
    template = resources("nmt.data_check").joinpath("page.html").read_text("utf-8")
    return template.replace("<!-- sets -->", "\n".join(_section(each) for each in reports))


def _section(report: Report) -> str:
    parts = [f"<h2>{html.escape(report.name)}</h2>", f"<p>{html.escape(_counted(report))}</p>"]
    parts.append(_findings(list(report.findings)))
    if len(report.lengths):
        chars = report.lengths[:, (0, 2)]
        words = report.lengths[:, (1, 3)]
        both = (chars > 0).all(1)
        ratio = np.log2((chars[both, 1] + 1) / (chars[both, 0] + 1))
        parts.append("<div class=plots>")
        for side, name in enumerate(("source", "target")):
            parts.append(histogram(words[:, side], f"words a line, {name}"))
        parts.append(histogram(ratio, "log2 of target by source characters"))
        parts.append("</div>")
    rows = "".join(f"<tr><td>{html.escape(src)}<td>{html.escape(tgt)}" for src, tgt in report.pairs)
    parts.append(f"<h3>Pairs at random</h3><table>{rows}</table>")
    return "\n".join(parts)


def _findings(found: list[Finding]) -> str:
    if not found:
        return "<p>Nothing found.</p>"
    rows = []
    for finding in found:
        severity = finding.severity
        examples = "<br>".join(html.escape(example) for example in finding.examples)
        rows.append(
            f"<tr class={severity}><td>{severity}<td>{finding.kind}<td>{finding.place}"
            f"<td>{finding.count}<td>{html.escape(KINDS[finding.kind].says)}"
            f"<td>{html.escape(KINDS[finding.kind].fix)}"
            f"<td>{spans(finding.lines, 30)}<td>{examples}"
        )
    head = "<tr><th>how bad<th>kind<th>side<th>lines<th>what<th>fix<th>where<th>for example"
    return f"<table>{head}{''.join(rows)}</table>"


def histogram(values: NDArray[np.float64] | NDArray[np.int64], title: str) -> str:
    """Draw how often values occur, in the middle 99% of them, as SVG."""
    if not len(values):
        return ""
    low, high = (float(np.percentile(values, share)) for share in (0.5, 99.5))
    step = max(high - low, 1e-9) / BARS
    if values.dtype.kind == "i":  # whole numbers fill whole bars
        low, step = math.floor(low), max(1, math.ceil((high - low + 1) / BARS))
    edges = low + step * np.arange(BARS + 1)
    counts, _ = np.histogram(values, edges)
    beyond = len(values) - int(counts.sum())
    top = counts.max() or 1
    bars = "".join(
        f"<rect x={10 * i} y={100 - 100 * n / top:.1f} width=9 height={100 * n / top:.1f}>"
        f"<title>{a:.4g} to {b:.4g}: {n}</title></rect>"
        for i, (n, a, b) in enumerate(zip(counts, edges[:-1], edges[1:], strict=True))
    )
    said = f"{html.escape(title)}; {beyond} beyond" if beyond else html.escape(title)
    return (
        f'<figure><svg viewBox="0 0 {10 * BARS} 118">{bars}<text x=0 y=114>{edges[0]:.4g}</text>'
        f"<text x={10 * BARS} y=114 text-anchor=end>{edges[-1]:.4g}</text></svg>"
        f"<figcaption>{said}</figcaption></figure>"
    )


def as_json(reports: Iterable[Report]) -> str:
    """Return all reports as one JSON object."""
    sets = [report.record() for report in reports]
    return json.dumps({"sets": sets}, indent=1, ensure_ascii=False) + "\n"
