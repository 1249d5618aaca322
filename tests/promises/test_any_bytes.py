"""Guarantee 14: input line N gives output line N for any bytes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from nmt.data.text import reader
from nmt.errors import EXIT_USER_ERROR
from tests.support.promises.fuzz.command_runs import check_command, run_command
from tests.support.promises.fuzz.folders import FuzzFolder
from tests.support.promises.fuzz.properties import fuzz
from tests.support.promises.fuzz.strategies import SEPARATORS, odd_line

QUICK = {
    "deadline": None,
    "derandomize": True,
    "database": None,
    "phases": [Phase.generate],
    "suppress_health_check": list(HealthCheck),
}
valid_line = odd_line.map(lambda raw: raw.decode(errors="replace").encode())
lines = st.lists(valid_line, min_size=1, max_size=6)


def join_lines(lines: list[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)


@pytest.mark.parametrize("policy", ["error", "replace", "skip"])
@settings(max_examples=8, **QUICK)  # type: ignore[arg-type]
@given(input_lines=st.lists(odd_line, max_size=6), arch=st.sampled_from(["rnn", "transformer"]))
def test_translate_any_bytes_gives_one_line_per_line(
    fuzz_folder: FuzzFolder, policy: str, input_lines: list[bytes], arch: str
) -> None:
    """Blank lines stay blank; the policy decides about invalid UTF-8."""
    invalid = [is_invalid_utf8(line, first=i == 0) for i, line in enumerate(input_lines)]
    result = check_command(
        ["translate", "-m", arch, "--invalid", policy], join_lines(input_lines), fuzz_folder.folder
    )
    if policy == "error" and any(invalid):
        assert result.code == EXIT_USER_ERROR
        assert f"stdin:{invalid.index(True) + 1}: expected UTF-8" in result.err
        return
    assert result.code == 0, result.err
    translations = result.out.split(b"\n")[:-1]
    assert len(translations) == len(input_lines)
    for line, translation, is_invalid in zip(input_lines, translations, invalid, strict=True):
        if policy == "skip" and is_invalid:
            assert translation == b""
        if not is_invalid and not line.decode().strip():
            assert translation == b""
    has_warning = f"warning: {sum(invalid)} lines were not UTF-8" in result.err
    assert has_warning == any(invalid)


def is_invalid_utf8(line: bytes, first: bool) -> bool:
    try:
        (line.removeprefix(reader.BOM) if first else line).decode()
    except UnicodeDecodeError:
        return True
    return False


@settings(max_examples=6, **QUICK)  # type: ignore[arg-type]
@given(src=lines, arch=st.sampled_from(["rnn", "transformer"]), data=st.data())
def test_score_align_check_evaluate_any_bytes_keep_lines(
    fuzz_folder: FuzzFolder, src: list[bytes], arch: str, data: st.DataObject
) -> None:
    """For N pairs, score and align write N lines, and check and evaluate count N pairs."""
    tgt = data.draw(st.lists(valid_line, min_size=len(src), max_size=len(src)))
    for name, side in (("odd.in", src), ("odd.out", tgt)):
        (fuzz_folder.folder / name).write_bytes(join_lines(side))
    flags = ["--src", "odd.in", "--tgt", "odd.out", "-m", arch]
    for command in ("score", "align"):
        result = check_command([command, *flags], b"", fuzz_folder.folder)
        assert (result.code, result.out.count(b"\n")) == (0, len(src)), result.err
    result = check_command(["check", "odd.in", "odd.out", "--json"], b"", fuzz_folder.folder)
    assert json.loads(result.out)["sets"][0]["lines"] == [len(src)] * 2
    evaluate = ["evaluate", arch, "--src", "odd.in", "--ref", "odd.out", "-o", "report.json"]
    result = check_command(evaluate, b"", fuzz_folder.folder)
    assert result.code == 0, result.err
    report = json.loads((fuzz_folder.folder / "report.json").read_text())
    assert [systems["lines"] for systems in report["test_sets"].values()] == [len(src)]


@settings(max_examples=6, **QUICK)  # type: ignore[arg-type]
@given(src=lines, data=st.data())
def test_clean_any_bytes_keeps_or_drops_each_line(
    fuzz_folder: FuzzFolder, src: list[bytes], data: st.DataObject
) -> None:
    tgt = data.draw(st.lists(valid_line, min_size=len(src), max_size=len(src)))
    for name, side in (("odd.in", src), ("odd.out", tgt)):
        (fuzz_folder.folder / name).write_bytes(join_lines(side))
    flags = ["--set", "data.train=[odd]", "--set", "data.clean.max_words=2"]
    result = check_command(["clean", "rnn.yaml", "-o", "kept", *flags], b"", fuzz_folder.folder)
    assert result.code == 0, result.err
    counts = {
        name: (fuzz_folder.folder / f"kept.{name}").read_bytes().count(b"\n")
        for name in ("in", "out", "dropped.tsv")
    }
    assert counts["in"] == counts["out"] == len(src) - (counts["dropped.tsv"] - 1)


@pytest.mark.parametrize("sign", [s.encode() for s in SEPARATORS])
def test_explain_any_bytes_shows_each_line_once(fuzz_folder: FuzzFolder, sign: bytes) -> None:
    stdin = join_lines([b"1 2", b"3" + sign + b"4", b"5"])
    result = check_command(["explain", "-m", "rnn", "--json"], stdin, fuzz_folder.folder)
    assert (result.code, result.out.count(b"\n")) == (0, 3), result.err


@pytest.mark.slow
def test_translate_megabyte_line_gives_one_line(fuzz_folder: FuzzFolder) -> None:
    """The line has a million tokens. tests/cli/test_line_counts.py has a shorter long line."""
    stdin = join_lines([b"1 2", b"1 2 " * 2**18, b"3"])
    quick = ["--set", "decode.beam_size=1", "--set", "decode.max_length_ratio=1e-9"]
    result = run_command(["translate", "-m", "rnn", *quick], stdin, fuzz_folder.folder, limit=300)
    assert (result.code, result.out.count(b"\n")) == (0, 3), result.err


def test_read_lines_endless_line_is_refused(
    fuzz_folder: FuzzFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "MAX_LINE_BYTES", 1000)
    result = check_command(
        ["translate", "-m", "rnn"], join_lines([b"1", b"2 " * 600]), fuzz_folder.folder
    )
    assert result.code == EXIT_USER_ERROR
    assert "stdin:2: expected lines of at most 1,000 bytes, got a longer one" in result.err


READER = """
import resource, sys
from pathlib import Path
from nmt.data.text.reader import decode_lines, read_raw_lines
mega = sum(1 for _ in decode_lines(read_raw_lines(sys.stdin.buffer, Path("stdin")), "stdin"))
print(mega, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_read_lines_memory_is_independent_of_text_size() -> None:
    peaks = []
    for megabytes in (1, 64):
        child = subprocess.Popen(
            [sys.executable, "-c", READER], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert child.stdin is not None
        for _ in range(megabytes):
            child.stdin.write((b"x" * 1023 + b"\n") * 1024)
        output, _ = child.communicate()
        count, peak = map(int, output.split())
        assert count == 1024 * megabytes
        peaks.append(peak)
    unit = 1024 if sys.platform == "linux" else 1
    assert (peaks[1] - peaks[0]) * unit < 16 * 2**20, peaks


@pytest.mark.slow
def test_translate_any_text_gives_one_line_per_line(fuzz_folder: FuzzFolder) -> None:
    fuzz(fuzz_folder, "text", 1000)
