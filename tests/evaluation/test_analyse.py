"""From translations to a report: planted faults, sections by hand, and what is said of them."""

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
from systemlines import drawn_lines, score, with_faults

from nmt.core.run_dir import read_json
from nmt.evaluation.analysis import Analysis, SystemOutput, analyse_test_set, no_progress
from nmt.evaluation.reports.report import (
    EvaluationReport,
    SystemInfo,
    new_report,
    report_schema,
    write_report,
)
from nmt.evaluation.reports.tables import all_warnings, full_text, report_markdown, summary_text
from nmt.evaluation.statistics import TestSet

ROOT = Path(__file__).parents[2]
LINES = 120
REFERENCE = drawn_lines(LINES, seed=1)
SOURCE = [f"{'ein' if i % 2 else 'Wo'} {line[::-1]}" for i, line in enumerate(REFERENCE)]
SOURCE = [f"{n} {line}" for n, line in enumerate(SOURCE, 100)]
FAIR = [f"{n} {line}" for n, line in enumerate(with_faults(REFERENCE, 0.1, seed=2), 100)]
REFERENCE = [f"{n} {line}" for n, line in enumerate(REFERENCE, 100)]


def of(share: int, change: Callable[[int, str], str]) -> list[str]:
    """Return the fair lines, one in `share` of them changed."""
    return [change(i, line) if i % share == 0 else line for i, line in enumerate(FAIR)]


PLANTED = {
    "fair": FAIR,
    "drops": of(3, lambda i, line: " ".join(line.split()[: len(line.split()) // 2])),
    "repeats": of(3, lambda i, line: f"{line} {' '.join(line.split()[-4:])}"),
    "copies": of(3, lambda i, line: SOURCE[i]),
    "no numbers": of(3, lambda i, line: line[4:]),
    "silent": of(6, lambda i, line: ""),
}


def analysed(
    systems: dict[str, list[str]],
    references: Sequence[list[str]] = (REFERENCE,),
    src: list[str] | None = SOURCE,
    **others: object,
) -> Analysis:
    test = TestSet("test", list(references), src, "de", "en")
    answers = {name: SystemOutput(lines) for name, lines in systems.items()}
    return analyse_test_set(test, answers, 1, no_progress, **others)  # type: ignore[arg-type]


def report_of(found: Analysis) -> EvaluationReport:
    about = {name: SystemInfo(kind="file", path=name) for name in found.outputs}
    return new_report(about, {"test": found.report})


@pytest.fixture(scope="module")
def planted() -> Analysis:
    return analysed(PLANTED)


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
def test_a_planted_fault_is_found_on_its_lines_and_ranked_first(
    planted: Analysis, system: str, kind: str
) -> None:
    lines = set(planted.report.systems[system].suspicions[kind].lines)
    expected = {i + 1 for i in range(0, LINES, 6 if system == "silent" else 3)}
    assert len(lines & expected) >= 0.9 * len(expected)
    others = {
        name: its.suspicions[kind].count
        for name, its in planted.report.systems.items()
        if name != system
    }
    assert max(others.values()) < len(lines)
    table = full_text(report_of(planted)).split("What looks wrong")[1]
    [first, *_] = [line for line in table.split("\n") if line.startswith(kind)]
    assert re.match(rf"{kind} +{system} ", first), first


def test_the_system_that_loses_numbers_has_the_worst_accuracy(planted: Analysis) -> None:
    share = {name: its.copies["numbers"].accuracy for name, its in planted.report.systems.items()}
    numbers = sum(len(re.findall(r"[\d.]+\d|\d", line)) for line in SOURCE)
    lost = sum(len(re.findall(r"[\d.]+\d|\d", SOURCE[i])) > 0 for i in range(0, LINES, 3))
    assert min(share, key=lambda name: share[name] or 0) == "no numbers"
    assert share["fair"] == max(share.values())  # type: ignore[type-var]
    assert share["no numbers"] < 1 - lost / numbers + 0.01


def test_scores_and_groups_are_sacrebleu_on_their_lines(planted: Analysis) -> None:
    report = planted.report
    for name, lines in PLANTED.items():
        assert report.systems[name].scores == score(lines, [REFERENCE], "en")
    lengths = [len(BLEU().tokenizer(line).split()) for line in SOURCE]
    [grouping] = [each for each in report.groupings if each.title == "source length"]
    assert sum(group.lines for group in grouping.groups) == LINES
    for group in grouping.groups:
        low, high = (int(n) for n in group.name.split("-"))
        rows = [i for i, length in enumerate(lengths) if low <= length <= high]
        assert len(rows) == group.lines
        for name, lines in PLANTED.items():
            chosen = [lines[i] for i in rows], [[REFERENCE[i] for i in rows]]
            expected = {
                "bleu": BLEU().corpus_score(*chosen).score,
                "chrf": CHRF().corpus_score(*chosen).score,
            }
            assert group.scores[name] == pytest.approx(expected, abs=1e-3)


def test_two_systems_are_told_apart_in_a_sentence() -> None:
    worse = with_faults(FAIR, 0.3, seed=9)
    near = ["dog" + worse[0], *worse[1:]]
    found = analysed({"A": worse, "B": FAIR, "C": worse, "D": near})
    said = {(each.system, each.metric): each for each in found.report.comparisons}
    b, ter = said["B", "bleu"], said["B", "ter"]
    gain = score(FAIR, [REFERENCE], "en").bleu - score(worse, [REFERENCE], "en").bleu
    assert b.difference == pytest.approx(gain)
    assert b.says == f"B is better than A by {gain:.2f} BLEU (p = 0.0010, n = {LINES})"
    assert ter.difference < 0
    assert ter.says.startswith("B is better than A by ")
    assert said["C", "bleu"].says == f"C and A have the same BLEU (n = {LINES})"
    assert "cannot be told apart by" in said["D", "ter"].says
    text = summary_text(report_of(found))
    assert b.says in text
    back = {e.metric: e.says for e in analysed({"B": FAIR, "A": worse}).report.comparisons}
    assert back["ter"].startswith("A is worse than B by ")


def test_words_are_counted_by_how_often_they_were_seen() -> None:
    references = ["a a b c", "a d d e", "x y z a"]
    hypotheses = ["a b b c", "d d d f", "z y x"]
    found = analysed({"s": hypotheses}, [references], None)
    counts = Counter(" ".join(references).split())
    assert (counts["a"], counts["d"]) == (4, 2)
    bands = {band.seen: band for band in found.report.systems["s"].f1}
    # seen once: b c e x y z; of those b c x y z are found, and b stands there twice
    once = bands["1"]
    assert (once.words, once.recall) == (6, round(5 / 6, 4))
    assert once.precision == round(5 / 6, 4)
    # seen 2 to 4 times: a, d; hypotheses have a d d d, of which a d d stand in their lines
    few = bands["2-4"]
    assert (few.words, few.recall, few.precision) == (6, 0.5, 0.75)
    assert few.f1 == pytest.approx(2 * 0.5 * 0.75 / 1.25, abs=1e-4)
    assert bands["0"].words == 0


def test_one_system_shows_its_worst_lines_and_two_where_they_differ() -> None:
    lines = [*REFERENCE]
    lines[7], lines[30] = "nothing of it", "quickly " + lines[30]
    [worst] = analysed({"s": lines}).report.examples
    assert [each.line for each in worst.examples] == [8, 31]
    assert worst.examples[0].chrf["s"] == pytest.approx(
        CHRF().sentence_score(lines[7], [REFERENCE[7]]).score, abs=0.01
    )
    wins, losses = analysed({"a": lines, "b": FAIR}).report.examples
    assert wins.title == "b wins over a"
    assert wins.examples[0].line == 8
    gains = [each.chrf["b"] - each.chrf["a"] for each in (*wins.examples, *losses.examples[::-1])]
    assert gains == sorted(gains, reverse=True)
    assert all(gain > 0 for gain in gains[: len(wins.examples)])
    assert all(gain < 0 for gain in gains[len(wins.examples) :])


def test_of_one_line_nothing_is_sure() -> None:
    test = TestSet("test", [["the red dog ran"]], ["x"], "de", "en")
    answers = {
        name: SystemOutput([line]) for name, line in (("a", "a cat"), ("b", "the red dog ran"))
    }
    found = analyse_test_set(test, answers, 1, no_progress).report
    assert all("cannot be told apart" in each.says for each in found.comparisons)


def test_blank_lines_that_should_be_blank_are_not_the_worst() -> None:
    found = analysed({"s": ["", "the dog"]}, [["", "the red dog ran"]], None)
    assert [each.line for each in found.report.examples[0].examples] == [2]


def test_a_system_may_have_any_name() -> None:
    names = {"reference": FAIR, "a|b<i>": REFERENCE, "line 1": FAIR}
    report = report_of(analysed(names))
    text = full_text(report)
    assert text.count("  reference: ") == text.count("  reference (") > 0
    for table in re.findall(r"(?:^\|.*\n)+", report_markdown(report), re.MULTILINE):
        cells = {len(re.findall(r"(?<!\\)\|", row)) for row in table.strip().split("\n")}
        assert len(cells) == 1
    assert "| a|b<i>" not in report_markdown(report)


def test_several_references_are_one_test_set() -> None:
    others = with_faults(REFERENCE, 0.2, seed=4)
    found = analysed({"s": FAIR}, [REFERENCE, others])
    assert found.report.references == 2
    assert found.report.systems["s"].scores == score(FAIR, [REFERENCE, others], "en")
    assert found.example(3).references == [REFERENCE[3], others[3]]


def test_an_outside_metric_is_scored_and_tested_like_the_others() -> None:
    outside = {"a": [0.5] * LINES, "b": [0.5 + i % 2 for i in range(LINES)]}
    found = analysed(
        {"a": FAIR, "b": FAIR}, comet_scores=outside, comet_command="comet-score -t {hyp}"
    )
    scores = {name: its.scores for name, its in found.report.systems.items()}
    assert (scores["a"].comet, scores["b"].comet) == (0.5, 1.0)
    assert scores["a"].signatures["comet"] == "comet-score -t {hyp}"
    [said] = [each for each in found.report.comparisons if each.metric == "comet"]
    assert said.says.startswith("b is better than a by 0.5000 COMET (p = 0.0010")
    assert "COMET" in summary_text(report_of(found))


def test_looks_of_attention_are_suspicions_too() -> None:
    looks = np.zeros((LINES, 2), bool)
    looks[[4, 9], 0] = True
    test = TestSet("test", [REFERENCE], SOURCE, "de", "en")
    found = analyse_test_set(test, {"s": SystemOutput(FAIR, attention_flags=looks)}, 1, no_progress)
    assert found.report.systems["s"].suspicions["dropped source"].lines == [5, 10]
    assert "dropped source" in found.example(4).suspicions["s"]
    assert "dropped source" not in found.example(5).suspicions["s"]


def test_processes_find_what_one_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nmt.evaluation.statistics.MIN_PARALLEL_HYPOTHESES", 1)
    monkeypatch.setattr("nmt.evaluation.statistics.CHUNK_LINES", 50)
    test = TestSet("test", [REFERENCE], SOURCE, "de", "en")
    done: list[int] = []

    @contextmanager
    def progress(what: str, total: int) -> Iterator[Callable[[int], object]]:
        yield done.append if "scoring" in what else bool

    found = analyse_test_set(test, {"fair": SystemOutput(FAIR)}, 2, progress)
    assert done == [50, 50, 20]
    assert found.report == analysed({"fair": FAIR}).report


def test_without_a_source_sections_that_need_one_are_left_out() -> None:
    found = analysed({"s": FAIR}, src=None)
    assert [each.title for each in found.report.groupings] == ["reference length", "rarest word"]
    assert found.report.systems["s"].copies == {}
    assert found.example(0).source is None
    full_text(report_of(found))


def test_cautions_name_the_test_set() -> None:
    spoilt = [f"{line} ." for line in FAIR]
    said = all_warnings(report_of(analysed({"s": spoilt})))
    assert any(text.startswith("test: s: 100% of the lines look tokenized") for text in said)
    assert any(text.startswith(f"test: {LINES} lines are few") for text in said)


def test_the_report_goes_through_its_file(tmp_path: Path, planted: Analysis) -> None:
    report = report_of(planted)
    write_report(tmp_path / "r.json", report)
    content = read_json(tmp_path / "r.json")
    assert content["format_version"] == 1
    assert EvaluationReport.model_validate(content) == report
    assert content["test_sets"]["test"]["systems"]["fair"]["scores"]["lines"] == LINES


def test_the_schema_in_the_documentation_is_the_reports() -> None:
    file = ROOT / "docs" / "report.schema.json"
    command = (
        'python -c "from nmt.evaluation.reports.report import *; print(report_schema(), end=str())"'
    )
    assert file.read_text() == report_schema(), f"make it anew: {command} > docs/{file.name}"
    assert json.loads(file.read_text())["title"] == "EvaluationReport"


def test_markdown_has_all_tables_with_as_many_cells_in_each_row(planted: Analysis) -> None:
    text = report_markdown(report_of(planted))
    for line in full_text(report_of(planted)).split("\n"):
        if line.startswith("By "):
            assert f"### {line}" in text
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        cells = {len(re.findall(r"(?<!\\)\|", row)) for row in table.strip().split("\n")}
        assert len(cells) == 1
