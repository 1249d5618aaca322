"""`nmt align` with a model that reverses digits, so that the alignment is known."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nmt.decoding.lines import pair_splitting
from tests.support.command_line import assert_success, nmt, settings, write_lines
from tests.support.paths import FROZEN_V1
from tests.support.tiny_runs import Digits, Tiny


def reversed_alignment(line: str) -> str:
    """Return the links of a line of digits and its reversal."""
    count = len(line.split())
    return " ".join(f"{s}-{count - 1 - s}" for s in range(count))


@pytest.fixture
def data_folder(digits: Digits, tmp_path: Path) -> Path:
    """Return a folder with the test set and its gold alignments."""
    write_lines(tmp_path / "test.in", digits.src)
    write_lines(tmp_path / "test.out", digits.ref)
    write_lines(tmp_path / "gold", map(reversed_alignment, digits.src))
    return tmp_path


def run_align(digits: Digits, data_folder: Path, *flags: object) -> list[str]:
    src, tgt = data_folder / "test.in", data_folder / "test.out"
    return assert_success(nmt("align", "-m", digits.run, "--src", src, "--tgt", tgt, *flags)).lines


def read_aer(lines: list[str]) -> float:
    header, row = lines
    assert header.split() == ["precision", "recall", "AER", "lines"]
    return float(row.split()[2])


def test_align_reversed_digits_links_reversed_positions(digits: Digits, data_folder: Path) -> None:
    links = run_align(digits, data_folder)
    assert (
        sum(
            link_line == reversed_alignment(line)
            for link_line, line in zip(links, digits.src, strict=True)
        )
        > 150
    )
    assert read_aer(run_align(digits, data_folder, "--gold", data_folder / "gold")) < 0.1


def test_align_with_gold_writes_links_to_a_file(digits: Digits, data_folder: Path) -> None:
    output = data_folder / "links"
    scores = run_align(digits, data_folder, "--gold", data_folder / "gold", "-o", output)
    assert output.read_text().splitlines() == run_align(digits, data_folder)
    write_lines(data_folder / "gold", output.read_text().splitlines())
    assert read_aer(run_align(digits, data_folder, "--gold", data_folder / "gold")) == 0.0
    assert len(scores) == 2


def test_align_with_reverse_model_symmetrises_links(digits: Digits, data_folder: Path) -> None:
    """A model that reverses lines is also a model of the reverse direction."""
    forward_links = [set(line.split()) for line in run_align(digits, data_folder)]
    reverse = ("--reverse", digits.run)
    symmetric_links = [set(line.split()) for line in run_align(digits, data_folder, *reverse)]
    intersection = run_align(digits, data_folder, *reverse, "--symmetrise", "intersection")
    for single, symmetric, common in zip(forward_links, symmetric_links, intersection, strict=True):
        assert set(common.split()) <= symmetric
        assert set(common.split()) <= single
    assert read_aer(run_align(digits, data_folder, *reverse, "--gold", data_folder / "gold")) < 0.1


def test_align_reverse_model_gets_swapped_sides(digits: Digits, tmp_path: Path) -> None:
    """Translations are half as long as their sources, so that the sides differ."""
    src = [line for line in digits.src if len(line.split()) >= 6]
    src_file = write_lines(tmp_path / "a.in", src)
    tgt_file = write_lines(tmp_path / "a.out", [line[::-1][:5] for line in src])
    flags = ("-m", digits.run, "--src", src_file, "--tgt", tgt_file)
    forward_links = assert_success(nmt("align", *flags)).lines
    symmetric_links = assert_success(nmt("align", *flags, "--reverse", digits.run)).lines
    assert forward_links != symmetric_links
    for line, links in zip(src, symmetric_links, strict=True):
        count = len(line.split())
        for link in links.split():
            s, t = map(int, link.split("-"))
            assert s < count
            assert t < 3
        assert f"{count - 1}-0" in links.split()


def test_align_without_target_translates(digits: Digits, data_folder: Path) -> None:
    stdin = "\n".join(digits.src) + "\n"
    lines = assert_success(nmt("align", "-m", digits.run, stdin=stdin)).lines
    assert [line.split("\t")[1] for line in lines] == digits.ref
    assert [line.split("\t")[0] for line in lines] == run_align(digits, data_folder)


def test_align_blank_lines_get_blank_links(digits: Digits, tmp_path: Path) -> None:
    write_lines(tmp_path / "a.in", ["1 2 3", "", "4 5 6", "7 8 9"])
    write_lines(tmp_path / "a.out", ["3 2 1", "x", "", "9 8 7"])
    flags = ("--src", tmp_path / "a.in", "--tgt", tmp_path / "a.out")
    report = tmp_path / "report.tsv"
    lines = assert_success(nmt("align", "-m", digits.run, *flags, "--diagnostics", report)).lines
    assert [bool(line) for line in lines] == [True, False, False, True]
    rows = [line.split("\t") for line in report.read_text().splitlines()]
    assert rows[0] == ["line", "entropy", "dropped", "repeated"]
    assert [row[0] for row in rows[1:]] == ["1", "2", "3", "4"]
    assert rows[2][1:] == ["", "", ""]
    assert 0 <= float(rows[1][1]) < 1
    stdin = (tmp_path / "a.in").read_text()
    assert assert_success(nmt("align", "-m", digits.run, *flags[2:], stdin=stdin)).lines == lines
    assert assert_success(nmt("align", "-m", digits.run, stdin="\n\n")).lines == ["\t", "\t"]
    assert assert_success(nmt("align", "-m", digits.run)).out == ""


def test_align_diagnostics_name_dropped_words(digits: Digits, tmp_path: Path) -> None:
    write_lines(tmp_path / "a.in", ["1 2 3 4 5 6"])
    write_lines(tmp_path / "a.out", ["6 5"])
    flags = ("--src", tmp_path / "a.in", "--tgt", tmp_path / "a.out")
    report = tmp_path / "report.tsv"
    assert_success(nmt("align", "-m", digits.run, *flags, "--diagnostics", report))
    dropped = report.read_text().splitlines()[1].split("\t")[2].split()
    assert {"0:1", "1:2", "2:3"} <= set(dropped)
    assert "5:6" not in dropped


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--tgt", "T"], "got 0 in stdin"),
        (["--src", "S", "--symmetrise", "intersection"], "--symmetrise: expected --reverse"),
        (
            ["--src", "S", "--reverse", "R", "--symmetrise", "intersect"],
            "expected one of grow-diag-final-and, intersection, got ",
        ),
        (["--src", "nowhere"], "nowhere: no such file"),
        (["--src", "S", "--tgt", "LONGER"], "expected the same number of lines on both sides"),
        (["--src", "S", "--tgt", "T", "--gold", "LONGER"], "expected a line for each of"),
        (["--src", "S", "--tgt", "T", "--gold", "T"], "expected links such as 0-1 (sure)"),
        (["--src", "S", "--tgt", "T", "--gold", "ONES"], ":1: expected a link between words 0 to"),
        (["--src", "S", "--gold", "ONES"], "--gold: expected --tgt"),
        (["--src", "S", "--diagnostics", "OUTPUT"], "-o and --diagnostics: expected two files"),
        (["--src", "S", "--reverse", "nowhere"], "nowhere: no such run folder"),
    ],
)
def test_align_bad_arguments_are_refused(
    digits: Digits, tmp_path: Path, flags: list[str], message: str
) -> None:
    names = {
        "S": write_lines(tmp_path / "s", ["1 2"]),
        "T": write_lines(tmp_path / "t", ["2 1"]),
        "LONGER": write_lines(tmp_path / "longer", ["0-0", "1-1"]),
        "ONES": write_lines(tmp_path / "ones", ["1-1 2-2"]),
        "R": digits.run,
        "OUTPUT": tmp_path / "output",
    }
    output = tmp_path / "output"
    arguments = [names.get(flag, flag) for flag in flags]
    result = nmt("align", "-m", digits.run, *arguments, "-o", output)
    assert result.code == 2
    assert result.out == ""
    assert message in result.err
    assert not output.exists()


def test_align_model_without_attention_is_refused(tiny: Tiny) -> None:
    assert_success(tiny.train(*settings(model__attention="none")))
    result = nmt("align", "-m", tiny.run, stdin="1 2\n")
    assert result.code == 2
    assert "has no attention to show (model.attention: none)" in result.err


def test_train_guided_alignment_lowers_error_rate(tiny: Tiny) -> None:
    """Gold links i-i are wrong for reversed lines; only guided attention learns them."""
    src, tgt = tiny.folder / "train.in", tiny.folder / "train.out"
    links = tiny.folder / "train.links"
    lines = src.read_text().splitlines()
    straight = [" ".join(f"{i}-{i}" for i in range(len(line.split()))) for line in lines]
    write_lines(links, straight)
    shared = settings(
        train__max_updates=150,
        train__lr="1e-2",
        model__d_hidden=32,
        model__dropout=0,
        model__score="location",
    )
    guided = settings(data__alignments=f"[{links}]", train__guided_alignment=1)
    rates, records = {}, {}
    for name, flags in (("free", []), ("guided", guided)):
        run = tiny.folder / name
        assert_success(tiny.train(*shared, *flags, run=run))
        texts = ("--src", src, "--tgt", tgt)
        rates[name] = read_aer(
            assert_success(nmt("align", "-m", run, *texts, "--gold", links)).lines
        )
        metrics = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
        records[name] = [record for record in metrics if record["kind"] == "train"]
    assert all("alignment_loss" not in record for record in records["free"])
    assert all(record["alignment_loss"] > 0 for record in records["guided"])
    assert rates["guided"] < 0.1 < 0.5 < rates["free"]


def test_train_alignments_of_other_text_are_refused(tiny: Tiny) -> None:
    links = tiny.folder / "links"
    flags = settings(data__alignments=f"[{links}]", train__guided_alignment=0.5)
    for lines, message in (
        (["0-0", "0-99", *["0-0"] * 94], ":2: expected a link between words 0 to"),
        (["0-0"] * 95, ": expected a line for each pair, got only 95"),
    ):
        write_lines(links, lines)
        result = tiny.train(*flags)
        assert result.code == 2
        assert f"{links}{message}" in result.err
    missing = settings(data__alignments="[nowhere]", train__guided_alignment=0.5)
    result = tiny.train(*missing)
    assert result.code == 2
    assert "data.alignments.0: no such file" in result.err


def test_train_guided_run_resumes_identically(tiny: Tiny) -> None:
    src = (tiny.folder / "train.in").read_text().splitlines()
    links = write_lines(tiny.folder / "links", map(reversed_alignment, src))
    flags = settings(
        data__alignments=f"[{links}]",
        data__valid=5,
        train__guided_alignment=0.5,
        train__guided_alignment_decay=0.5,
    )
    uninterrupted = tiny.folder / "uninterrupted"
    assert_success(tiny.train(*flags, *settings(train__max_updates=20), run=uninterrupted))
    assert_success(tiny.train(*flags, *settings(train__max_updates=9)))
    resumed = assert_success(tiny.train(*flags, *settings(train__max_updates=20), "--resume"))
    assert "corpus: unchanged, kept" in resumed.err
    weights = [folder / "last" / "model.safetensors" for folder in (uninterrupted, tiny.run)]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_align_score_long_pairs_are_split_with_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pair_splitting, "MAX_CELLS", 2000)
    long = "1 2 3. 4 5! " * 100
    src = write_lines(tmp_path / "src", ["1 2 3", long, "", "4 5"])
    tgt = write_lines(tmp_path / "tgt", ["3 2 1", long, "", "5 4"])
    diagnostics = tmp_path / "diagnostics"
    files = ["-m", FROZEN_V1, "--device", "cpu", "--src", src, "--tgt", tgt]
    aligned = assert_success(nmt("align", *files, "--diagnostics", diagnostics))
    assert "warning: long lines were aligned in parts: lines 2\n" in aligned.err
    first, links, blank, last = aligned.lines
    assert first
    assert blank == ""
    assert last
    words = [tuple(map(int, link.split("-"))) for link in links.split()]
    assert max(s for s, _ in words) > 400, "to the end of the line"
    assert max(max(link) for link in words) < 500
    assert len(diagnostics.read_text().split("\n")) == 6
    scored = assert_success(nmt("score", *files))
    assert "warning: long pairs were scored in parts: lines 2\n" in scored.err
    assert len(scored.lines) == 4
