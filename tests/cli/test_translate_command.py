"""Test that `nmt translate` writes one output line per input line, in order."""

from __future__ import annotations

import gzip
import random
import shutil
from pathlib import Path

import pytest

import nmt as api
from nmt.errors import EXIT_USER_ERROR
from tests.support.command_line import assert_success, nmt, settings, translate_lines, write_lines
from tests.support.tiny_runs import Digits


def text(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def test_translate_blank_line_stays_blank(digits: Digits) -> None:
    result = assert_success(
        nmt("translate", "-m", digits.run, stdin=b"A dog runs.\n\nTwo men talk.\r\n")
    )
    assert result.out.count("\n") == 3
    assert "\r" not in result.out
    first, second, third = result.lines
    assert first
    assert second == ""
    assert third


def test_translate_empty_input_gives_empty_output(digits: Digits) -> None:
    assert assert_success(nmt("translate", "-m", digits.run)).out == ""


def test_translate_last_line_without_end_is_translated(digits: Digits) -> None:
    assert assert_success(nmt("translate", "-m", digits.run, stdin=b"1 2 3\n4 5 6")).lines == [
        "3 2 1",
        "6 5 4",
    ]


def test_translate_byte_order_mark_and_crlf_are_removed(digits: Digits) -> None:
    assert assert_success(
        nmt("translate", "-m", digits.run, stdin=b"\xef\xbb\xbf1 2 3\r\n")
    ).lines == ["3 2 1"]


def test_translate_thousand_lines_keeps_order(digits: Digits) -> None:
    rng = random.Random(1)
    lines = [rng.choice([*digits.src, ""]) for _ in range(1000)]
    expected = dict(zip(digits.src, digits.ref, strict=True)) | {"": ""}
    assert translate_lines(digits.run, lines, "--beam", 1) == [expected[line] for line in lines]


def test_translate_single_line_equals_line_in_batch(digits: Digits) -> None:
    unusual = [
        "7",
        "1 1 1 1 1 1 1 1 1 1",
        "12",
        "a 3",
        "9 8 7 6 5 4 3 2 1 0 9 8",
    ]  # not in the training text
    together = translate_lines(digits.run, [*digits.src, *unusual])[-len(unusual) :]
    assert [translate_lines(digits.run, [line])[0] for line in unusual] == together


def test_translate_is_independent_of_batching_and_order(digits: Digits) -> None:
    # 40 lines twice as long as the training lines, which the model gets wrong, and 160 others
    lines = [f"{line} {line}" for line in digits.src[:40]] + digits.src[:160]
    expected = translate_lines(digits.run, lines)
    assert expected[:40] != [line[::-1] for line in lines[:40]]
    for size in (1, 7, 64):
        order = random.Random(size).sample(range(len(lines)), len(lines))
        flags = settings(decode__batch_size=size)
        shuffled = translate_lines(digits.run, [lines[i] for i in order], *flags)
        assert shuffled == [expected[i] for i in order], size


def test_translate_stdin_and_files_are_equal(digits: Digits, tmp_path: Path) -> None:
    lines = digits.src[:20]
    source = write_lines(tmp_path / "in.txt", lines)
    target = tmp_path / "new" / "out.txt"
    from_file = assert_success(nmt("translate", "-m", digits.run, source))
    to_file = assert_success(nmt("translate", "-m", digits.run, source, "-o", target))
    assert from_file.lines == translate_lines(digits.run, lines) == digits.ref[:20]
    assert to_file.out == ""
    assert target.read_text() == from_file.out
    assert [p.name for p in target.parent.iterdir()] == ["out.txt"]


def test_translate_gz_file_is_decompressed(digits: Digits, tmp_path: Path) -> None:
    source = tmp_path / "in.txt.gz"
    source.write_bytes(gzip.compress(text(digits.src[:3]).encode()))
    assert assert_success(nmt("translate", "-m", digits.run, source)).lines == digits.ref[:3]


def test_translate_error_leaves_no_output_file(digits: Digits, tmp_path: Path) -> None:
    target = tmp_path / "out.txt"
    source = tmp_path / "cut.gz"
    source.write_bytes(gzip.compress(text(digits.src).encode())[:-20])
    result = nmt("translate", "-m", digits.run, source, "-o", target)
    assert result.code == 2
    assert result.err.startswith(f"error: {source}: ")
    assert [p.name for p in tmp_path.iterdir()] == ["cut.gz"]


def test_translate_nbest_writes_moses_format_best_first(digits: Digits) -> None:
    result = assert_success(
        nmt("translate", "-m", digits.run, "--nbest", 3, stdin=text(digits.src[:4]))
    )
    rows = [line.split(" ||| ") for line in result.lines]
    assert [row[0] for row in rows] == [str(i) for i in range(4) for _ in range(3)]
    for i in range(4):
        hypotheses = rows[3 * i : 3 * i + 3]
        assert hypotheses[0][1] == digits.ref[i]
        assert len({row[1] for row in hypotheses}) == 3
        scores = [float(row[2]) for row in hypotheses]
        assert scores == sorted(scores, reverse=True)


def test_translate_scores_are_lower_for_unknown_text(digits: Digits) -> None:
    familiar, unknown = translate_lines(digits.run, [digits.src[0], "x ? y"], "--scores")
    score, translation = familiar.split("\t")
    assert translation == digits.ref[0]
    assert float(unknown.split("\t")[0]) < float(score) <= 0.0


def test_translate_nbest_above_beam_size_is_refused(digits: Digits) -> None:
    result = nmt("translate", "-m", digits.run, "--nbest", 6, stdin=b"1\n")
    assert (result.code, result.out) == (2, "")
    assert result.err == "error: --nbest: expected at most the beam size, 5, got 6\n"


def test_translate_larger_beam_allows_more_hypotheses(digits: Digits) -> None:
    result = assert_success(
        nmt("translate", "-m", digits.run, "--beam", 6, "--nbest", 6, stdin=b"1 2 3\n")
    )
    assert len(result.lines) == 6


def test_translate_invalid_utf8_is_replaced_and_counted(digits: Digits) -> None:
    stdin = b"1 2 3\n4 \xff 5\n\xc3\n6 7 8\n"
    result = assert_success(nmt("translate", "-m", digits.run, stdin=stdin))
    assert result.lines[0] == "3 2 1"
    assert result.lines[3] == "8 7 6"
    assert len(result.lines) == 4
    assert "warning: 2 lines were not UTF-8" in result.err


@pytest.mark.parametrize(
    "line",
    [
        "1 2 " * 2500,
        "🙂 👩‍👩‍👧 1 2",
        "１２\u2028３\x85４\x0c5",
        "\x00 \x1b[31m",
        "1\r2",
        "\t",
        "<s> </s>",
    ],
    ids=["10,000 characters", "emoji", "other line ends", "controls", "CR", "tab", "tags"],
)
def test_translate_unusual_line_gives_one_line(digits: Digits, line: str) -> None:
    flags = settings(decode__max_length_ratio=0.05)
    first, _, last = translate_lines(digits.run, ["1 2", line, "3 4"], "--beam", 1, *flags)
    assert (first, last) == ("2 1", "4 3")


def test_translate_line_of_spaces_is_blank(digits: Digits) -> None:
    assert translate_lines(digits.run, ["1 2 3", " " * 500, "4 5 6"]) == ["3 2 1", "", "6 5 4"]


def test_translate_copied_run_folder_works(digits: Digits, tmp_path: Path) -> None:
    copy = shutil.copytree(digits.run, tmp_path / "copied" / "run", symlinks=True)
    shutil.rmtree(copy / "corpus")
    for name in ("valid", "metrics.jsonl", "train.log", "report.json"):
        path = copy / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert (
        assert_success(nmt("translate", "-m", copy, stdin=text(digits.src[:9]))).lines
        == digits.ref[:9]
    )


def test_translate_without_model_uses_newest_finished_run(
    digits: Digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(digits.run, "runs/finished", symlinks=True)
    shutil.copytree(digits.run, "runs/unfinished", symlinks=True)
    Path("runs/unfinished/finished.json").unlink()
    result = assert_success(nmt("translate", stdin=b"1 2 3\n"))
    assert result.lines == ["3 2 1"]
    assert result.err == "model: runs/finished (the newest finished run)\n"


def test_translate_without_runs_suggests_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = nmt("translate", stdin=b"1 2 3\n")
    assert result.code == 2
    assert result.err.startswith("error: no finished run under runs/: train one")


def test_python_translate_equals_command(digits: Digits) -> None:
    lines = [*digits.src[:30], "", "x y z"]
    model = api.load(digits.run, device="cpu")
    assert model.translate(lines) == translate_lines(digits.run, lines)


def test_python_score_equals_search_score(digits: Digits) -> None:
    lines = [*digits.src[:20], "1 1 1 1 1 1 1 1 1 1 1", "x y z"]
    rows = [line.split("\t") for line in translate_lines(digits.run, lines, "--scores")]
    model = api.load(str(digits.run), device="cpu")
    scores = model.score(list(zip(lines, (text for _, text in rows), strict=True)))
    assert scores == pytest.approx([float(score) for score, _ in rows], abs=1e-3)


def test_python_overrides_reach_the_search(digits: Digits) -> None:
    model = api.load(digits.run, device="cpu", overrides=["decode.beam_size=7"])
    assert len(model.nbest(["1 2 3"], 7)[0]) == 7


@pytest.mark.parametrize("policy", ["replace", "skip", "error"])
def test_translate_utf16_input_is_refused(digits: Digits, tmp_path: Path, policy: str) -> None:
    output = tmp_path / "out.txt"
    result = nmt(
        *("translate", "-m", digits.run, "--invalid", policy, "-o", output),
        stdin="1 2 3\r\n4 5 6\r\n".encode("utf-16"),
    )
    assert result.code == EXIT_USER_ERROR
    assert "stdin:1: expected UTF-8, got UTF-16" in result.err
    assert "iconv -f UTF-16 -t UTF-8 FILE" in result.err
    assert not any(tmp_path.iterdir())
