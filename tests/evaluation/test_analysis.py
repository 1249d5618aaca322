"""Analyses of systems with known faults, and their reports as text, Markdown and JSON."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from nmt.core.run_dir import read_json
from nmt.evaluation.analysis import Analysis, SystemOutput, analyse_test_set, no_progress
from nmt.evaluation.report import (
    EvaluationReport,
    SystemInfo,
    new_report,
    report_schema,
    write_report,
)
from nmt.evaluation.reports.tables import all_warnings, full_text, report_markdown, summary_text
from nmt.evaluation.statistics import TestSet
from tests.support.evaluation.system_outputs import random_lines, replace_words, score
from tests.support.paths import ROOT

LINES = 120
REFERENCE = random_lines(LINES, seed=1)
SOURCE = [f"{'ein' if i % 2 else 'Wo'} {line[::-1]}" for i, line in enumerate(REFERENCE)]
SOURCE = [f"{n} {line}" for n, line in enumerate(SOURCE, 100)]
FAIR = [f"{n} {line}" for n, line in enumerate(replace_words(REFERENCE, 0.1, seed=2), 100)]
REFERENCE = [f"{n} {line}" for n, line in enumerate(REFERENCE, 100)]


def change_share(share: int, change: Callable[[int, str], str]) -> list[str]:
    """Return the lines of FAIR with every `share`-th line changed."""
    return [change(i, line) if i % share == 0 else line for i, line in enumerate(FAIR)]


FAULTY_SYSTEMS = {
    "fair": FAIR,
    "drops": change_share(3, lambda i, line: " ".join(line.split()[: len(line.split()) // 2])),
    "repeats": change_share(3, lambda i, line: f"{line} {' '.join(line.split()[-4:])}"),
    "copies": change_share(3, lambda i, line: SOURCE[i]),
    "no numbers": change_share(3, lambda i, line: line[4:]),
    "silent": change_share(6, lambda i, line: ""),
}


def analyse(
    systems: dict[str, list[str]],
    references: Sequence[list[str]] = (REFERENCE,),
    src: list[str] | None = SOURCE,
    **options: object,
) -> Analysis:
    test_set = TestSet("test", list(references), src, "de", "en")
    outputs = {name: SystemOutput(lines) for name, lines in systems.items()}
    return analyse_test_set(test_set, outputs, 1, no_progress, **options)  # type: ignore[arg-type]


def make_report(analysis: Analysis) -> EvaluationReport:
    system_infos = {name: SystemInfo(kind="file", path=name) for name in analysis.outputs}
    return new_report(system_infos, {"test": analysis.report})


@pytest.fixture(scope="module")
def faulty_systems() -> Analysis:
    return analyse(FAULTY_SYSTEMS)


@pytest.mark.parametrize(
    ("system", "kind"),
    [
        ("drops", "short"),
        ("repeats", "repetition"),
        ("copies", "untranslated"),
        ("no numbers", "lost number"),
        ("silent", "empty"),
    ],
)
def test_analysis_flags_faulty_lines_and_ranks_the_system(
    faulty_systems: Analysis, system: str, kind: str
) -> None:
    lines = set(faulty_systems.report.systems[system].suspicions[kind].lines)
    expected = {i + 1 for i in range(0, LINES, 6 if system == "silent" else 3)}
    assert len(lines & expected) >= 0.9 * len(expected)
    other_counts = {
        name: report.suspicions[kind].count
        for name, report in faulty_systems.report.systems.items()
        if name != system
    }
    assert max(other_counts.values()) < len(lines)
    table = full_text(make_report(faulty_systems)).split("Failed checks")[1]
    [first, *_] = [line for line in table.split("\n") if line.startswith(kind)]
    assert re.match(rf"{kind} +{system} ", first), first


def test_analysis_lost_numbers_lower_copy_accuracy(faulty_systems: Analysis) -> None:
    systems = faulty_systems.report.systems
    accuracy = {name: report.copies["numbers"].accuracy for name, report in systems.items()}
    number_count = sum(len(re.findall(r"[\d.]+\d|\d", line)) for line in SOURCE)
    num_lost = sum(len(re.findall(r"[\d.]+\d|\d", SOURCE[i])) > 0 for i in range(0, LINES, 3))
    assert min(accuracy, key=lambda name: accuracy[name] or 0) == "no numbers"
    assert accuracy["fair"] == max(accuracy.values())  # type: ignore[type-var]
    assert accuracy["no numbers"] < 1 - num_lost / number_count + 0.01


def test_analysis_scores_of_groups_equal_sacrebleu(faulty_systems: Analysis) -> None:
    report = faulty_systems.report
    for name, lines in FAULTY_SYSTEMS.items():
        assert report.systems[name].scores == score(lines, [REFERENCE], "en")
    lengths = [len(BLEU().tokenizer(line).split()) for line in SOURCE]
    [grouping] = [g for g in report.groupings if g.title == "source length"]
    assert sum(group.lines for group in grouping.groups) == LINES
    for group in grouping.groups:
        low, high = (int(n) for n in group.name.split("-"))
        rows = [i for i, length in enumerate(lengths) if low <= length <= high]
        assert len(rows) == group.lines
        for name, lines in FAULTY_SYSTEMS.items():
            group_lines = [lines[i] for i in rows], [[REFERENCE[i] for i in rows]]
            expected = {
                "bleu": BLEU().corpus_score(*group_lines).score,
                "chrf": CHRF().corpus_score(*group_lines).score,
            }
            assert group.scores[name] == pytest.approx(expected, abs=1e-3)


def test_analysis_comparison_states_difference_and_p_value() -> None:
    worse = replace_words(FAIR, 0.3, seed=9)
    similar = ["dog" + worse[0], *worse[1:]]
    analysis = analyse({"A": worse, "B": FAIR, "C": worse, "D": similar})
    comparisons = {(c.system, c.metric): c for c in analysis.report.comparisons}
    bleu, ter = comparisons["B", "bleu"], comparisons["B", "ter"]
    gain = score(FAIR, [REFERENCE], "en").bleu - score(worse, [REFERENCE], "en").bleu
    assert bleu.difference == pytest.approx(gain)
    assert bleu.says == f"B is better than A by {gain:.2f} BLEU (p = 0.0010, n = {LINES})"
    assert ter.difference < 0
    assert ter.says.startswith("B is better than A by ")
    assert comparisons["C", "bleu"].says == f"C and A have the same BLEU (n = {LINES})"
    assert "cannot be told apart by" in comparisons["D", "ter"].says
    text = summary_text(make_report(analysis))
    assert bleu.says in text
    reversed_order = {c.metric: c.says for c in analyse({"B": FAIR, "A": worse}).report.comparisons}
    assert reversed_order["ter"].startswith("A is worse than B by ")


def test_analysis_word_f1_by_frequency_equals_hand_counts() -> None:
    references = ["a a b c", "a d d e", "x y z a"]
    hypotheses = ["a b b c", "d d d f", "z y x"]
    analysis = analyse({"s": hypotheses}, [references], None)
    counts = Counter(" ".join(references).split())
    assert (counts["a"], counts["d"]) == (4, 2)
    bands = {band.seen: band for band in analysis.report.systems["s"].f1}
    # frequency 1: b c e x y z; hypotheses match b c x y z and contain b twice
    rare_band = bands["1"]
    assert (rare_band.words, rare_band.recall) == (6, round(5 / 6, 4))
    assert rare_band.precision == round(5 / 6, 4)
    # frequency 2 to 4: a, d; hypotheses contain a d d d, and a d d match their lines
    frequent_band = bands["2-4"]
    assert (frequent_band.words, frequent_band.recall, frequent_band.precision) == (6, 0.5, 0.75)
    assert frequent_band.f1 == pytest.approx(2 * 0.5 * 0.75 / 1.25, abs=1e-4)
    assert bands["0"].words == 0


def test_analysis_examples_are_worst_or_most_different() -> None:
    lines = [*REFERENCE]
    lines[7], lines[30] = "nothing of it", "quickly " + lines[30]
    [worst] = analyse({"s": lines}).report.examples
    assert [example.line for example in worst.examples] == [8, 31]
    assert worst.examples[0].chrf["s"] == pytest.approx(
        CHRF().sentence_score(lines[7], [REFERENCE[7]]).score, abs=0.01
    )
    wins, losses = analyse({"a": lines, "b": FAIR}).report.examples
    assert wins.title == "b wins over a"
    assert wins.examples[0].line == 8
    gains = [e.chrf["b"] - e.chrf["a"] for e in (*wins.examples, *losses.examples[::-1])]
    assert gains == sorted(gains, reverse=True)
    assert all(gain > 0 for gain in gains[: len(wins.examples)])
    assert all(gain < 0 for gain in gains[len(wins.examples) :])


def test_analysis_of_one_line_has_no_significance() -> None:
    test_set = TestSet("test", [["the red dog ran"]], ["x"], "de", "en")
    outputs = {
        name: SystemOutput([line]) for name, line in (("a", "a cat"), ("b", "the red dog ran"))
    }
    report = analyse_test_set(test_set, outputs, 1, no_progress).report
    assert all("cannot be told apart" in comparison.says for comparison in report.comparisons)


def test_analysis_correct_blank_lines_are_no_examples() -> None:
    analysis = analyse({"s": ["", "the dog"]}, [["", "the red dog ran"]], None)
    assert [example.line for example in analysis.report.examples[0].examples] == [2]


def test_report_tables_accept_any_system_name() -> None:
    names = {"reference": FAIR, "a|b<i>": REFERENCE, "line 1": FAIR}
    report = make_report(analyse(names))
    text = full_text(report)
    assert text.count("  reference: ") == text.count("  reference (") > 0
    for table in re.findall(r"(?:^\|.*\n)+", report_markdown(report), re.MULTILINE):
        cells = {len(re.findall(r"(?<!\\)\|", row)) for row in table.strip().split("\n")}
        assert len(cells) == 1
    assert "| a|b<i>" not in report_markdown(report)


def test_analysis_uses_all_references() -> None:
    second = replace_words(REFERENCE, 0.2, seed=4)
    analysis = analyse({"s": FAIR}, [REFERENCE, second])
    assert analysis.report.references == 2
    assert analysis.report.systems["s"].scores == score(FAIR, [REFERENCE, second], "en")
    assert analysis.example(3).references == [REFERENCE[3], second[3]]


def test_analysis_includes_comet_scores() -> None:
    line_scores = {"a": [0.5] * LINES, "b": [0.5 + i % 2 for i in range(LINES)]}
    analysis = analyse(
        {"a": FAIR, "b": FAIR}, comet_scores=line_scores, comet_command="comet-score -t {hyp}"
    )
    scores = {name: system.scores for name, system in analysis.report.systems.items()}
    assert (scores["a"].comet, scores["b"].comet) == (0.5, 1.0)
    assert scores["a"].signatures["comet"] == "comet-score -t {hyp}"
    [comparison] = [c for c in analysis.report.comparisons if c.metric == "comet"]
    assert comparison.says.startswith("b is better than a by 0.5000 COMET (p = 0.0010")
    assert "COMET" in summary_text(make_report(analysis))


def test_analysis_includes_attention_checks() -> None:
    flags = np.zeros((LINES, 2), bool)
    flags[[4, 9], 0] = True
    test_set = TestSet("test", [REFERENCE], SOURCE, "de", "en")
    analysis = analyse_test_set(
        test_set, {"s": SystemOutput(FAIR, attention_flags=flags)}, 1, no_progress
    )
    assert analysis.report.systems["s"].suspicions["dropped source"].lines == [5, 10]
    assert "dropped source" in analysis.example(4).suspicions["s"]
    assert "dropped source" not in analysis.example(5).suspicions["s"]


def test_analysis_in_processes_equals_single_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nmt.evaluation.statistics.MIN_PARALLEL_HYPOTHESES", 1)
    monkeypatch.setattr("nmt.evaluation.statistics.CHUNK_LINES", 50)
    test_set = TestSet("test", [REFERENCE], SOURCE, "de", "en")
    steps: list[int] = []

    @contextmanager
    def progress(task: str, total: int) -> Iterator[Callable[[int], object]]:
        yield steps.append if "scoring" in task else bool

    analysis = analyse_test_set(test_set, {"fair": SystemOutput(FAIR)}, 2, progress)
    assert steps == [50, 50, 20]
    assert analysis.report == analyse({"fair": FAIR}).report


def test_analysis_without_source_omits_sections() -> None:
    analysis = analyse({"s": FAIR}, src=None)
    assert [grouping.title for grouping in analysis.report.groupings] == [
        "reference length",
        "rarest word",
    ]
    assert analysis.report.systems["s"].copies == {}
    assert analysis.example(0).source is None
    full_text(make_report(analysis))


def test_all_warnings_name_the_test_set() -> None:
    tokenized = [f"{line} ." for line in FAIR]
    messages = all_warnings(make_report(analyse({"s": tokenized})))
    assert any(text.startswith("test: s: 100% of the lines look tokenized") for text in messages)
    assert any(text.startswith(f"test: the test set has only {LINES} lines") for text in messages)


def test_report_written_and_read_is_equal(tmp_path: Path, faulty_systems: Analysis) -> None:
    report = make_report(faulty_systems)
    write_report(tmp_path / "r.json", report)
    content = read_json(tmp_path / "r.json")
    assert content["format_version"] == 1
    assert EvaluationReport.model_validate(content) == report
    assert content["test_sets"]["test"]["systems"]["fair"]["scores"]["lines"] == LINES


def test_documented_report_schema_is_current() -> None:
    file = ROOT / "docs" / "report.schema.json"
    command = 'python -c "from nmt.evaluation.report import *; print(report_schema(), end=str())"'
    assert file.read_text() == report_schema(), f"regenerate it: {command} > docs/{file.name}"
    assert json.loads(file.read_text())["title"] == "EvaluationReport"


def test_report_markdown_tables_are_complete_and_regular(faulty_systems: Analysis) -> None:
    text = report_markdown(make_report(faulty_systems))
    for line in full_text(make_report(faulty_systems)).split("\n"):
        if line.startswith("By "):
            assert f"### {line}" in text
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        cells = {len(re.findall(r"(?<!\\)\|", row)) for row in table.strip().split("\n")}
        assert len(cells) == 1
