"""Test closed streams, a deleted working directory, and outputs that are streams."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from nmt.core import files
from tests.support.command_line import NMT, environment, nmt
from tests.support.tiny_runs import Digits


def shell(script: str, folder: Path, **variables: object) -> subprocess.CompletedProcess[str]:
    """Run a bash script that calls nmt as "${NMT[@]}"; `variables` are its environment."""
    definition = "NMT=(" + " ".join(f"'{word}'" for word in NMT) + ")\n"
    values = {name: str(value) for name, value in variables.items()}
    return subprocess.run(
        ["bash", "-c", definition + script],
        cwd=folder,
        env=environment() | values,
        capture_output=True,
        text=True,
    )


CLOSED_STDIN = "error: stdin: expected text, got a closed stream (name a file, or pipe text in)\n"


def test_process_reading_closed_stdin_prints_one_line(digits: Digits, tmp_path: Path) -> None:
    result = shell('"${NMT[@]}" translate -m $RUN <&-', tmp_path, RUN=digits.run)
    assert result.returncode == 2
    assert result.stderr.endswith(CLOSED_STDIN)
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("command", ["score", "explain"])
def test_command_reading_closed_stdin_prints_one_line(
    digits: Digits, tmp_path: Path, command: str
) -> None:
    (tmp_path / "a").write_text("1 2\n")
    flags = ["--tgt", tmp_path / "a"] if command == "score" else []
    result = nmt(command, "-m", digits.run, *flags, stdin=None)
    assert result.code == 2
    assert result.err.endswith(CLOSED_STDIN)


@pytest.mark.parametrize("arguments", ["runs list .", "translate -m $RUN a", "data list"])
def test_command_with_closed_stdout_prints_one_line(
    digits: Digits, tmp_path: Path, arguments: str
) -> None:
    (tmp_path / "a").write_text("1 2\n")
    result = shell(f'"${{NMT[@]}}" {arguments} >&-', tmp_path, RUN=digits.run)
    assert result.returncode == 2
    assert result.stderr == (
        "error: stdout: expected an open stream, got a closed one (redirect it to a file)\n"
    )


def test_command_without_stdin_and_stderr_writes_output_only(
    digits: Digits, tmp_path: Path
) -> None:
    (tmp_path / "a").write_text("1 2\n")
    result = shell('"${NMT[@]}" translate -m $RUN a --progress <&- 2>&-', tmp_path, RUN=digits.run)
    assert (result.returncode, result.stdout, result.stderr) == (0, "2 1\n", "")


def test_command_in_a_deleted_folder_prints_one_line(digits: Digits, tmp_path: Path) -> None:
    script = 'mkdir d; cd d; rmdir ../d; "${NMT[@]}" translate -m $RUN $RUN/config.yaml'
    variables = {"RUN": digits.run, "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    result = shell(script, tmp_path, **variables)
    assert result.returncode == 2
    assert result.stderr.endswith(
        "error: working directory: expected a folder, got one that was deleted "
        "(change to another)\n"
    )


def test_output_to_link_to_stdout_keeps_content(digits: Digits, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1 2\n")
    (tmp_path / "link").symlink_to("/dev/stdout")
    script = '(echo head; "${NMT[@]}" translate -m $RUN a -o link; echo tail) > all'
    result = shell(script, tmp_path, RUN=digits.run)
    assert (tmp_path / "all").read_text() == "head\n2 1\ntail\n", result.stderr
    assert (tmp_path / "link").is_symlink()


WRITER = """
import sys
from pathlib import Path
from nmt.core.files import write_text
write_text(Path(sys.argv[1]), "text\\n")
"""
"""A program that writes a line to the file that its argument names, as commands do for -o."""


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_write_text_to_redirected_stream_keeps_content(tmp_path: Path, name: str) -> None:
    script = f'(echo head; "${{NMT[0]}}" -c "$WRITER" {name}; echo tail) > all'
    result = shell(script, tmp_path, WRITER=WRITER)
    assert (tmp_path / "all").read_text() == "head\ntext\ntail\n", result.stderr


@pytest.mark.parametrize("mode", ["wb", "ab"])
def test_write_bytes_to_descriptor_continues_its_file(tmp_path: Path, mode: str) -> None:
    file = tmp_path / "a"
    with file.open(mode, buffering=0) as stream:
        stream.write(b"head\n")
        for name in (f"/dev/fd/{stream.fileno()}", f"/proc/{os.getpid()}/fd/{stream.fileno()}"):
            files.write_bytes(Path(name), b"text\n")
        stream.write(b"tail\n")
    assert file.read_bytes() == b"head\ntext\ntext\ntail\n"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_write_bytes_to_descriptor_of_other_process_appends(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text("head\n")
    with file.open("ab") as stream, subprocess.Popen(["sleep", "60"], stdout=stream) as sleeper:
        files.write_bytes(Path(f"/proc/{sleeper.pid}/fd/1"), b"text\n")
        sleeper.kill()
    assert file.read_bytes() == b"head\ntext\n"


def test_write_bytes_to_closed_descriptor_names_it() -> None:
    with pytest.raises(OSError, match="Bad file descriptor") as caught:
        files.write_bytes(Path("/dev/fd/987"), b"text")
    assert caught.value.filename == "/dev/fd/987"


def test_write_bytes_to_link_to_itself_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("a")
    with pytest.raises((OSError, RuntimeError)):
        files.write_bytes(tmp_path / "a", b"text")
