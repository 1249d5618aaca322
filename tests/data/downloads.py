"""Fetching the one file of the server in conftest.py."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from webserver import Site

from nmt.data.datasets import download
from nmt.data.datasets.download import download_file
from nmt.errors import DataError

CONTENT = random.Random(1).randbytes(20_000)
OTHER = random.Random(2).randbytes(20_000)


def get(site: Site, part: Path, expected: int | None = None) -> bytes:
    download_file(f"{site.url}/a.gz", part, expected)
    return part.read_bytes()


def cut_once(site: Site, part: Path, monkeypatch: pytest.MonkeyPatch, at: int = 7_000) -> None:
    """Leave the first `at` bytes, as a process does that met a cut and gave up."""
    site.pages["/a.gz"].cuts = [at]
    with monkeypatch.context() as patch:
        patch.setattr(download, "MAX_CONNECTIONS", 1)
        with pytest.raises(DataError, match=r"cut; 7 kB are kept, repeat the command to continue"):
            get(site, part)
    assert part.read_bytes() == CONTENT[:at]
    site.requests.clear()
