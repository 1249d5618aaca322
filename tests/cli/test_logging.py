"""Messages of nmt: silent in a program, unless it configures logging; shown by the command line."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.command_line import assert_success, environment, nmt, run_new_process
from tests.support.paths import FROZEN_V1

SETTINGS = ["data.clean.normalise=[nfc]", "decode.precision=auto"]
"""The first setting makes nmt log a warning, the second makes it log which precision it chose."""
WARNING = "data.clean.normalise [nfc] changed the training text of this model"
PROGRAM = f"""
import logging, sys
import nmt
def translate(*settings):
    model = nmt.load({str(FROZEN_V1)!r}, device="cpu", overrides=[{SETTINGS[0]!r}, *settings])
    assert model.translate("1 2 3") == "3 2 1"
    print("end of a part", file=sys.stderr)
translate()
logging.basicConfig(level=logging.INFO)
translate({SETTINGS[1]!r})  # a process chooses, and logs, its precision only once
logging.getLogger().setLevel(logging.WARNING)
translate()
logging.getLogger("nmt.decoding").setLevel(logging.ERROR)
translate()
"""
"""A program that translates a line with four configurations of logging, one after the other."""
ARGUMENTS = [
    *("translate", "-m", FROZEN_V1, "--device", "cpu"),
    *(part for setting in SETTINGS for part in ("--set", setting)),
]


@pytest.fixture(scope="module")
def outputs() -> tuple[str, list[list[str]]]:
    """Return the stdout of the program, and the lines of stderr of each of its four parts."""
    process = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=environment()
    )
    assert process.returncode == 0, process.stderr
    *parts, after_end = process.stderr.split("end of a part\n")
    assert after_end == ""
    return process.stdout, [part.splitlines() for part in parts]


def test_program_without_logging_prints_nothing(outputs: tuple[str, list[list[str]]]) -> None:
    out, (messages, *_) = outputs
    assert (out, messages) == ("", [])


def test_program_with_logging_receives_messages(outputs: tuple[str, list[list[str]]]) -> None:
    out, (_, messages, *_) = outputs
    assert out == ""
    assert len(messages) == 2
    assert messages[0].startswith("INFO:nmt.device.precision:decode.precision: ")
    assert messages[1].startswith(f"WARNING:nmt.decoding.loading:{WARNING}")


def test_program_can_select_warnings_of_a_package(outputs: tuple[str, list[list[str]]]) -> None:
    out, (_, _, warnings, silenced) = outputs
    assert len(warnings) == 1
    assert (out, silenced) == ("", [])


def test_command_prints_each_message_once() -> None:
    process = run_new_process(*ARGUMENTS, stdin=b"1 2 3\n")
    assert process.stdout == b"3 2 1\n"
    precision, warning = process.stderr.decode().splitlines()
    assert precision.startswith("decode.precision: ")
    assert warning.startswith(f"warning: {WARNING}")


def test_command_repeated_in_a_process_prints_once() -> None:
    for _ in range(2):
        result = assert_success(nmt(*ARGUMENTS, stdin="1 2 3\n"))
        assert result.err.count(f"warning: {WARNING}") == 1
