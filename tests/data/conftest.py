"""A server with one file, for downloads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from download_cases import CONTENT
from webserver import Page, Site, serving

from nmt.data.datasets import download


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """The server; nobody waits before asking again."""
    monkeypatch.setattr(download, "RETRY_DELAY", 0.0)
    monkeypatch.setenv("no_proxy", "*")
    with serving({"/a.gz": Page(CONTENT)}) as site:
        yield site


@pytest.fixture
def part(tmp_path: Path) -> Path:
    """Where the file comes in."""
    return tmp_path / "out" / "a.gz.part"
