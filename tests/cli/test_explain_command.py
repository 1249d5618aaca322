"""`nmt explain` with a sentence, a file and a pipe."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.command_line import assert_success, environment, nmt, settings, write_lines
from tests.support.tiny_runs import Digits, Tiny


def test_explain_sentence_draws_its_attention(digits: Digits) -> None:
    result = assert_success(nmt("explain", "1 2 3 4", "-m", digits.run))
    translation, blank, header, *rows = result.lines
    assert (translation, blank) == ("4 3 2 1", "")
    assert header.split() == ["1", "2", "3", "4", "</s>"]
    assert [row.split()[0] for row in rows] == ["4", "3", "2", "1", "</s>"]
    columns = [row.index("█") for row in rows[:4] if "█" in row]
    assert len(columns) >= 3
    assert columns == sorted(columns, reverse=True)
    assert "\x1b" not in result.out


@pytest.mark.parametrize("beam", [1, 2, 5])
def test_explain_shows_the_hypothesis_of_the_beam(digits: Digits, beam: int) -> None:
    flags = ("-m", digits.run, *settings(decode__beam_size=beam))
    [line] = assert_success(nmt("explain", "3 1 4 1 5", "--json", *flags)).lines
    [translation] = assert_success(nmt("translate", *flags, stdin="3 1 4 1 5\n")).lines
    explanation = json.loads(line)
    assert explanation["target"]["text"] == translation
    [forced_line] = assert_success(
        nmt("explain", "3 1 4 1 5", "--json", "--force", translation, *flags)
    ).lines
    assert json.loads(forced_line)["weights"] == explanation["weights"]


def test_explain_json_contains_all_numbers(digits: Digits) -> None:
    [line] = assert_success(nmt("explain", "1 2", "-m", digits.run, "--json", "--beam", "2")).lines
    content = json.loads(line)
    pieces = len(content["source"]["pieces"]), len(content["target"]["pieces"])
    for name in ("scores", "softmax", "weights"):
        assert len(content[name][0][0]) == pieces[1]
        assert len(content[name][0][0][0]) == pieces[0]
    assert all(sum(row) == pytest.approx(1, abs=1e-4) for row in content["softmax"][0][0])
    assert len(content["top"]) == len(content["log_probs"]) == len(content["context_norms"][0])
    assert len(content["beam"]) >= pieces[1]
    for t, step in enumerate(content["beam"]):
        ends = [c["pieces"][-1] == "</s>" for c in step]
        for end in (True, False):
            kept_flags = [c["kept"] for c, is_end in zip(step, ends, strict=True) if is_end == end]
            assert kept_flags == sorted(kept_flags, reverse=True), (
                "candidates are kept in order of their score"
            )
            assert sum(kept_flags) <= 2
        assert all(len(c["pieces"]) == t + 1 for c in step)
        scores = [c["log_prob"] for c in step]
        assert scores == sorted(scores, reverse=True)
    assert any(not c["kept"] for step in content["beam"] for c in step)
    best = next(
        c for step in content["beam"] for c in step if c["pieces"] == content["target"]["pieces"]
    )
    assert best["log_prob"] == pytest.approx(sum(content["log_probs"]), abs=1e-3)


def test_explain_steps_shows_each_target_piece(digits: Digits) -> None:
    result = assert_success(nmt("explain", "1 2", "-m", digits.run, "--steps", "--beam", "2"))
    assert result.lines[0] == "2 1"
    steps = [line for line in result.lines if line.startswith("step ")]
    assert len(steps) == len(result.out.split("context norm")) - 1
    assert [line.split()[1] for line in steps] == [str(i + 1) for i in range(len(steps))]
    assert "kept" in result.out
    assert "dropped" in result.out


def test_explain_pipe_keeps_order_and_blank_lines(digits: Digits, tmp_path: Path) -> None:
    lines = assert_success(nmt("explain", "-m", digits.run, "--json", stdin="1 2\n\n3 4\n")).lines
    content = [json.loads(line) for line in lines]
    assert content[1] is None
    assert [f and f["target"]["text"] for f in content] == ["2 1", None, "4 3"]
    forced = write_lines(tmp_path / "given", ["2 1", "5", "4 4"])
    flags = ("--json", "--force", forced)
    lines = assert_success(nmt("explain", "-m", digits.run, *flags, stdin="1 2\n\n3 4\n")).lines
    assert [json.loads(line)["target"]["text"] for line in lines if line != "null"] == [
        "2 1",
        "4 4",
    ]
    assert assert_success(nmt("explain", "-m", digits.run, stdin="\n")).out == "\n"
    assert assert_success(nmt("explain", "-m", digits.run)).out == ""


def run_bash(command: str, *words: object) -> subprocess.CompletedProcess[str]:
    """Run a line of bash with `nmt` of this checkout; `words` are its arguments "$@"."""
    definition = f'nmt() {{ {shlex.quote(sys.executable)} -m nmt "$@"; }}; {command}'
    return subprocess.run(
        ["bash", "-c", definition, "bash", *map(str, words)],
        capture_output=True,
        text=True,
        env=environment(),
    )


def test_explain_closed_pipe_ends_without_error(digits: Digits, tmp_path: Path) -> None:
    src = write_lines(tmp_path / "src", ["1 2 3"] * 400)
    end = '| head -1; echo "${PIPESTATUS[0]}"'
    result = run_bash(f'nmt explain --json -m "$1" --src "$2" {end}', digits.run, src)
    first, code = result.stdout.splitlines()
    assert json.loads(first)["target"]["text"] == "3 2 1"
    assert code == "0"
    assert result.stderr == ""


def test_explain_closed_stdout_still_writes_the_page(digits: Digits, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    result = run_bash('nmt explain "1 2" -m "$1" --html "$2" | true', digits.run, page)
    assert page.read_text().startswith("<!doctype html>")
    assert "Traceback" not in result.stderr


def test_explain_output_is_utf8_in_any_shell(digits: Digits) -> None:
    command = 'PYTHONIOENCODING=latin-1 nmt explain "1 2" -m "$1"'
    assert "█" in run_bash(command, digits.run).stdout


def test_explain_argument_of_another_encoding_is_refused(digits: Digits) -> None:
    """Python reads the byte E9, which is not UTF-8, as U+DCE9."""
    result = nmt("explain", "caf\udce9", "-m", digits.run)
    assert result.code == 2
    assert result.err == "error: the sentence: expected UTF-8, got 'caf\\udce9'\n"


def test_explain_long_line_is_drawn_in_blocks(digits: Digits) -> None:
    sentence = " ".join("123456789" * 23)[:399]
    result = assert_success(nmt("explain", sentence, "-m", digits.run, "--force", "z y x"))
    assert all(len(line) <= 100 for line in result.lines[1:])
    words = [word for line in result.lines for word in line.split()]
    assert sum(word.isdigit() for word in words) == 200


def test_explain_writes_pages_and_images(digits: Digits, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs matplotlib (the extra plot)")
    files = {kind: tmp_path / f"a.{kind}" for kind in ("html", "png", "svg")}
    flags = [flag for kind, file in files.items() for flag in (f"--{kind}", file)]
    assert_success(nmt("explain", "1 2", "-m", digits.run, *flags))
    assert files["html"].read_text().startswith("<!doctype html>")
    assert files["png"].read_bytes().startswith(b"\x89PNG")
    assert files["svg"].read_text().startswith("<?xml")
    src = write_lines(tmp_path / "src", ["1 2", "", "3 4"])
    assert_success(nmt("explain", "--src", src, "-m", digits.run, *flags))
    assert (tmp_path / "a-1.png").exists()
    assert (tmp_path / "a-2.svg").exists()
    assert '"3 4"' in files["html"].read_text()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["1 2", "--src", "S"], "a sentence and --src: expected one of them"),
        (["1 2", "--steps", "--json"], "--steps and --json: expected one of them"),
        (["1 2", "--beam", "2", "--force", "2 1"], "--beam and --force: expected one of them"),
        (["1 2", "--svg", "SAME"], "--html, --png and --svg: expected different files"),
        (["--force", "2 1"], "2 1: no such file"),
        (["--force", "LONGER"], "got 0 in stdin"),
        (["--src", "S", "--force", "LONGER"], "expected the same number of lines on both sides"),
        (["--src", "nowhere"], "nowhere: no such file"),
    ],
)
def test_explain_bad_arguments_are_refused(
    digits: Digits, tmp_path: Path, flags: list[str], message: str
) -> None:
    names = {
        "S": write_lines(tmp_path / "s", ["1 2"]),
        "LONGER": write_lines(tmp_path / "longer", ["2 1", "3"]),
    }
    page = names["SAME"] = tmp_path / "page.html"
    arguments = [names.get(flag, flag) for flag in flags]
    result = nmt("explain", "-m", digits.run, *arguments, "--html", page)
    assert result.code == 2
    assert message in result.err
    assert not page.exists()


def test_explain_model_without_attention_is_refused(tiny: Tiny) -> None:
    assert_success(tiny.train(*settings(model__attention="none")))
    result = nmt("explain", "1 2", "-m", tiny.run)
    assert result.code == 2
    assert result.err == f"error: {tiny.run}: has no attention to show (model.attention: none)\n"


@pytest.mark.parametrize(
    "choice",
    [
        {"model__window": "local_p", "model__window_width": 2, "model__num_heads": 2},
        {"model__attention": "bahdanau", "model__score": "additive", "model__coverage": "true"},
        {"model__score": "location", "model__window": "local_m", "model__num_layers": 2},
    ],
    ids=lambda choice: "-".join(map(str, choice.values())),
)
def test_explain_any_kind_of_attention_prints_output(tiny: Tiny, choice: dict[str, object]) -> None:
    assert_success(tiny.train(*settings(**choice)))
    for flags in ([], ["--steps"], ["--json"]):
        result = assert_success(nmt("explain", "1 2 3", "-m", tiny.run, "--force", "3 2 1", *flags))
        assert result.out.strip()
