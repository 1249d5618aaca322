"""Test `nmt backtranslate`: text set, drops, report, resume, ranks and errors."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from nmt.commands.synthetic import synthesis
from nmt.core import files
from nmt.synthetic.generation import PairGenerator
from tests.support.command_line import (
    Result,
    assert_success,
    environment,
    nmt,
    translate_lines,
    write_lines,
)
from tests.support.tiny_runs import TINY, Digits, make_reverse_run

FILES = {"dropped.tsv", "report.json", "set.yaml", "train.in", "train.out"}


def backtranslate(run: Path, text: Path, folder: Path, *flags: object) -> Result:
    """Run the command on the CPU."""
    return nmt("backtranslate", "-m", run, text, "-o", folder, "--device", "cpu", *flags)


def read_folder(folder: Path) -> dict[str, bytes]:
    """Return the content of each file; the folder has no other folders."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def read_report(folder: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return report


def read_drops(folder: Path) -> list[list[str]]:
    """Return the rows of the dropped pairs without the header."""
    return [row.split("\t") for row in (folder / "dropped.tsv").read_text().splitlines()[1:]]


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthesis, "PART_LINES", 6)


@pytest.fixture
def mono(digits: Digits, tmp_path: Path) -> Path:
    """Return a text of 20 lines."""
    return write_lines(tmp_path / "mono", digits.src[:20])


def test_backtranslate_translations_become_the_source(
    digits: Digits, mono: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "synthetic"
    result = assert_success(backtranslate(digits.run, mono, folder))
    assert set(read_folder(folder)) == FILES
    expected = translate_lines(digits.run, digits.src[:20], "--device", "cpu")
    pairs = [
        (text, line) for text, line in zip(expected, digits.src[:20], strict=True) if text != line
    ]
    assert (folder / "train.out").read_text().splitlines() == [src for src, _ in pairs]
    assert (folder / "train.in").read_text().splitlines() == [tgt for _, tgt in pairs]
    entry = (folder / "set.yaml").read_text()
    assert result.out == entry
    assert yaml.safe_load(entry)["data"] == {
        "src": "out",
        "tgt": "in",
        "train": [{"prefix": str(folder / "train"), "tags": {"origin": "synthetic"}}],
    }
    report = read_report(folder)
    assert report["lines"] == 20
    assert report["pairs"] == len(pairs)
    assert report["job"]["decode"]["method"] == "beam"
    assert len(report["job"]["model"][0]["sha256"]) == 64


def test_backtranslate_forward_keeps_direction(digits: Digits, mono: Path, tmp_path: Path) -> None:
    folder = tmp_path / "synthetic"
    result = assert_success(backtranslate(digits.run, mono, folder, "--forward", "--tag", "none"))
    assert set((folder / "train.in").read_text().split("\n")) <= {*digits.src[:20], ""}
    data = yaml.safe_load(result.out)["data"]
    assert data == {"src": "in", "tgt": "out", "train": [{"prefix": str(folder / "train")}]}


def test_backtranslate_drops_name_their_reason(digits: Digits, tmp_path: Path) -> None:
    lines = [b"1 2 3 4", b"", b"1 2 3 4", b"5 \xff 5", b"6 6 6", b"2 7 1 8 2"]
    text = tmp_path / "mono"
    text.write_bytes(b"\n".join(lines))
    folder = tmp_path / "synthetic"
    result = assert_success(backtranslate(digits.run, text, folder))
    reasons = {row[1]: row[0] for row in read_drops(folder)}
    assert reasons == {
        f"{text}:2": "blank",
        f"{text}:3": "duplicate pair",
        f"{text}:4": "invalid UTF-8",
        f"{text}:5": "copy",
    }
    assert (folder / "train.in").read_text().splitlines() == ["1 2 3 4", "2 7 1 8 2"]
    assert read_report(folder)["dropped"] == dict.fromkeys(sorted(reasons.values()), 1)
    assert "dropped: 1, copy" in result.err


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--min-score", "0", "--set", "decode.length_penalty=0"], "score under 0"),
        (["--set", "decode.max_length=8"], "translation without end"),
        (["--max-ratio", "1.01", "--set", "decode.max_length=8"], "over 1.01 times the words"),
    ],
)
def test_backtranslate_settings_drop_all_pairs(
    digits: Digits, tmp_path: Path, flags: list[str], reason: str
) -> None:
    text = write_lines(tmp_path / "mono", ["1 2 3 4 5 6", "7 8 9 1 2 3"])
    folder = tmp_path / "synthetic"
    result = assert_success(backtranslate(digits.run, text, folder, *flags))
    assert [row[0] for row in read_drops(folder)] == [reason] * 2
    assert f"{folder}: all pairs were dropped" in result.err


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("method", ["beam", "sample", "topk"])
def test_backtranslate_resumed_job_writes_equal_files(
    digits: Digits, mono: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    flags = ["--method", method, "--seed", "3", "--set", "decode.threads=1"]
    folder = tmp_path / "synthetic"
    assert_success(backtranslate(digits.run, mono, folder, *flags))
    expected = read_folder(folder)
    shutil.rmtree(folder)
    generate, lines_of_parts = PairGenerator.generate, []

    def interrupt_third_part(generator: PairGenerator, lines: list[Any]) -> Any:
        if len(lines_of_parts) == 2:
            raise KeyboardInterrupt
        lines_of_parts.append(len(lines))
        return generate(generator, lines)

    monkeypatch.setattr(PairGenerator, "generate", interrupt_third_part)
    assert backtranslate(digits.run, mono, folder, *flags).code == 130
    assert {path.name for path in folder.iterdir()} == {"parts"}
    refusal = backtranslate(digits.run, mono, folder, *flags, "--seed", 4, "--min-score", -9)
    assert refusal.code == 2
    assert refusal.err.count("\n") == 1
    monkeypatch.setattr(PairGenerator, "generate", generate)
    assert_success(backtranslate(digits.run, mono, folder, *flags))
    assert read_folder(folder) == expected
    repeated = assert_success(backtranslate(digits.run, mono, folder, *flags))
    assert "already complete" in repeated.err
    assert read_folder(folder) == expected


def test_backtranslate_two_ranks_equal_one_process(
    digits: Digits, mono: Path, tmp_path: Path
) -> None:
    """Each process has its own output folder of the same name, so that all files are equal."""
    script = (
        "import sys\n"
        "from nmt.commands.synthetic import synthesis\n"
        "from tests.support.forked_ranks import main\n"
        "synthesis.PART_LINES = 6\n"
        "main()\n"
    )
    folder = tmp_path / "synthetic"
    results = []
    for ranks in ("1", "2"):
        flags = ["-m", digits.run, mono, "-o", folder, "--device", "cpu", "--method", "sample"]
        line = [sys.executable, "-c", script, ranks, "backtranslate", *map(str, flags)]
        job = subprocess.run(line, capture_output=True, text=True, env=environment())
        assert job.returncode == 0, job.stderr
        results.append(read_folder(folder))
        shutil.rmtree(folder)
    assert results[0] == results[1]


def test_backtranslate_changed_job_is_refused(digits: Digits, mono: Path, tmp_path: Path) -> None:
    folder = tmp_path / "synthetic"
    assert_success(backtranslate(digits.run, mono, folder))
    before = read_folder(folder)
    other = write_lines(tmp_path / "other", digits.src[:3])
    changes = {
        ("--method", "sample"): "expected decode.method 'beam', got 'sample'",
        ("--tag", "a=b"): "expected tags.a null, got 'b'",
        ("--min-score", "-3"): "expected filters.min_score null, got -3.0",
        (other,): f"expected text.2 none, got {other}",
    }
    for flags, difference in changes.items():
        result = backtranslate(digits.run, mono, folder, *flags)
        hint = "(--overwrite starts again; -o names another folder)"
        assert result.code == 2
        assert result.err == f"error: {folder}: {difference} {hint}\n"
    assert read_folder(folder) == before
    assert_success(backtranslate(digits.run, mono, folder, "--forward", "--overwrite"))
    assert read_report(folder)["job"]["languages"] == ["in", "out"]


def test_backtranslate_round_trip_drops_low_chrf(
    digits: Digits, mono: Path, tmp_path: Path
) -> None:
    reverse = make_reverse_run(digits.run, tmp_path / "reverse")
    folder = tmp_path / "synthetic"
    flags = ["--reverse", reverse, "--min-chrf", 100]
    text = write_lines(tmp_path / "text", [*digits.src[:8], "x y"])
    assert_success(backtranslate(digits.run, text, folder, *flags))
    reasons = {row[1]: row[0] for row in read_drops(folder)}
    assert reasons[f"{text}:9"] == "round trip under 100 chrF"
    kept = (folder / "train.in").read_text().splitlines()
    translations = (folder / "train.out").read_text().splitlines()
    assert kept
    assert translate_lines(reverse, translations, "--device", "cpu") == kept
    wrong = backtranslate(digits.run, mono, tmp_path / "b", "--reverse", digits.run, *flags[2:])
    assert wrong.code == 2
    assert "--reverse: expected a model from out to in, got one from in to out" in wrong.err


def test_backtranslate_dual_score_drops_unlikely_pairs(digits: Digits, tmp_path: Path) -> None:
    """The dropped pairs are those with a low score in `nmt score --reverse`."""
    reverse = make_reverse_run(digits.run, tmp_path / "reverse")
    text = write_lines(tmp_path / "text", [*digits.src[:8], "x y", "1 2 z 4 5"])
    everything, filtered = tmp_path / "everything", tmp_path / "filtered"
    assert_success(backtranslate(digits.run, text, everything, "--forward"))
    flags = ["--forward", "--reverse", reverse, "--min-dual", 0.5]
    assert_success(backtranslate(digits.run, text, filtered, *flags))
    sides = ["--src", everything / "train.in", "--tgt", everything / "train.out"]
    rows = assert_success(nmt("score", "-m", digits.run, *sides, "--reverse", reverse)).lines
    sources = (everything / "train.in").read_text().splitlines()
    scores = {source: float(row.split("\t")[3]) for source, row in zip(sources, rows, strict=True)}
    expected = [source for source, score in scores.items() if score >= 0.5]
    assert 0 < len(expected) < len(scores)
    assert (filtered / "train.in").read_text().splitlines() == expected
    dropped = read_report(filtered)["dropped"]
    assert dropped["dual cross-entropy score under 0.5"] == len(scores) - len(expected)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--min-chrf", "3"], "--min-chrf: expected --reverse RUN too, got none"),
        (["--min-dual", "0.3"], "--min-dual: expected --reverse RUN too, got none"),
        (["--reverse", "RUN"], "--reverse: expected --min-chrf or --min-dual too, got neither"),
        (["--tag", "x"], "--tag: expected NAME=VALUE or none, got 'x'"),
        (["--method", "sample", "--seed", 2**70], "--seed: expected a whole number"),
        (["missing"], "missing: expected a text file, got no such file"),
        (["--set", "decode.beam_sise=3"], "did you mean 'beam_size'?"),
    ],
)
def test_backtranslate_invalid_options_write_nothing(
    digits: Digits, mono: Path, tmp_path: Path, flags: list[object], message: str
) -> None:
    folder = tmp_path / "synthetic"
    result = backtranslate(digits.run, mono, folder, *flags)
    assert result.code == 2
    assert message in result.err
    assert not folder.exists()


def test_backtranslate_folder_with_other_files_is_refused(
    digits: Digits, mono: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "mine"
    write_lines(folder / "thesis.txt", ["text"])
    for flags in ([], ["--overwrite"]):
        result = backtranslate(digits.run, mono, folder, *flags)
        assert result.code == 2
        assert f"{folder}: expected a new or empty folder" in result.err
    assert read_folder(folder) == {"thesis.txt": b"text\n"}


def test_backtranslate_locked_folder_is_refused(digits: Digits, mono: Path, tmp_path: Path) -> None:
    folder = tmp_path / "synthetic"
    with files.hold_lock(folder / "job.lock", "test"):
        result = backtranslate(digits.run, mono, folder)
    assert result.code == 2
    assert f"{folder}: expected a folder without a running job" in result.err
    assert list(folder.iterdir()) == []


def test_backtranslate_entry_trains_a_model(digits: Digits, mono: Path, tmp_path: Path) -> None:
    """A model of the other direction trains on real text and the synthetic set."""
    folder = tmp_path / "synthetic"
    data = yaml.safe_load(assert_success(backtranslate(digits.run, mono, folder)).out)["data"]
    config = yaml.safe_load(TINY)
    real = str(digits.config.parent / "valid")
    config["data"] |= {**data, "train": [real, *data["train"]], "valid": real}
    file = tmp_path / "student.yaml"
    file.write_text(yaml.safe_dump(config))
    training = nmt("train", file, "--run", tmp_path / "student", "--device", "cpu")
    assert_success(training)
    translate_lines(tmp_path / "student", ["1 2"], "--device", "cpu")
