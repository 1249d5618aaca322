"""The whole examination: each planted fault is found on its lines, and no other error is told."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from nastytext import CLEAN_LINES, Nasty, demo_lines

from nmt.data.corpus.text_set_reader import TextSetReader
from nmt.data_check import scan as examine_module
from nmt.data_check.chunk_scan import hold_out
from nmt.data_check.scan import Report, examine
from nmt.errors import DataError

CORPORA = Path(__file__).resolve().parents[3] / "shared" / "corpora"


def test_every_planted_fault_is_found_on_its_lines(nasty: Nasty, report: Report) -> None:
    found = {(each.kind, each.place): each.lines for each in report.findings}
    for key, lines in nasty.planted.items():
        assert found.get(key) == lines, key


def test_nothing_else_is_an_error(nasty: Nasty, report: Report) -> None:
    errors = {(f.kind, f.place) for f in report.findings if f.severity == "error"}
    assert errors <= set(nasty.planted)


def test_lines_are_counted_at_line_feeds_alone(report: Report) -> None:
    assert report.counts == (CLEAN_LINES, CLEAN_LINES)
    assert len(report.lengths) == CLEAN_LINES


def test_findings_do_not_depend_on_chunks_or_processes(
    nasty: Nasty, report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examine_module, "WORTH_WORKERS", 1)
    monkeypatch.setattr(examine_module, "CHUNK", 701)
    held = [hold_out("test", nasty.test)]
    other = examine("train", nasty.train, ("en", "fr"), held, 2, lambda seen, _: seen)
    assert other.record() == report.record()


def looked_at(folder: Path, src: list[str], tgt: list[str]) -> Report:
    """Write and examine two sides."""
    files = folder / "a.en", folder / "a.fr"
    for file, lines in zip(files, (src, tgt), strict=True):
        file.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return examine("a", TextSetReader([files]), ("en", "fr"), [], 1, lambda seen, _: seen)


def test_uneven_sides_are_examined_as_far_as_both_go(tmp_path: Path) -> None:
    src, tgt = demo_lines("valid.en"), demo_lines("valid.fr")
    report = looked_at(tmp_path, src, tgt[:-3])
    [found] = report.findings.of("counts")
    assert (found.lines, report.counts) == ([498], (500, 497))
    assert "500 lines" in found.examples[0]
    assert "497" in found.examples[0]


@pytest.mark.parametrize("lines", [[], [""], ["Hello."], ["", "Hello."]])
def test_tiny_texts_are_examined(lines: list[str], tmp_path: Path) -> None:
    report = looked_at(tmp_path, lines, lines)
    assert report.counts == (len(lines), len(lines))
    assert not [f for f in report.findings if f.severity == "error"]


def test_tokenized_text_is_told_as_such(tmp_path: Path) -> None:
    src, tgt = demo_lines("valid.en"), demo_lines("valid.fr")
    src = [line.replace(".", " .").replace(",", " ,") for line in src]
    report = looked_at(tmp_path, src, tgt)
    [found] = report.findings.of("tokenized")
    assert found.place == "src"
    assert found.count > 400


@pytest.mark.parametrize("side", ["src", "tgt"])
def test_examine_unspaced_script_with_blanks_is_tokenized(side: str, tmp_path: Path) -> None:
    """Japanese with blanks between its words is reported on whichever side it is."""
    japanese = ["昨日 は 友達 と 一緒 に 映画 を 見 ました", "今日は雨が降っています。"] * 10
    english = ["I watched a film with a friend yesterday.", "It is raining today."] * 10
    src, tgt = (japanese, english) if side == "src" else (english, japanese)
    report = looked_at(tmp_path, src, tgt)
    [finding] = report.findings.of("tokenized")
    assert (finding.place, finding.lines) == (side, list(range(1, 20, 2)))


def test_every_form_of_text_is_examined_alike(tmp_path: Path) -> None:
    """Two files, the same cut in two, TSV and JSON lines."""
    src, tgt = (demo_lines(f"valid.{side}") for side in ("en", "fr"))
    src[300] += " &amp;"
    tgt[100:200] = [*tgt[101:200], tgt[100]]
    expected = looked_at(tmp_path, src, tgt)
    parts = [tuple(tmp_path / f"{name}.{side}" for side in ("en", "fr")) for name in ("b", "c")]
    for part, its in zip(parts, (slice(0, 150), slice(150, None)), strict=True):
        for file, lines in zip(part, (src, tgt), strict=True):
            file.write_text("".join(f"{line}\n" for line in lines[its]), "utf-8")
    rows = list(zip(src, tgt, strict=True))
    tsv, jsonl = tmp_path / "a.tsv", tmp_path / "a.jsonl"
    tsv.write_text("".join(f"{t}\t{s}\n" for s, t in rows), "utf-8")
    jsonl.write_text("".join(json.dumps({"s": s, "t": t}) + "\n" for s, t in rows), "utf-8")
    for source in (
        TextSetReader(parts),
        TextSetReader([(tsv,)], "tsv", (1, 0)),
        TextSetReader([(jsonl,)], "jsonl", ("s", "t")),
    ):
        found = examine("a", source, ("en", "fr"), [], 1, lambda seen, _: seen)
        assert found.counts == expected.counts
        assert found.pairs == expected.pairs
        assert [(f.kind, f.place, f.lines) for f in found.findings] == [
            (f.kind, f.place, f.lines) for f in expected.findings
        ]
    assert expected.findings.of("entity")


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    nowhere = TextSetReader([(tmp_path / "a", tmp_path / "b")])
    with pytest.raises(DataError, match="no such file"):
        examine("a", nowhere, ("a", "b"), [], 1, lambda seen, _: seen)


def test_examine_related_language_is_a_warning(tmp_path: Path) -> None:
    """Dutch among Afrikaans is a warning, English there is an error."""
    english = "The old man sits on a bench in the park and reads the newspaper."
    afrikaans = "Die ou man sit op 'n bankie in die park en lees die koerant."
    dutch = "De oude man zit op een bank in het park en leest de krant."
    files = tmp_path / "a.fr", tmp_path / "a.af"
    sides = ["Le vieil homme lit le journal sur un banc du parc."] * 3, [afrikaans, dutch, english]
    for file, lines in zip(files, sides, strict=True):
        file.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    report = examine("a", TextSetReader([files]), ("fr", "af"), [], 1, lambda seen, _: seen)
    [related], [other] = (report.findings.of(kind) for kind in ("related_language", "language"))
    assert (related.place, related.lines, related.severity) == ("tgt", [2], "warning")
    assert (other.place, other.lines, other.severity) == ("tgt", [3], "error")


def test_examine_swapped_related_languages_are_warnings(tmp_path: Path) -> None:
    """Each side is in the other's language, but the two languages are related."""
    spanish = "Hoy hace buen tiempo y los niños juegan en la calle."
    portuguese = "Hoje o tempo está bom e as crianças brincam na rua."
    files = tmp_path / "a.es", tmp_path / "a.pt"
    for file, line in zip(files, (portuguese, spanish), strict=True):
        file.write_text(f"{line}\n", "utf-8")
    report = examine("a", TextSetReader([files]), ("es", "pt"), [], 1, lambda seen, _: seen)
    assert {(f.kind, f.place) for f in report.findings} == {
        ("related_language", "src"),
        ("related_language", "tgt"),
    }


@pytest.mark.skipif(not CORPORA.is_dir(), reason="needs the shared corpora")
def test_planted_lines_in_other_languages_are_found_in_real_text(tmp_path: Path) -> None:
    """200 lines of three languages among 29,000: precision and recall as promised."""
    folder = CORPORA / "multi30k"
    sides = {
        code: (folder / f"train.{code}").read_text("utf-8").split("\n")[:-1]
        for code in ("en", "de", "fr", "cs")
    }
    rng = random.Random(5)
    src, tgt = sides["en"], list(sides["de"])
    planted = set(rng.sample(range(len(tgt)), 200))
    for i in planted:
        tgt[i] = rng.choice(sides[rng.choice(["en", "fr", "cs"])])
    files = tmp_path / "a.en", tmp_path / "a.de"
    for file, lines in zip(files, (src, tgt), strict=True):
        file.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    report = examine("a", TextSetReader([files]), ("en", "de"), [], 1, lambda seen, _: seen)
    found = {line - 1 for f in report.findings.of("language") for line in f.lines}
    assert len(found & planted) >= 0.95 * len(found)
    assert len(found & planted) >= 0.90 * len(planted)
