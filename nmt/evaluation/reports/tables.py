"""A report as tables: plain text for a terminal, and Markdown for a pull request."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from nmt.core.console import replace_unprintable
from nmt.core.rendering.tables import align_columns
from nmt.evaluation.metrics import DECIMALS, DEFAULT_DECIMALS, METRIC_TITLES
from nmt.evaluation.report import EvaluationReport, TestSetReport

MAX_LINE_NUMBERS = 8
"""Maximum number of line numbers that a table shows for a check."""
MAX_CHARACTERS = 160
"""Maximum number of characters of an example."""
MAX_SYSTEMS_WITH_CHRF = 3
"""With more systems, breakdowns show BLEU only."""
EXAMPLES_PER_LIST = 3
"""Number of examples of each list in text and Markdown."""


@dataclass(frozen=True)
class Table:
    """Rows under a header."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    text_columns: int = 1
    """Number of left-aligned columns; the remaining columns are numbers."""

    def as_text(self) -> str:
        """Return the table for a terminal."""
        number_columns = range(self.text_columns, len(self.header))
        lines = align_columns([self.header, *self.rows], number_columns)
        return "\n".join([f"\n{self.title}"] * bool(self.title) + lines)

    def as_markdown(self) -> str:
        """Return the table as Markdown."""
        alignment = ["---" if i < self.text_columns else "---:" for i in range(len(self.header))]
        header, *rows = (
            [html.escape(cell).replace("|", "\\|") for cell in row]
            for row in (self.header, *self.rows)
        )
        lines = ["| " + " | ".join(row) + " |" for row in (header, alignment, *rows)]
        return "\n".join([f"### {self.title}\n"] * bool(self.title) + lines)


def scores_table(report: EvaluationReport) -> Table:
    """Return the scores of all systems on all test sets, with confidence intervals."""
    has_systems = any(len(test_set.systems) > 1 for test_set in report.test_sets.values())
    metrics = shown_metrics(report)
    rows = []
    for test_set_name, test_set in report.test_sets.items():
        for system_name, system in test_set.systems.items():
            row = [test_set_name] + [system_name] * has_systems
            scores = system.scores
            for metric in metrics:
                score = getattr(scores, metric)
                decimals = DECIMALS.get(metric, DEFAULT_DECIMALS)
                row.append("" if score is None else f"{score:.{decimals}f}")
                if metric == metrics[0]:
                    row.append(f"± {system.intervals[metric].half:.2f}")
            row += [f"{scores.brevity_penalty:.3f}", f"{scores.length_ratio:.3f}"]
            rows.append([*row, str(scores.lines)])
    first, *others = (METRIC_TITLES[metric] for metric in metrics)
    names = ["test set"] + ["system"] * has_systems
    header = [*names, first, "95%", *others, "BP", "ratio", "lines"]
    return Table("", header, rows, text_columns=len(names))


def shown_metrics(report: EvaluationReport) -> list[str]:
    """Return the metrics of the scores table: those selected, and COMET if it was computed."""
    has_comet = any(
        system.scores.comet is not None
        for test_set in report.test_sets.values()
        for system in test_set.systems.values()
    )
    return report.metrics + ["comet"] * has_comet


def signatures(report: EvaluationReport) -> list[str]:
    """Return "metric: signature" lines; a test set with different signatures has its own lines."""
    first_lines: list[str] = []
    other_lines: list[str] = []
    for name, test_set in report.test_sets.items():
        system_signatures = next(iter(test_set.systems.values())).scores.signatures
        lines = [
            f"{METRIC_TITLES[metric].lower():>5}: {system_signatures[metric]}"
            for metric in shown_metrics(report)
            if metric in system_signatures
        ]
        if not first_lines:
            first_lines = lines
        elif lines != first_lines[: len(lines)]:
            other_lines += [f"{name}, {line.strip()}" for line in lines]
    return first_lines + other_lines


def detail_tables(report: TestSetReport) -> Iterator[Table]:
    """Yield all tables of a test set except the scores."""
    yield from _breakdown_tables(report)
    yield _frequency_table(report)
    yield from _copy_table(report)
    yield from _subword_table(report)
    yield from _check_table(report)


def _breakdown_tables(report: TestSetReport) -> Iterator[Table]:
    names = list(report.systems)
    for breakdown in report.groupings:
        metrics = list(breakdown.groups[0].scores[names[0]]) if breakdown.groups else []
        metrics = metrics[: 2 if len(names) <= MAX_SYSTEMS_WITH_CHRF else 1]
        score_columns = [(metric, name) for metric in metrics for name in names]
        yield Table(
            f"By {breakdown.title}",
            [
                breakdown.title,
                "lines",
                *(f"{METRIC_TITLES[metric]} {name}" for metric, name in score_columns),
            ],
            [
                [group.name, str(group.lines)]
                + [f"{group.scores[name][metric]:.1f}" for metric, name in score_columns]
                for group in breakdown.groups
            ],
        )


def _frequency_table(report: TestSetReport) -> Table:
    names = list(report.systems)
    bands = [system.f1 for system in report.systems.values()]
    return Table(
        f"Words by frequency in {report.seen_in}",
        ["seen", "words", *(f"F1 {name}" for name in names)],
        [
            [row[0].seen, str(row[0].words)] + [f"{band.f1:.3f}" for band in row]
            for row in zip(*bands, strict=True)
            if row[0].words
        ],
    )


def _copy_table(report: TestSetReport) -> Iterator[Table]:
    """Yield copy accuracy; for each kind, the systems in order of ascending accuracy."""
    rows = []
    for kind in next(iter(report.systems.values())).copies:

        def error_rate(name: str, kind: str = kind) -> float:
            accuracy = report.systems[name].copies[kind].accuracy
            return 0.0 if accuracy is None else 1 - accuracy

        for name in _in_descending_order(report, error_rate):
            copies = report.systems[name].copies[kind]
            if copies.accuracy is not None:
                counts = f"{copies.found} of {copies.expected}"
                rows.append([kind, name, counts, f"{copies.accuracy:.1%}"])
    if rows:
        header = ["item", "system", "copied", "share"]
        yield Table(
            "Items copied from the source, lowest accuracy first", header, rows, text_columns=2
        )


def _subword_table(report: TestSetReport) -> Iterator[Table]:
    rows = []
    for name, system in report.systems.items():
        if system.subwords is not None:
            rows.append(
                [
                    name,
                    f"{system.subwords.src_tokens_a_word:.2f}",
                    f"{system.subwords.tgt_tokens_a_word:.2f}",
                    str(system.subwords.byte_tokens),
                    str(system.subwords.unknown_tokens),
                ]
            )
    if rows:
        header = ["system", "source tokens/word", "target tokens/word", "bytes", "unknown"]
        yield Table("Tokens", header, rows)


def _check_table(report: TestSetReport) -> Iterator[Table]:
    """Yield the failed checks; for each check, the system with the most lines first."""
    checks = dict.fromkeys(
        check for system in report.systems.values() for check in system.suspicions
    )
    rows = []
    for check in checks:

        def count(name: str, check: str = check) -> float:
            flagged = report.systems[name].suspicions.get(check)
            return 0 if flagged is None else flagged.count

        for name in _in_descending_order(report, count):
            if count(name):
                flagged = report.systems[name].suspicions[check]
                numbers = ", ".join(map(str, flagged.lines[:MAX_LINE_NUMBERS]))
                if flagged.count > MAX_LINE_NUMBERS:
                    numbers += ", …"
                rows.append([check, name, numbers, str(flagged.count), f"{flagged.share:.1%}"])
    if rows:
        header = ["check", "system", "line numbers", "lines", "share"]
        yield Table("Failed checks, most frequent first", header, rows, text_columns=3)


def _in_descending_order(report: TestSetReport, value: Callable[[str], float]) -> list[str]:
    """Return the names of the systems by descending value."""
    return sorted(report.systems, key=lambda name: -value(name))


def example_texts(report: TestSetReport, max_examples: int) -> Iterator[str]:
    """Yield each list of examples as text, with at most `max_examples` examples."""
    for example_list in report.examples:
        lines = [f"\n{example_list.title}"]
        for example in example_list.examples[:max_examples]:
            source = "" if example.source is None else f": {_shorten(example.source)}"
            lines.append(f"  line {example.line}{source}")
            lines.append(f"  reference: {_shorten(example.references[0])}")
            for name in example_list.systems:
                hypothesis = _shorten(example.hypotheses[name])
                lines.append(f"  {name} ({example.chrf[name]:.0f} chrF): {hypothesis}")
        yield "\n".join(lines)


def _shorten(text: str) -> str:
    shown = replace_unprintable(text)
    return shown if len(shown) <= MAX_CHARACTERS else shown[: MAX_CHARACTERS - 1] + "…"


def summary_text(report: EvaluationReport) -> str:
    """Return the scores, signatures and comparisons as text for a terminal."""
    lines = [scores_table(report).as_text(), *signatures(report)]
    for name, test_set in report.test_sets.items():
        prefix = f"{name}: " if len(report.test_sets) > 1 else ""
        lines += [prefix + comparison.says for comparison in test_set.comparisons]
    return "\n".join(lines)


def all_warnings(report: EvaluationReport) -> list[str]:
    """Return the warnings of all test sets and of the report."""
    messages = [
        f"{name}: {message}"
        for name, test_set in report.test_sets.items()
        for message in test_set.cautions
    ]
    return messages + report.cautions


def full_text(report: EvaluationReport) -> str:
    """Return all tables and some examples as text for a terminal."""
    texts = [summary_text(report)]
    for name, test_set in report.test_sets.items():
        if len(report.test_sets) > 1:
            texts.append(f"\n== {name}")
        texts += [table.as_text() for table in detail_tables(test_set)]
        texts += example_texts(test_set, EXAMPLES_PER_LIST)
    return "\n".join(texts)


def report_markdown(report: EvaluationReport) -> str:
    """Return the report as Markdown for a pull request."""
    blocks = ["## Evaluation", scores_table(report).as_markdown()]
    blocks.append("\n".join(f"- `{line.strip()}`" for line in signatures(report)))
    comparisons = [c.says for test_set in report.test_sets.values() for c in test_set.comparisons]
    for title, lines in (("", comparisons), ("**Warnings:**\n\n", all_warnings(report))):
        if lines:
            blocks.append(title + "\n".join(f"- {line}" for line in lines))
    for name, test_set in report.test_sets.items():
        tables = "\n\n".join(table.as_markdown() for table in detail_tables(test_set))
        blocks.append(_details(f"{name}: breakdowns and checks", tables))
        for text in example_texts(test_set, EXAMPLES_PER_LIST):
            title, *rows = text.strip().split("\n")
            listing = "\n".join(rows)
            blocks.append(_details(f"{name}: {title}", f"```\n{listing}\n```"))
    return "\n\n".join(blocks) + "\n"


def _details(title: str, content: str) -> str:
    """Return Markdown that the reader unfolds."""
    header = f"<details><summary>{html.escape(title)}</summary>"
    return f"{header}\n\n{content}\n\n</details>"
