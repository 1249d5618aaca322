"""Messages, progress bars, and numbers with units."""

from __future__ import annotations

import logging
import os
import subprocess
import sys

import pytest

from nmt.core.console import (
    RED,
    format_distinct_sizes,
    format_duration,
    format_size,
    show_progress,
)

logger = logging.getLogger("nmt")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.4, "0s"),
        (45, "45s"),
        (59.4, "59s"),
        (59.6, "1m00s"),
        (61, "1m01s"),
        (750, "12m30s"),
        (3599.7, "1h00m"),
        (11_100, "3h05m"),
        (360_000, "100h00m"),
    ],
)
def test_format_duration_shows_two_largest_units(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (1499, "1 kB"),
        (25_600, "26 kB"),
        (3_000_000, "3 MB"),
        (1_500_000_000, "1.5 GB"),
        (2_000_000_000_000, "2000.0 GB"),
        (999_600, "1 MB"),
        (999_600_000, "1.0 GB"),
    ],
)
def test_format_size_uses_decimal_units(count: float, text: str) -> None:
    assert format_size(count) == text


def test_console_handler_marks_each_line_of_errors(capsys: pytest.CaptureFixture[str]) -> None:
    logger.error("one\ntwo")
    assert capsys.readouterr() == ("", "error: one\nerror: two\n")


def test_console_handler_error_is_red_only_on_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    logger.error("x")
    assert "\x1b" not in capsys.readouterr().err
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    logger.error("x")
    assert capsys.readouterr().err.startswith(f"{RED}error: x")


def test_console_handler_writes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    logger.info("hello")
    assert capsys.readouterr() == ("", "hello\n")


def test_print_result_with_ascii_stdout_writes_utf8() -> None:
    code = (
        "from nmt.core.console import print_result; print('a'); print_result('± “ü”'); print('b')"
    )
    process = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=True,
    )
    assert process.stdout.decode() == "a\n± “ü”\nb\n"


def test_show_progress_always_off_a_terminal_prints_few_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter([0.0, 5.0, 30.0, 45.0, 60.0])
    monkeypatch.setattr("nmt.core.console.time.monotonic", lambda: next(clock))
    with show_progress("set: scoring", 400, always=True) as advance:
        for _ in range(4):
            advance(100)
    stderr = capsys.readouterr().err
    assert stderr == "set: scoring\nset: scoring: 200 of 400, 6.7 it/s, ETA 30s\n"


def test_show_progress_without_a_total_prints_the_speed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter([0.0, 40.0])
    monkeypatch.setattr("nmt.core.console.time.monotonic", lambda: next(clock))
    with show_progress("translating", None, always=True, unit="lines") as advance:
        advance(1000)
    assert capsys.readouterr().err == "translating\ntranslating: 1,000, 25.0 lines/s\n"


def test_show_progress_off_a_terminal_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    with show_progress("translating", 10, always=False) as advance:
        advance(10)
    assert capsys.readouterr() == ("", "")


def test_show_progress_on_a_terminal_clears_the_bar_on_ctrl_c(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)

    def interrupted() -> None:
        with show_progress("translating", 10, always=False, unit="lines") as advance:
            advance(4)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    out, stderr = capsys.readouterr()
    assert out == ""
    assert "translating:" in stderr
    assert "0/10" in stderr
    assert "lines/s" in stderr
    assert stderr.split("\r")[-2].strip() == "", "blanks over the bar"
    assert not stderr.endswith("\n")


@pytest.mark.parametrize(
    ("first", "second", "texts"),
    [
        (1_240_000, 1_200_000, ("1.24 MB", "1.20 MB")),
        (2_000_000, 1_000, ("2 MB", "1 kB")),
        (1_000_001, 1_000_000, ("1.000001 MB", "1.000000 MB")),
        (999, 998, ("999 B", "998 B")),
        (5_000_000_001, 5_000_000_000, ("5.000000001 GB", "5.000000000 GB")),
    ],
)
def test_format_distinct_sizes_of_different_numbers_differ(
    first: int, second: int, texts: tuple[str, str]
) -> None:
    assert format_distinct_sizes(first, second) == texts
