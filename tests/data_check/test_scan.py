"""Scans of complete text sets: planted faults are found, and no other errors."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from nmt.data.corpus.text_set_reader import TextSetReader
from nmt.data_check import scan as scan_module
from nmt.data_check.chunk_scan import index_held_out_set
from nmt.data_check.scan import ScanReport
from nmt.errors import DataError
from tests.support.data.difficult_text import CLEAN_LINES, FaultyText, demo_lines
from tests.support.data.scans import scan, scan_lines, write_lines
from tests.support.paths import CORPORA


def test_scan_planted_faults_are_found_on_their_lines(
    faulty_text: FaultyText, report: ScanReport
) -> None:
    findings = {(finding.kind, finding.side): finding.lines for finding in report.findings}
    for key, lines in faulty_text.faults.items():
        assert findings.get(key) == lines, key


def test_scan_clean_lines_have_no_errors(faulty_text: FaultyText, report: ScanReport) -> None:
    errors = {(f.kind, f.side) for f in report.findings if f.severity == "error"}
    assert errors <= set(faulty_text.faults)


def test_scan_counts_lines_at_line_feeds_only(report: ScanReport) -> None:
    assert report.counts == (CLEAN_LINES, CLEAN_LINES)
    assert len(report.lengths) == CLEAN_LINES


def test_scan_small_chunks_in_two_processes_is_equal(
    faulty_text: FaultyText, report: ScanReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan_module, "MIN_PAIRS_FOR_PROCESSES", 1)
    monkeypatch.setattr(scan_module, "CHUNK_PAIRS", 701)
    held_out = index_held_out_set("test", faulty_text.test)
    parallel = scan(faulty_text.train, held_out_sets=[held_out], cores=2)
    assert parallel.to_dict() == report.to_dict()


def test_scan_uneven_sides_scans_common_lines(tmp_path: Path) -> None:
    src, tgt = demo_lines("valid.en"), demo_lines("valid.fr")
    report = scan_lines(tmp_path, src, tgt[:-3])
    [finding] = report.findings.of_kind("counts")
    assert (finding.lines, report.counts) == ([498], (500, 497))
    assert "500 lines" in finding.examples[0]
    assert "497" in finding.examples[0]


@pytest.mark.parametrize("lines", [[], [""], ["Hello."], ["", "Hello."]])
def test_scan_tiny_text_has_no_errors(lines: list[str], tmp_path: Path) -> None:
    report = scan_lines(tmp_path, lines, lines)
    assert report.counts == (len(lines), len(lines))
    assert not [finding for finding in report.findings if finding.severity == "error"]


def test_scan_tokenized_side_is_reported(tmp_path: Path) -> None:
    src, tgt = demo_lines("valid.en"), demo_lines("valid.fr")
    src = [line.replace(".", " .").replace(",", " ,") for line in src]
    report = scan_lines(tmp_path, src, tgt)
    [finding] = report.findings.of_kind("tokenized")
    assert finding.side == "src"
    assert finding.count > 400


@pytest.mark.parametrize("side", ["src", "tgt"])
def test_scan_japanese_with_spaces_is_tokenized(side: str, tmp_path: Path) -> None:
    japanese = ["昨日 は 友達 と 一緒 に 映画 を 見 ました", "今日は雨が降っています。"] * 10
    english = ["I watched a film with a friend yesterday.", "It is raining today."] * 10
    src, tgt = (japanese, english) if side == "src" else (english, japanese)
    report = scan_lines(tmp_path, src, tgt)
    [finding] = report.findings.of_kind("tokenized")
    assert (finding.side, finding.lines) == (side, list(range(1, 20, 2)))


def test_scan_file_formats_give_the_same_findings(tmp_path: Path) -> None:
    """Compare two files with the same text in two parts, as TSV and as JSON lines."""
    src, tgt = (demo_lines(f"valid.{language}") for language in ("en", "fr"))
    src[300] += " &amp;"
    tgt[100:200] = [*tgt[101:200], tgt[100]]
    expected = scan_lines(tmp_path, src, tgt)
    parts = [tuple(tmp_path / f"{name}.{side}" for side in ("en", "fr")) for name in ("b", "c")]
    for part, lines in zip(parts, (slice(0, 150), slice(150, None)), strict=True):
        for file, side_lines in zip(part, (src, tgt), strict=True):
            write_lines(file, side_lines[lines])
    rows = list(zip(src, tgt, strict=True))
    tsv, jsonl = tmp_path / "a.tsv", tmp_path / "a.jsonl"
    write_lines(tsv, [f"{t}\t{s}" for s, t in rows])
    write_lines(jsonl, [json.dumps({"s": s, "t": t}) for s, t in rows])
    for reader in (
        TextSetReader(parts),
        TextSetReader([(tsv,)], "tsv", (1, 0)),
        TextSetReader([(jsonl,)], "jsonl", ("s", "t")),
    ):
        report = scan(reader)
        assert report.counts == expected.counts
        assert report.pairs == expected.pairs
        assert [(f.kind, f.side, f.lines) for f in report.findings] == [
            (f.kind, f.side, f.lines) for f in expected.findings
        ]
    assert expected.findings.of_kind("entity")


def test_scan_missing_file_is_an_error(tmp_path: Path) -> None:
    reader = TextSetReader([(tmp_path / "a", tmp_path / "b")])
    with pytest.raises(DataError, match="no such file"):
        scan(reader, ("a", "b"))


def test_scan_related_language_is_a_warning(tmp_path: Path) -> None:
    """In Afrikaans text, a Dutch line is a warning and an English line is an error."""
    english = "The old man sits on a bench in the park and reads the newspaper."
    afrikaans = "Die ou man sit op 'n bankie in die park en lees die koerant."
    dutch = "De oude man zit op een bank in het park en leest de krant."
    french = ["Le vieil homme lit le journal sur un banc du parc."] * 3
    report = scan_lines(tmp_path, french, [afrikaans, dutch, english], ("fr", "af"))
    [related] = report.findings.of_kind("related_language")
    [unrelated] = report.findings.of_kind("language")
    assert (related.side, related.lines, related.severity) == ("tgt", [2], "warning")
    assert (unrelated.side, unrelated.lines, unrelated.severity) == ("tgt", [3], "error")


def test_scan_swapped_related_languages_are_warnings(tmp_path: Path) -> None:
    spanish = "Hoy hace buen tiempo y los niños juegan en la calle."
    portuguese = "Hoje o tempo está bom e as crianças brincam na rua."
    report = scan_lines(tmp_path, [portuguese], [spanish], ("es", "pt"))
    assert {(finding.kind, finding.side) for finding in report.findings} == {
        ("related_language", "src"),
        ("related_language", "tgt"),
    }


@pytest.mark.slow
@pytest.mark.skipif(not CORPORA.is_dir(), reason="needs the shared corpora")
def test_scan_planted_languages_in_real_text_are_found(tmp_path: Path) -> None:
    """Replace 200 of 29,000 German lines by lines in three other languages."""
    folder = CORPORA / "multi30k"
    sides = {
        code: (folder / f"train.{code}").read_text("utf-8").split("\n")[:-1]
        for code in ("en", "de", "fr", "cs")
    }
    rng = random.Random(5)
    src, tgt = sides["en"], list(sides["de"])
    faults = set(rng.sample(range(len(tgt)), 200))
    for i in faults:
        tgt[i] = rng.choice(sides[rng.choice(["en", "fr", "cs"])])
    report = scan_lines(tmp_path, src, tgt, ("en", "de"))
    reported = {line - 1 for f in report.findings.of_kind("language") for line in f.lines}
    precision = len(reported & faults) / len(reported)
    recall = len(reported & faults) / len(faults)
    assert precision >= 0.95
    assert recall >= 0.90
