"""Messages of nmt: silent in a program, unless it configures logging; shown by the command line."""

from __future__ import annotations

import subprocess
import sys

from tests.support.command_line import assert_success, environment, nmt, run_new_process
from tests.support.paths import FROZEN_V1

SETTINGS = ["data.clean.normalise=[nfc]", "decode.precision=auto"]
"""The first setting makes nmt log a warning, the second makes it log which precision it chose."""
WARNING = "data.clean.normalise [nfc] changed the training text of this model"
PROGRAM = f"""
import nmt
model = nmt.load({str(FROZEN_V1)!r}, device="cpu", overrides={SETTINGS})
assert model.translate("1 2 3") == "3 2 1"
"""
ARGUMENTS = [
    *("translate", "-m", FROZEN_V1, "--device", "cpu"),
    *(part for setting in SETTINGS for part in ("--set", setting)),
]


def outputs_of_program(setup: str = "") -> tuple[str, list[str]]:
    """Return the stdout and the stderr lines of a program that translates a line."""
    process = subprocess.run(
        [sys.executable, "-c", setup + PROGRAM], capture_output=True, text=True, env=environment()
    )
    assert process.returncode == 0, process.stderr
    return process.stdout, process.stderr.splitlines()


def test_program_without_logging_prints_nothing() -> None:
    assert outputs_of_program() == ("", [])


def test_program_with_logging_receives_messages() -> None:
    setup = "import logging; logging.basicConfig(level=logging.INFO)"
    out, messages = outputs_of_program(setup)
    assert out == ""
    assert len(messages) == 2
    assert messages[0].startswith("INFO:nmt.device.precision:decode.precision: ")
    assert messages[1].startswith(f"WARNING:nmt.decoding.loading:{WARNING}")


def test_program_can_select_warnings_of_a_package() -> None:
    setup = "import logging; logging.basicConfig(); "
    _, messages = outputs_of_program(setup)
    assert len(messages) == 1
    silence = "logging.getLogger('nmt.decoding').setLevel(logging.ERROR)"
    assert outputs_of_program(setup + silence) == ("", [])


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
