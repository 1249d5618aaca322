"""Test `nmt translate` in a separate process: closed pipes, streams and signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import termios
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.command_line import (
    NMT,
    assert_success,
    environment,
    nmt,
    run_new_process,
    write_lines,
)
from tests.support.paths import FROZEN_V1
from tests.support.tiny_runs import Digits


def start(*arguments: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*NMT, "translate", "--device", "cpu", *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )


def test_translate_closed_pipe_ends_quietly(digits: Digits, tmp_path: Path) -> None:
    source = write_lines(tmp_path / "big", digits.src * 50)
    command = f"{sys.executable} -m nmt translate -m {digits.run} --beam 1 {source}"
    shell = subprocess.run(
        ["bash", "-c", f"{command} | head -1; echo ${{PIPESTATUS[0]}}"],
        capture_output=True,
        text=True,
        env=environment(),
    )
    assert shell.stdout.split("\n")[:2] == [digits.ref[0], "0"]
    assert shell.stderr == ""


def test_translate_stream_answers_each_line_until_ctrl_c(digits: Digits) -> None:
    with start("-m", digits.run, "--stream") as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        for src, ref in zip(digits.src[:3], digits.ref, strict=False):
            process.stdin.write(f"{src}\n".encode())
            process.stdin.flush()
            assert process.stdout.readline() == f"{ref}\n".encode()
        time.sleep(0.2)  # until the process waits for the next line
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert process.stderr.read().strip() == b""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_translate_signal_keeps_finished_lines(
    digits: Digits, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    output = tmp_path / "out"
    output.write_text("earlier content\n")
    with start("-m", digits.run, "--stream", "-o", output) as process:
        assert process.stdin
        assert process.stderr
        process.stdin.write(b"1 2 3\n4 5\n")
        process.stdin.flush()
        while [file.read_bytes().count(b"\n") for file in tmp_path.glob(".out.*")] != [2]:
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(number)
        assert process.wait(20) == code
        message = process.stderr.read().decode().strip()
        assert message == f"interrupted; the lines translated so far: {output}.partial"
    assert (tmp_path / "out.partial").read_text() == "3 2 1\n5 4\n"
    assert output.read_text() == "earlier content\n"
    assert {path.name for path in tmp_path.iterdir()} == {"out", "out.partial"}


@pytest.mark.skipif(sys.platform == "win32", reason="needs a file that cannot be written")
def test_translate_full_disk_prints_one_line(digits: Digits) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    with open("/dev/full", "wb") as full:
        process = subprocess.run(
            [*NMT, "translate", "-m", str(digits.run), "--device", "cpu"],
            input=b"1 2 3\n",
            stdout=full,
            stderr=subprocess.PIPE,
            env=environment(),
        )
    assert process.returncode == 2
    lines = process.stderr.decode().strip().split("\n")
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert "No space left" in lines[0]


def test_python_m_nmt_runs_the_command(digits: Digits) -> None:
    process = run_new_process("translate", "-m", digits.run, "--stream", stdin=b"1 2 3\n")
    assert (process.returncode, process.stdout, process.stderr) == (0, b"3 2 1\n", b"")


def test_translate_progress_is_shown_on_terminals_only(tmp_path: Path) -> None:
    source = write_lines(tmp_path / "source", ["1 2 3"] * 100)
    arguments = ["translate", "-m", FROZEN_V1, "--device", "cpu", source]
    quiet = assert_success(nmt(*arguments))
    verbose = assert_success(nmt(*arguments, "--progress"))
    assert quiet.out == verbose.out == "3 2 1\n" * 100
    assert "translating" not in quiet.err
    assert "translating" in verbose.err
    terminal, stderr = os.openpty()
    termios.tcsetwinsize(stderr, (24, 80))
    with subprocess.Popen(
        [*NMT, *map(str, arguments)], stdout=subprocess.PIPE, stderr=stderr, env=environment()
    ) as job:
        os.close(stderr)
        assert job.stdout
        assert job.stdout.read().decode() == quiet.out, "stdout contains no progress bar"
    terminal_output = b""
    with suppress(OSError):  # the end of a pseudo-terminal
        while block := os.read(terminal, 4096):
            terminal_output += block
    os.close(terminal)
    assert b"/100" in terminal_output
    assert b"lines/s" in terminal_output
    assert terminal_output.rstrip(b"\r").split(b"\r")[-1].strip() == b"", (
        "the bar is cleared at the end"
    )
