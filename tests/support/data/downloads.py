"""Downloads of the only file of the server in tests/data/conftest.py."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from nmt.data.datasets import download
from nmt.data.datasets.download import download_file
from nmt.errors import DataError
from tests.support.web_server import Site

CONTENT = random.Random(1).randbytes(20_000)
CHANGED_CONTENT = random.Random(2).randbytes(20_000)


def download_page(site: Site, part: Path, expected_size: int | None = None) -> bytes:
    """Download the file and return its content."""
    download_file(f"{site.url}/a.gz", part, expected_size)
    return part.read_bytes()


def interrupt_download(
    site: Site, part: Path, monkeypatch: pytest.MonkeyPatch, offset: int = 7_000
) -> None:
    """Leave the first `offset` bytes, as a process does that gave up after an interruption."""
    site.pages["/a.gz"].cuts = [offset]
    with monkeypatch.context() as patch:
        patch.setattr(download, "MAX_CONNECTIONS", 1)
        with pytest.raises(DataError, match="cut; 7 kB are kept, repeat the command to continue"):
            download_page(site, part)
    assert part.read_bytes() == CONTENT[:offset]
    site.requests.clear()
