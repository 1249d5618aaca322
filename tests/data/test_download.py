"""Downloads from a real server: gone on with where they were cut, never spliced."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest
from downloads import CONTENT, OTHER, cut_once, get
from webserver import Page, Site

from nmt.core import files
from nmt.data.datasets import download
from nmt.data.datasets.download import delete_part, download_file
from nmt.errors import DataError


def test_a_whole_file_comes_in_and_is_not_asked_for_again(site: Site, part: Path) -> None:
    assert get(site, part, len(CONTENT)) == CONTENT
    assert get(site, part, len(CONTENT)) == CONTENT
    assert len(site.requests) == 1
    delete_part(part)
    assert list(part.parent.iterdir()) == []


def test_a_cut_download_is_gone_on_with_at_once(site: Site, part: Path) -> None:
    site.pages["/a.gz"].cuts = [5_000, 512, 9_000]
    assert get(site, part) == CONTENT
    assert [request.range for request in site.requests] == [
        None,
        "bytes=5000-",
        "bytes=5512-",
        "bytes=14512-",
    ]
    assert {request.if_range for request in site.requests[1:]} == {'"1"'}


def test_the_next_process_goes_on(site: Site, part: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cut_once(site, part, monkeypatch)
    assert get(site, part) == CONTENT
    assert [(request.range, request.sent) for request in site.requests] == [("bytes=7000-", 13_000)]


def test_a_server_without_ranges_sends_the_file_from_its_start(
    site: Site, part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.pages["/a.gz"].ranges = False
    cut_once(site, part, monkeypatch)
    assert get(site, part) == CONTENT
    assert [request.sent for request in site.requests] == [len(CONTENT)]


@pytest.mark.parametrize("heeded", [True, False], ids=["If-Range heeded", "If-Range ignored"])
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
def test_a_file_that_has_changed_is_never_spliced(
    before: dict[str, str | None],
    after: dict[str, str | None],
    heeded: bool,
    site: Site,
    part: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    site.pages["/a.gz"] = Page(CONTENT, **before)  # type: ignore[arg-type]
    cut_once(site, part, monkeypatch)
    site.pages["/a.gz"] = Page(OTHER, if_range=heeded, **after)  # type: ignore[arg-type]
    assert get(site, part) == OTHER
    assert site.requests[0].range == "bytes=7000-"


@pytest.mark.parametrize("etag", [None, 'W/"1"'])
def test_without_a_strong_mark_of_the_version_nothing_is_gone_on_with(
    etag: str | None, site: Site, part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.pages["/a.gz"].etag = etag
    cut_once(site, part, monkeypatch)
    site.pages["/a.gz"].content = OTHER
    assert get(site, part) == OTHER
    assert [request.range for request in site.requests] == [None]


def test_a_part_without_its_note_is_not_trusted(
    site: Site, part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_once(site, part, monkeypatch)
    part.with_name("a.gz.part.json").write_text("{")
    assert get(site, part) == CONTENT
    assert [request.range for request in site.requests] == [None]


def test_a_part_from_another_address_is_not_gone_on_with(
    site: Site, part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_once(site, part, monkeypatch)
    site.pages["/b.gz"] = Page(OTHER)
    download_file(f"{site.url}/b.gz", part)
    assert part.read_bytes() == OTHER


def test_a_file_that_has_shrunk_is_fetched_anew(
    site: Site, part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_once(site, part, monkeypatch)
    site.pages["/a.gz"].content = OTHER[:3_000]
    assert get(site, part) == OTHER[:3_000]
    assert [request.range for request in site.requests] == ["bytes=7000-", None]


@pytest.mark.parametrize("shift", [-1_000, 1_000])
def test_a_part_that_begins_elsewhere_is_not_taken(
    shift: int, site: Site, part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_once(site, part, monkeypatch)
    site.pages["/a.gz"].shift = shift
    assert get(site, part) == CONTENT
    assert [request.range for request in site.requests] == ["bytes=7000-", None]


def test_a_partial_answer_need_not_repeat_the_version(
    site: Site, part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_once(site, part, monkeypatch)
    site.pages["/a.gz"].validators_in_parts = False
    site.pages["/a.gz"].cuts = [1_000]
    assert get(site, part) == CONTENT
    assert [request.range for request in site.requests] == ["bytes=7000-", "bytes=8000-"]


@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_the_file_is_one_version(seed: int, site: Site, part: Path) -> None:
    """Cuts, changes of the file and servers of all manners, in any order."""
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
            if get(site, part) == content:
                break
        except DataError:
            continue
        pytest.fail(f"version {version} came in as something else")


def test_a_file_of_unknown_length(site: Site, part: Path) -> None:
    site.pages["/a.gz"].length = False
    assert get(site, part) == CONTENT
    assert get(site, part) == CONTENT
    assert len(site.requests) == 1


def test_a_cut_shows_by_the_size_that_is_known(site: Site, part: Path) -> None:
    site.pages["/a.gz"].length = False
    site.pages["/a.gz"].cuts = [7_000]
    assert get(site, part, len(CONTENT)) == CONTENT
    assert [request.range for request in site.requests] == [None, "bytes=7000-"]


@pytest.mark.parametrize("at", [0, 7_000], ids=["from its start", "gone on with"])
def test_two_processes_do_not_write_one_part(
    at: int, site: Site, part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if at:
        cut_once(site, part, monkeypatch)
    with files.open_resumable(part, keep_bytes=at) as stream:
        with pytest.raises(
            DataError, match="part: expected a file that no other process is fetching"
        ):
            get(site, part)
        stream.write(CONTENT[at:])
    assert part.read_bytes() == CONTENT


def test_lines_now_and_then_where_there_is_no_terminal(
    site: Site, part: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(download, "SECONDS_BETWEEN_LOG_LINES", 0.0)
    site.pages["/a.gz"].cuts = [7_000]
    get(site, part)
    lines = capsys.readouterr().err.split("\n")
    assert lines[0] == "fetching a.gz (20 kB)"
    assert "  a.gz: the connection was cut; continuing" in lines
    assert "fetching a.gz (20 kB, 7 kB of it here already)" in lines
    assert lines[-2] == "  a.gz: 20 kB of 20 kB (100%)"
    assert not any("\r" in line for line in lines)


def test_a_bar_on_a_terminal(
    site: Site, part: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    get(site, part)
    assert "\r" in capsys.readouterr().err
