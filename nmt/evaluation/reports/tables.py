"""A report as tables: plain ones for a terminal, Markdown for a pull request."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from nmt.core.logging import columns, printable
from nmt.evaluation.metrics import PLACES, TITLES
from nmt.evaluation.reports.report import Report, SetReport

LINES_SHOWN = 8
"""Line numbers of a suspicion that a table shows."""
CHARACTERS_SHOWN = 160
"""Of an example."""
MANY_SYSTEMS = 3
"""With more of them, groups show BLEU alone."""
EXAMPLES_SHOWN = 3
"""Of each list, in a terminal."""


@dataclass(frozen=True)
class Table:
    """Rows under a head; the first columns are words, the others numbers."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: int = 1
    """Columns that stand to the left."""

    def text(self) -> str:
        """Lay the table out for a terminal."""
        lines = columns([self.head, *self.rows], self.words)
        return "\n".join([f"\n{self.title}"] * bool(self.title) + lines)

    def markdown(self) -> str:
        """Lay the table out as Markdown."""
        marks = ["---" if i < self.words else "---:" for i in range(len(self.head))]
        cells = [self.head, *self.rows]
        head, *rows = ([html.escape(c).replace("|", "\\|") for c in row] for row in cells)
        lines = ["| " + " | ".join(row) + " |" for row in (head, marks, *rows)]
        return "\n".join([f"### {self.title}\n"] * bool(self.title) + lines)


def scores(report: Report) -> Table:
    """Return the scores of all systems on all test sets, with confidence intervals."""
    several = any(len(its.systems) > 1 for its in report.test_sets.values())
    metrics = shown_metrics(report)
    rows = []
    for name, its in report.test_sets.items():
        for system, each in its.systems.items():
            row = [name] + [system] * several
            for metric in metrics:
                score = getattr(each.scores, metric)
                row.append("" if score is None else f"{score:.{PLACES.get(metric, 2)}f}")
                if metric == metrics[0]:
                    row.append(f"± {each.intervals[metric].half:.2f}")
            scores = each.scores
            row += [f"{scores.brevity_penalty:.3f}", f"{scores.length_ratio:.3f}"]
            rows.append([*row, str(scores.lines)])
    first, *others = (TITLES[metric] for metric in metrics)
    head = ["test set"] + ["system"] * several + [first, "95%", *others, "BP", "ratio", "lines"]
    return Table("", head, rows, words=1 + int(several))


def shown_metrics(report: Report) -> list[str]:
    """Return the metrics of the scores table: those selected, and COMET where it was computed."""
    comet = any(
        system.scores.comet is not None
        for test_set in report.test_sets.values()
        for system in test_set.systems.values()
    )
    return report.metrics + ["comet"] * comet


def signatures(report: Report) -> list[str]:
    """Return "metric: signature" lines; where test sets differ, those of each."""
    found: list[str] = []
    for name, its in report.test_sets.items():
        first = next(iter(its.systems.values())).scores.signatures
        lines = [
            f"{TITLES[metric].lower():>5}: {first[metric]}"
            for metric in shown_metrics(report)
            if metric in first
        ]
        if not found:
            found = lines
        elif lines != found[: len(lines)]:
            found += [f"{name}, {line.strip()}" for line in lines]
    return found


def sections(its: SetReport) -> Iterator[Table]:
    """Yield what a set's report says beside the scores."""
    names = list(its.systems)
    for grouping in its.groupings:
        metrics = list(grouping.groups[0].scores[names[0]]) if grouping.groups else []
        metrics = metrics[: 2 if len(names) <= MANY_SYSTEMS else 1]
        yield Table(
            f"By {grouping.title}",
            [grouping.title, "lines", *(f"{TITLES[m]} {name}" for m in metrics for name in names)],
            [
                [group.name, str(group.lines)]
                + [f"{group.scores[name][m]:.1f}" for m in metrics for name in names]
                for group in grouping.groups
            ],
        )
    bands = [(name, each.f1) for name, each in its.systems.items()]
    yield Table(
        f"Words by how often they stand in {its.seen_in}",
        ["seen", "words", *(f"F1 {name}" for name in names)],
        [
            [band.seen, str(band.words)] + [f"{f1[i].f1:.3f}" for _, f1 in bands]
            for i, band in enumerate(bands[0][1])
            if band.words
        ],
    )
    yield from _copies(its)
    yield from _subwords(its)
    yield from _suspicions(its)


def _ranked(its: SetReport, worst_first: Callable[[str], float]) -> list[str]:
    return sorted(its.systems, key=lambda name: -worst_first(name))


def _copies(its: SetReport) -> Iterator[Table]:
    """Yield what should have been copied, the system that loses most of each kind first."""
    rows = []
    for kind in next(iter(its.systems.values())).copies:

        def lost(name: str, kind: str = kind) -> float:
            accuracy = its.systems[name].copies[kind].accuracy
            return 0.0 if accuracy is None else 1 - accuracy

        for name in _ranked(its, lost):
            found = its.systems[name].copies[kind]
            if found.accuracy is not None:
                counts = f"{found.found} of {found.expected}"
                rows.append([kind, name, counts, f"{found.accuracy:.1%}"])
    if rows:
        yield Table("Copied, the most lost first", ["", "system", "found", "share"], rows, words=2)


def _subwords(its: SetReport) -> Iterator[Table]:
    rows = [
        [
            name,
            f"{found.src_tokens_a_word:.2f}",
            f"{found.tgt_tokens_a_word:.2f}",
            str(found.byte_tokens),
            str(found.unknown_tokens),
        ]
        for name, each in its.systems.items()
        if (found := each.subwords) is not None
    ]
    if rows:
        head = ["system", "source tokens a word", "target tokens a word", "bytes", "unknown"]
        yield Table("Tokens", head, rows)


def _suspicions(its: SetReport) -> Iterator[Table]:
    """Yield what looks wrong, the system with most of each kind first."""
    kinds = dict.fromkeys(kind for each in its.systems.values() for kind in each.suspicions)
    rows = []
    for kind in kinds:

        def count(name: str, kind: str = kind) -> float:
            found = its.systems[name].suspicions.get(kind)
            return 0 if found is None else found.count

        for name in _ranked(its, count):
            if count(name):
                found = its.systems[name].suspicions[kind]
                shown = ", ".join(map(str, found.lines[:LINES_SHOWN]))
                more = ", …" if found.count > LINES_SHOWN else ""
                rows.append([kind, name, shown + more, str(found.count), f"{found.share:.1%}"])
    if rows:
        head = ["what", "system", "on lines", "lines", "share"]
        yield Table("What looks wrong, the most first", head, rows, words=3)


def examples(its: SetReport, most: int) -> Iterator[str]:
    """Yield lists of examples as text, so many of each list."""
    for found in its.examples:
        rows = [f"\n{found.title}"]
        for example in found.examples[:most]:
            source = "" if example.source is None else f": {_cut(example.source)}"
            rows.append(f"  line {example.line}{source}")
            rows.append(f"  reference: {_cut(example.references[0])}")
            for name in found.systems:
                chrf = f"{example.chrf[name]:.0f} chrF"
                rows.append(f"  {name} ({chrf}): {_cut(example.hypotheses[name])}")
        yield "\n".join(rows)


def _cut(text: str) -> str:
    plain = printable(text)
    return plain if len(plain) <= CHARACTERS_SHOWN else plain[: CHARACTERS_SHOWN - 1] + "…"


def brief(report: Report) -> str:
    """Return the scores, what can be said of differences, and signatures: for a terminal."""
    said = [scores(report).text(), *signatures(report)]
    for name, its in report.test_sets.items():
        several = f"{name}: " if len(report.test_sets) > 1 else ""
        said += [several + each.says for each in its.comparisons]
    return "\n".join(said)


def all_cautions(report: Report) -> list[str]:
    """Return all that a reader must be warned of."""
    its = [f"{name}: {text}" for name, each in report.test_sets.items() for text in each.cautions]
    return its + report.cautions


def whole(report: Report) -> str:
    """Return all tables for a terminal."""
    said = [brief(report)]
    for name, its in report.test_sets.items():
        if len(report.test_sets) > 1:
            said.append(f"\n== {name}")
        said += [table.text() for table in sections(its)]
        said += examples(its, EXAMPLES_SHOWN)
    return "\n".join(said)


def markdown(report: Report) -> str:
    """Return the report for a pull request."""
    said = ["## Evaluation", scores(report).markdown()]
    said.append("\n".join(f"- `{line.strip()}`" for line in signatures(report)))
    for title, lines in (
        ("", [each.says for its in report.test_sets.values() for each in its.comparisons]),
        ("**Beware:**\n\n", all_cautions(report)),
    ):
        if lines:
            said.append(title + "\n".join(f"- {line}" for line in lines))
    for name, its in report.test_sets.items():
        tables = "\n\n".join(table.markdown() for table in sections(its))
        said.append(_folded(f"{name}: where", tables))
        for text in examples(its, EXAMPLES_SHOWN):
            title, *rows = text.strip().split("\n")
            listed = "\n".join(rows)
            said.append(_folded(f"{name}: {title}", f"```\n{listed}\n```"))
    return "\n\n".join(said) + "\n"


def _folded(title: str, text: str) -> str:
    head = f"<details><summary>{html.escape(title)}</summary>"
    return f"{head}\n\n{text}\n\n</details>"
