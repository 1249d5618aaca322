"""`nmt translate` as a filter: one line out a line in, in order, whatever the line."""

from __future__ import annotations

import gzip
import random
import shutil
from pathlib import Path

import pytest
from commandline import done, nmt, settings, write_lines
from tinyruns import Digits

import nmt as api
from nmt.errors import EXIT_USER_ERROR


def text(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def translate(digits: Digits, lines: list[str], *arguments: object) -> list[str]:
    """Translate lines from stdin; as many come back."""
    got = done(nmt("translate", "-m", digits.run, *arguments, stdin=text(lines))).lines
    assert len(got) == len(lines)
    return got


def test_three_lines_come_back_as_three_with_the_blank_one_blank(digits: Digits) -> None:
    result = done(nmt("translate", "-m", digits.run, stdin=b"A dog runs.\n\nTwo men talk.\r\n"))
    assert result.out.count("\n") == 3
    assert "\r" not in result.out
    first, second, third = result.lines
    assert first
    assert second == ""
    assert third


def test_empty_input_gives_empty_output(digits: Digits) -> None:
    assert done(nmt("translate", "-m", digits.run)).out == ""


def test_a_last_line_without_its_end_is_a_line(digits: Digits) -> None:
    assert done(nmt("translate", "-m", digits.run, stdin=b"1 2 3\n4 5 6")).lines == [
        "3 2 1",
        "6 5 4",
    ]


def test_a_byte_order_mark_and_crlf_are_no_part_of_a_line(digits: Digits) -> None:
    assert done(nmt("translate", "-m", digits.run, stdin=b"\xef\xbb\xbf1 2 3\r\n")).lines == [
        "3 2 1"
    ]


def test_a_thousand_lines_come_back_in_order(digits: Digits) -> None:
    rng = random.Random(1)
    lines = [rng.choice([*digits.src, ""]) for _ in range(1000)]
    expected = dict(zip(digits.src, digits.ref, strict=True)) | {"": ""}
    assert translate(digits, lines, "--beam", 1) == [expected[line] for line in lines]


def test_a_line_alone_is_translated_as_among_a_thousand(digits: Digits) -> None:
    odd = ["7", "1 1 1 1 1 1 1 1 1 1", "12", "a 3", "9 8 7 6 5 4 3 2 1 0 9 8"]  # it guesses here
    together = translate(digits, [*digits.src, *odd])[-len(odd) :]
    assert [translate(digits, [line])[0] for line in odd] == together


def test_neither_batch_size_nor_order_changes_a_translation(digits: Digits) -> None:
    # Lines twice as long as those it learned, which it gets wrong, beside those it knows.
    lines = [f"{line} {line}" for line in digits.src[:40]] + digits.src[:160]
    expected = translate(digits, lines)
    assert expected[:40] != [line[::-1] for line in lines[:40]]
    for size in (1, 7, 64):
        order = random.Random(size).sample(range(len(lines)), len(lines))
        flags = settings(decode__batch_size=size)
        shuffled = translate(digits, [lines[i] for i in order], *flags)
        assert shuffled == [expected[i] for i in order], size


def test_stdin_file_and_output_file_say_the_same(digits: Digits, tmp_path: Path) -> None:
    lines = digits.src[:20]
    source = write_lines(tmp_path / "in.txt", lines)
    target = tmp_path / "new" / "out.txt"
    from_file = done(nmt("translate", "-m", digits.run, source))
    to_file = done(nmt("translate", "-m", digits.run, source, "-o", target))
    assert from_file.lines == translate(digits, lines) == digits.ref[:20]
    assert to_file.out == ""
    assert target.read_text() == from_file.out
    assert [p.name for p in target.parent.iterdir()] == ["out.txt"]


def test_a_gz_file_is_read_as_its_text(digits: Digits, tmp_path: Path) -> None:
    source = tmp_path / "in.txt.gz"
    source.write_bytes(gzip.compress(text(digits.src[:3]).encode()))
    assert done(nmt("translate", "-m", digits.run, source)).lines == digits.ref[:3]


def test_after_an_error_there_is_no_output_file(digits: Digits, tmp_path: Path) -> None:
    target = tmp_path / "out.txt"
    source = tmp_path / "cut.gz"
    source.write_bytes(gzip.compress(text(digits.src).encode())[:-20])
    result = nmt("translate", "-m", digits.run, source, "-o", target)
    assert result.code == 2
    assert result.err.startswith(f"error: {source}: ")
    assert [p.name for p in tmp_path.iterdir()] == ["cut.gz"]


def test_nbest_is_the_list_of_moses_best_first(digits: Digits) -> None:
    result = done(nmt("translate", "-m", digits.run, "--nbest", 3, stdin=text(digits.src[:4])))
    rows = [line.split(" ||| ") for line in result.lines]
    assert [row[0] for row in rows] == [str(i) for i in range(4) for _ in range(3)]
    for i in range(4):
        three = rows[3 * i : 3 * i + 3]
        assert three[0][1] == digits.ref[i]
        assert len({row[1] for row in three}) == 3
        scores = [float(row[2]) for row in three]
        assert scores == sorted(scores, reverse=True)


def test_scores_stand_before_each_line_and_fall_where_the_model_guesses(digits: Digits) -> None:
    known, strange = translate(digits, [digits.src[0], "x ? y"], "--scores")
    score, translation = known.split("\t")
    assert translation == digits.ref[0]
    assert float(strange.split("\t")[0]) < float(score) <= 0.0


def test_nbest_over_the_beam_is_refused(digits: Digits) -> None:
    result = nmt("translate", "-m", digits.run, "--nbest", 6, stdin=b"1\n")
    assert (result.code, result.out) == (2, "")
    assert result.err == "error: --nbest: expected at most the beam size, 5, got 6\n"


def test_a_wider_beam_allows_a_longer_list(digits: Digits) -> None:
    result = done(nmt("translate", "-m", digits.run, "--beam", 6, "--nbest", 6, stdin=b"1 2 3\n"))
    assert len(result.lines) == 6


def test_invalid_utf8_is_replaced_counted_and_kept_on_its_line(digits: Digits) -> None:
    stdin = b"1 2 3\n4 \xff 5\n\xc3\n6 7 8\n"
    result = done(nmt("translate", "-m", digits.run, stdin=stdin))
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
def test_a_strange_line_is_still_one_line(digits: Digits, line: str) -> None:
    flags = settings(decode__max_length_ratio=0.05)
    first, _, last = translate(digits, ["1 2", line, "3 4"], "--beam", 1, *flags)
    assert (first, last) == ("2 1", "4 3")


def test_a_line_of_500_spaces_is_blank(digits: Digits) -> None:
    assert translate(digits, ["1 2 3", " " * 500, "4 5 6"]) == ["3 2 1", "", "6 5 4"]


def test_a_run_folder_copied_alone_translates(digits: Digits, tmp_path: Path) -> None:
    copy = shutil.copytree(digits.run, tmp_path / "else" / "where", symlinks=True)
    shutil.rmtree(copy / "corpus")
    for name in ("valid", "metrics.jsonl", "train.log", "report.json"):
        path = copy / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert done(nmt("translate", "-m", copy, stdin=text(digits.src[:9]))).lines == digits.ref[:9]


def test_without_a_model_the_newest_finished_run_is_taken_and_named(
    digits: Digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(digits.run, "runs/finished", symlinks=True)
    shutil.copytree(digits.run, "runs/unfinished", symlinks=True)
    Path("runs/unfinished/finished.json").unlink()
    result = done(nmt("translate", stdin=b"1 2 3\n"))
    assert result.lines == ["3 2 1"]
    assert result.err == "model: runs/finished (the newest finished run)\n"


def test_without_a_model_and_without_runs_the_way_to_one_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = nmt("translate", stdin=b"1 2 3\n")
    assert result.code == 2
    assert result.err.startswith("error: no finished run under runs/: train one")


def test_python_says_what_the_command_says(digits: Digits) -> None:
    lines = [*digits.src[:30], "", "x y z"]
    model = api.load(digits.run, device="cpu")
    assert model.translate(lines) == translate(digits, lines)


def test_python_scores_a_translation_as_the_search_did(digits: Digits) -> None:
    lines = [*digits.src[:20], "1 1 1 1 1 1 1 1 1 1 1", "x y z"]
    found = [line.split("\t") for line in translate(digits, lines, "--scores")]
    model = api.load(str(digits.run), device="cpu")
    scores = model.score(list(zip(lines, (text for _, text in found), strict=True)))
    assert scores == pytest.approx([float(score) for score, _ in found], abs=1e-3)


def test_settings_reach_the_search_through_python(digits: Digits) -> None:
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
