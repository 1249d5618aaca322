"""Downloads from a real server: interrupted downloads continue and are never spliced."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

from nmt.core import files
from nmt.data.datasets import download
from nmt.data.datasets.download import delete_part, download_file
from nmt.errors import DataError
from tests.support.data.downloads import CHANGED_CONTENT, CONTENT, download_page, interrupt_download
from tests.support.web_server import Page, Site


def test_download_complete_file_is_not_requested_again(site: Site, part: Path) -> None:
    assert download_page(site, part, len(CONTENT)) == CONTENT
    assert download_page(site, part, len(CONTENT)) == CONTENT
    assert len(site.requests) == 1
    delete_part(part)
    assert list(part.parent.iterdir()) == []


def test_download_interrupted_continues_at_once(site: Site, part: Path) -> None:
    site.pages["/a.gz"].cuts = [5_000, 512, 9_000]
    assert download_page(site, part) == CONTENT
    assert [request.range for request in site.requests] == [
        None,
        "bytes=5000-",
        "bytes=5512-",
        "bytes=14512-",
    ]
    assert {request.if_range for request in site.requests[1:]} == {'"1"'}


def test_download_next_process_continues(
    site: Site, part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_download(site, part, monkeypatch)
    assert download_page(site, part) == CONTENT
    assert [(request.range, request.sent) for request in site.requests] == [("bytes=7000-", 13_000)]


def test_download_server_without_ranges_starts_again(
    site: Site, part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.pages["/a.gz"].ranges = False
    interrupt_download(site, part, monkeypatch)
    assert download_page(site, part) == CONTENT
    assert [request.sent for request in site.requests] == [len(CONTENT)]


@pytest.mark.parametrize("if_range", [True, False], ids=["If-Range supported", "If-Range ignored"])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"etag": '"1"'}, {"etag": '"2"'}),
        (
            {"etag": None, "modified": "Sun, 01 Nov 2020 00:00:00 GMT"},
            {"etag": None, "modified": "Mon, 02 Nov 2020 00:00:00 GMT"},
        ),
        (
            {"etag": 'W/"1"', "modified": "Sun, 01 Nov 2020 00:00:00 GMT"},
            {"etag": 'W/"2"', "modified": "Mon, 02 Nov 2020 00:00:00 GMT"},
        ),
    ],
    ids=["ETag", "date", "weak ETag"],
)
def test_download_changed_file_is_never_spliced(
    before: dict[str, str | None],
    after: dict[str, str | None],
    if_range: bool,
    site: Site,
    part: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    site.pages["/a.gz"] = Page(CONTENT, **before)  # type: ignore[arg-type]
    interrupt_download(site, part, monkeypatch)
    site.pages["/a.gz"] = Page(CHANGED_CONTENT, if_range=if_range, **after)  # type: ignore[arg-type]
    assert download_page(site, part) == CHANGED_CONTENT
    assert site.requests[0].range == "bytes=7000-"


@pytest.mark.parametrize("etag", [None, 'W/"1"'])
def test_download_without_strong_etag_starts_again(
    etag: str | None, site: Site, part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.pages["/a.gz"].etag = etag
    interrupt_download(site, part, monkeypatch)
    site.pages["/a.gz"].content = CHANGED_CONTENT
    assert download_page(site, part) == CHANGED_CONTENT
    assert [request.range for request in site.requests] == [None]


def test_download_damaged_version_file_starts_again(
    site: Site, part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_download(site, part, monkeypatch)
    part.with_name("a.gz.part.json").write_text("{")
    assert download_page(site, part) == CONTENT
    assert [request.range for request in site.requests] == [None]


def test_download_part_of_another_url_starts_again(
    site: Site, part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_download(site, part, monkeypatch)
    site.pages["/b.gz"] = Page(CHANGED_CONTENT)
    download_file(f"{site.url}/b.gz", part)
    assert part.read_bytes() == CHANGED_CONTENT


def test_download_shrunk_file_starts_again(
    site: Site, part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_download(site, part, monkeypatch)
    site.pages["/a.gz"].content = CHANGED_CONTENT[:3_000]
    assert download_page(site, part) == CHANGED_CONTENT[:3_000]
    assert [request.range for request in site.requests] == ["bytes=7000-", None]


@pytest.mark.parametrize("shift", [-1_000, 1_000])
def test_download_wrong_range_start_starts_again(
    shift: int, site: Site, part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_download(site, part, monkeypatch)
    site.pages["/a.gz"].shift = shift
    assert download_page(site, part) == CONTENT
    assert [request.range for request in site.requests] == ["bytes=7000-", None]


def test_download_partial_response_may_omit_version(
    site: Site, part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_download(site, part, monkeypatch)
    site.pages["/a.gz"].validators_in_parts = False
    site.pages["/a.gz"].cuts = [1_000]
    assert download_page(site, part) == CONTENT
    assert [request.range for request in site.requests] == ["bytes=7000-", "bytes=8000-"]


@pytest.mark.parametrize("seed", range(20))
def test_download_random_servers_give_one_version(seed: int, site: Site, part: Path) -> None:
    """Interruptions, changes of the file and differences between servers, in random order."""
    rng = random.Random(seed)
    for version in range(6):
        content = random.Random(version).randbytes(rng.randrange(1, 9_000))
        site.pages["/a.gz"] = Page(
            content,
            etag=rng.choice([f'"{version}"', f'W/"{version}"', None]),
            modified=rng.choice([None, f"Sun, 01 Nov 2020 00:00:0{version} GMT"]),
            ranges=rng.random() < 0.7,
            if_range=rng.random() < 0.7,
            cuts=[rng.randrange(5_000) for _ in range(rng.randrange(7))],
        )
        try:
            if download_page(site, part) == content:
                break
        except DataError:
            continue
        pytest.fail(f"version {version} was downloaded with wrong content")


def test_download_unknown_length_is_requested_once(site: Site, part: Path) -> None:
    site.pages["/a.gz"].length = False
    assert download_page(site, part) == CONTENT
    assert download_page(site, part) == CONTENT
    assert len(site.requests) == 1


def test_download_expected_size_reveals_interruption(site: Site, part: Path) -> None:
    site.pages["/a.gz"].length = False
    site.pages["/a.gz"].cuts = [7_000]
    assert download_page(site, part, len(CONTENT)) == CONTENT
    assert [request.range for request in site.requests] == [None, "bytes=7000-"]


@pytest.mark.parametrize("offset", [0, 7_000], ids=["from the start", "continued"])
def test_download_locked_part_is_an_error(
    offset: int, site: Site, part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if offset:
        interrupt_download(site, part, monkeypatch)
    with files.open_resumable(part, keep_bytes=offset) as stream:
        with pytest.raises(
            DataError, match="part: expected a file that no other process is fetching"
        ):
            download_page(site, part)
        stream.write(CONTENT[offset:])
    assert part.read_bytes() == CONTENT


def test_download_without_terminal_logs_lines(
    site: Site, part: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(download, "SECONDS_BETWEEN_LOG_LINES", 0.0)
    site.pages["/a.gz"].cuts = [7_000]
    download_page(site, part)
    lines = capsys.readouterr().err.split("\n")
    assert lines[0] == "fetching a.gz (20 kB)"
    assert "  a.gz: the connection was cut; continuing" in lines
    assert "fetching a.gz (20 kB, 7 kB of it here already)" in lines
    assert lines[-2] == "  a.gz: 20 kB of 20 kB (100%)"
    assert not any("\r" in line for line in lines)


def test_download_on_terminal_shows_bar(
    site: Site, part: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    download_page(site, part)
    assert "\r" in capsys.readouterr().err
