"""Commands print results before they write files, and only warn about optional files."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nmt.core import files
from tests.support.command_line import Result, assert_success, nmt
from tests.support.disk_faults import disk_hook
from tests.support.tiny_runs import Digits, Tiny


@pytest.fixture
def run(digits: Digits, tmp_path: Path) -> Path:
    """Return a copy of the run."""
    return Path(shutil.copytree(digits.run, tmp_path / "run", symlinks=True))


@contextmanager
def failing_writes(*names: str, code: int = errno.EROFS) -> Iterator[None]:
    """Raise `code` at every write to a file with one of these names."""

    def strike(step: str) -> None:
        if step.startswith("before ") and any(f"/.{name}." in step for name in names):
            raise OSError(code, os.strerror(code), step.split(" ", 2)[2])

    with disk_hook(strike):
        yield


def evaluate(run: Path, *flags: object) -> Result:
    return nmt("evaluate", run, *flags)


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_evaluate_of_a_read_only_run_prints_its_table(run: Path, code: int) -> None:
    expected = assert_success(evaluate(run)).out
    report = run / "report.json"
    before = report.read_bytes()
    with failing_writes("report.json", code=code):
        result = assert_success(evaluate(run))
    assert result.out == expected
    assert f"warning: {report} was not written: " in result.err
    assert report.read_bytes() == before


def test_evaluate_with_an_outward_report_link_keeps_its_target(run: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.json"
    mine.write_text("keep me")
    (run / "report.json").unlink(missing_ok=True)
    (run / "report.json").symlink_to(mine)
    result = assert_success(evaluate(run))
    assert "leads out of the run folder" in result.err
    assert mine.read_text() == "keep me"


def test_evaluate_prints_before_an_output_fails(run: Path, tmp_path: Path) -> None:
    expected = assert_success(evaluate(run)).out
    page, markdown_page = tmp_path / "page.html", tmp_path / "page.md"
    with failing_writes("page.html"):
        result = evaluate(run, "--html", page, "--markdown", markdown_page)
    assert result.code == 2
    assert result.out == expected
    assert f"error: {page}: Read-only file system" in result.err
    assert markdown_page.is_file()
    assert not page.exists()


def test_train_with_unwritable_report_and_card_prints_scores(tiny: Tiny) -> None:
    tiny.replace("  valid: valid\n", "  valid: valid\n  test: [valid]\n")
    expected = assert_success(tiny.train()).out
    with failing_writes("report.json", "README.md"):
        result = assert_success(tiny.train("--overwrite"))
    assert result.out == expected
    for name in ("report.json", "README.md"):
        assert f"warning: {tiny.run / name} was not written: " in result.err


@pytest.mark.parametrize("output", ["file/below", "folder", "input", "read-only/a"])
@pytest.mark.parametrize(
    "command",
    [
        "translate INPUT -m RUN -o OUT",
        "score -m RUN --src INPUT --tgt INPUT -o OUT",
        "align -m RUN --src INPUT --tgt INPUT -o OUT",
        "align -m RUN --src INPUT --tgt INPUT --diagnostics OUT",
        "explain -m RUN --src INPUT --html OUT",
        "evaluate RUN --src INPUT --ref INPUT --html OUT",
        "evaluate RUN --src INPUT --ref INPUT -o OUT",
        "check INPUT INPUT --html OUT",
        "rerank INPUT --src INPUT -m RUN --ref INPUT --tune OUT",
    ],
)
def test_command_unwritable_output_is_refused_first(
    digits: Digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, output: str
) -> None:
    for name in ("input", "file"):
        (tmp_path / name).write_text("1 2\n")
    for name in ("folder", "read-only"):
        (tmp_path / name).mkdir()
    real = os.access
    monkeypatch.setattr(
        files.os, "access", lambda path, mode: "read-only" not in str(path) and real(path, mode)
    )
    monkeypatch.setattr(
        "nmt.decoding.loading.read_verified_record", lambda *_: pytest.fail("work has begun")
    )
    values = {"RUN": digits.run, "INPUT": tmp_path / "input", "OUT": tmp_path / output}
    result = nmt(*(values.get(word, word) for word in command.split()))
    assert result.code == 2
    flag = command.split()[-2]
    [line] = result.err.split("\n")[:-1]
    assert line.startswith(
        f"error: {'--output' if 'evaluate' in command and flag == '-o' else flag}: "
    )
    assert (tmp_path / "input").read_text() == "1 2\n"


def test_clean_with_output_on_its_input_is_refused(tiny: Tiny) -> None:
    before = (tiny.folder / "train.in").read_bytes()
    config = [tiny.config, "--set", "data.clean.max_ratio=3"]
    result = nmt("clean", *config, "-o", tiny.folder / "train")
    assert result.code == 2
    assert "expected a file of its own, got that of " in result.err
    assert (tiny.folder / "train.in").read_bytes() == before


@pytest.mark.parametrize("command", ["export RUN --to huggingface -o OUT", "average RUN -o OUT"])
def test_command_output_folder_below_a_file_is_refused(
    digits: Digits, tmp_path: Path, command: str
) -> None:
    (tmp_path / "file").write_text("")
    values = {"RUN": digits.run, "OUT": tmp_path / "file" / "below"}
    result = nmt(*(values.get(word, word) for word in command.split()))
    assert result.code == 2
    assert f"{tmp_path / 'file'} is not a folder" in result.err
