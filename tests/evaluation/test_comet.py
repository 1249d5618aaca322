"""Line scores of an external command in place of comet-score."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from nmt.errors import ConfigError, DataError, NMTError
from nmt.evaluation.comet import parse_comet_command, score_with_command

HYP, REF, SRC = ["a b", "a b c", ""], ["a", "b", "c"], ["x", "y", "z"]


def write_script(folder: Path, body: str) -> str:
    file = folder / "outside.py"
    head = "import sys\nsrc, hyp, ref = (open(f).read().split('\\n')[:-1] for f in sys.argv[1:])\n"
    file.write_text(head + body)
    return f"{sys.executable} {file} {{src}} {{hyp}} {{ref}}"


def test_score_with_command_returns_one_score_per_line(tmp_path: Path) -> None:
    command = write_script(
        tmp_path, "for s, h, r in zip(src, hyp, ref):\n print(s + r, len(h) / 10)\n"
    )
    assert score_with_command(parse_comet_command(command), SRC, HYP, REF) == [0.3, 0.5, 0.0]


def test_score_with_command_ignores_system_score_of_comet(tmp_path: Path) -> None:
    body = (
        "for i, h in enumerate(hyp):\n print(f'{sys.argv[2]}\\tSegment {i}\\tscore: {i - 1}e-1')\n"
        "print(f'{sys.argv[2]}\\tscore: 0.5')\n"
    )
    command = parse_comet_command(write_script(tmp_path, body))
    assert score_with_command(command, SRC, HYP, REF) == [-0.1, 0.0, 0.1]


@pytest.mark.parametrize(
    ("line", "number"), [(".5", 0.5), ("-.5", -0.5), ("x 3.", 3.0), ("score: +2e1", 20.0)]
)
def test_score_with_command_accepts_number_formats(
    tmp_path: Path, line: str, number: float
) -> None:
    command = parse_comet_command(write_script(tmp_path, f"for h in hyp: print({line!r})"))
    assert score_with_command(command, SRC, HYP, REF) == [number] * 3


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("print(1)", "expected one number for each of 3 lines, got 1"),
        ("for h in hyp: print('version v2')", "expected one number for each of 3 lines"),
        ("sys.stdout.buffer.write(b'\\xff')", "expected one number for each of 3 lines"),
        ("for h in hyp: print('none')", "expected one number for each of 3 lines, got 0"),
        ("sys.exit('no such model')", "exited with code 1: no such model"),
        ("sys.exit(3)", "exited with code 3: no message on stderr"),
    ],
)
def test_score_with_command_failure_is_reported(tmp_path: Path, body: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        score_with_command(parse_comet_command(write_script(tmp_path, body)), SRC, HYP, REF)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("comet-score", "expected a command with {hyp}"),
        (
            "comet-score '{hyp}",
            'expected a command line, got "comet-score \'{hyp}": No closing quotation',
        ),
        ("no-such-command {hyp}", "no-such-command: no such command"),
        ("cat {hyp} {src}", "expected a source for {src}, got none"),
    ],
)
def test_parse_comet_command_bad_command_is_refused(command: str, message: str) -> None:
    with pytest.raises(NMTError) as caught:
        score_with_command(parse_comet_command(command), None, HYP, REF)
    assert isinstance(caught.value, ConfigError)
    assert message in str(caught.value)
