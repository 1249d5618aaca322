"""Fixtures: a server with one file for downloads, and a project for the stages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from nmt.data.datasets import download
from tests.support.data.downloads import CONTENT
from tests.support.data.stage_project import LINES, Project, make_line, write_lines
from tests.support.web_server import Page, Site, run_server


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """Return a server; downloads retry without delay."""
    monkeypatch.setattr(download, "RETRY_DELAY", 0.0)
    monkeypatch.setenv("no_proxy", "*")
    with run_server({"/a.gz": Page(CONTENT)}) as site:
        yield site


@pytest.fixture
def part(tmp_path: Path) -> Path:
    """Return the path of a partial download."""
    return tmp_path / "out" / "a.gz.part"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Return a project with a training and a validation set in two languages."""
    for language, word in (("de", "zahl"), ("en", "number")):
        train = [make_line(n, word) for n in range(LINES)]
        write_lines(tmp_path / f"train.{language}", train)
        valid = [make_line(n, word) for n in range(1000, 1010)]
        write_lines(tmp_path / f"valid.{language}", valid)
    data = {"src": "de", "tgt": "en", "train": ["train"], "valid": "valid"}
    return Project(tmp_path, {"data": data})
