"""The log and the metrics file of a run, and its progress bar."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from nmt.training.monitoring.run_log import RunLog


@pytest.fixture
def log(tmp_path: Path) -> RunLog:
    return RunLog(tmp_path / "train.log", tmp_path / "metrics.jsonl")


def test_run_log_info_prints_and_writes_line_with_time(
    log: RunLog, capsys: pytest.CaptureFixture[str]
) -> None:
    log.info("one\nzwei é")
    assert capsys.readouterr().err == "one\nzwei é\n"
    log_lines = log.log_file.read_text(encoding="utf-8").split("\n")
    assert [re.sub(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  ", "@", line) for line in log_lines] == [
        "@one",
        "@zwei é",
        "",
    ]


def refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def test_write_metrics_writes_one_json_object_per_line(log: RunLog) -> None:
    records = [{"loss": 0.5, "name": "a\nb"}, {"loss": float("nan")}, {"loss": float("inf")}]
    for record in records:
        log.write_metrics("train", record)
    lines = log.metrics_file.read_text().removesuffix("\n").split("\n")
    parsed = [json.loads(line, parse_constant=refuse) for line in lines]
    assert [record["kind"] for record in parsed] == ["train"] * 3
    assert parsed[0] == {"kind": "train", **records[0]}


def test_report_progress_off_a_terminal_prints_only_on_request(
    log: RunLog, capsys: pytest.CaptureFixture[str]
) -> None:
    log.start_bar(total=10, completed=0)
    log.report_progress(1, "loss 3", print_line=False)
    log.report_progress(1, "loss 2", print_line=True)
    log.stop_bar()
    assert capsys.readouterr().err == "loss 2\n"


def test_report_progress_on_a_terminal_shows_a_bar(
    log: RunLog, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    log.start_bar(total=10, completed=4)
    log.report_progress(1, "loss 2", print_line=True)
    log.info("a line")
    log.stop_bar()
    stderr = capsys.readouterr().err
    assert "4/10" in stderr
    assert "a line\n" in stderr
    assert "loss 2" not in log.log_file.read_text()
    assert log.bar is None
