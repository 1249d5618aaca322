"""`nmt data get` and `nmt data list`: texts are complete, verified, and never overwritten."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import pytest

from nmt.data.datasets import catalogue, download
from tests.support.command_line import assert_success, nmt
from tests.support.dataset_site import (
    BOTH_GZ,
    EN,
    EN_GZ,
    FR,
    FR_GZ,
    assert_refused,
    read_files,
    sha256,
)
from tests.support.paths import ROOT
from tests.support.web_server import Page, Site, run_server

MULTI30K = ROOT / ".." / "shared" / "corpora" / "multi30k"
OFFICIAL = MULTI30K / "official"
LINES = {"train": 29_000, "valid": 1_014, "test_2016_flickr": 1_000}
NAMES = sorted(f"{split}.{language}" for split in LINES for language in ("en", "de", "fr", "cs"))

needs_multi30k = pytest.mark.skipif(
    not OFFICIAL.is_dir(),
    reason="the official Multi30k .gz files are not in ../shared/corpora/multi30k/official",
)


def test_get_existing_texts_are_kept_and_never_replaced(site: Site, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = assert_success(nmt("data", "get", "summed", "--to", out))
    assert first.lines == [
        f"wrote    {out / 'train.en'}  (2 lines)",
        f"wrote    {out / 'train.fr'}  (2 lines)",
        "summed: free; https://example.org",
    ]
    assert read_files(out) == {"train.en": EN, "train.fr": FR}

    site.requests.clear()
    second = assert_success(nmt("data", "get", "summed", "--to", out))
    assert [line.split()[0] for line in second.lines] == ["kept", "kept", "summed:"]
    assert second.err == ""
    assert site.requests == []

    (out / "train.fr").write_bytes(b"Un.\n")
    third_result = nmt("data", "get", "summed", "--to", out)
    assert_refused(
        third_result, f"{out / 'train.fr'}: expected no file", "got other text (move it away"
    )
    assert site.requests == []
    assert read_files(out) == {"train.en": EN, "train.fr": b"Un.\n"}


def test_get_texts_without_checksum_are_recorded(site: Site, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert_success(nmt("data", "get", "table", "--to", out))
    contents = read_files(out)
    assert (contents["train.en"], contents["train.fr"]) == (EN, FR)
    assert json.loads(contents["sources.json"])["train.fr"] == {
        "url": f"{site.url}/both.tsv.gz",
        "sum": ["sha256", sha256(BOTH_GZ)],
        "format": "tsv",
        "column": 2,
        "sha256": sha256(FR),
    }
    assert set(contents) == {"train.en", "train.fr", "sources.json"}
    assert assert_success(nmt("data", "get", "table", "--to", out)).out.count("already there") == 2
    assert len(site.requests) == 1

    for name, content in [
        ("train.en", b"mine\n"),
        ("sources.json", b""),
        ("sources.json", b"[]"),
        ("sources.json", b'{"mine": 1}'),
    ]:
        (out / name).write_bytes(content)
        assert_refused(
            nmt("data", "get", "table", "--to", out), "(move it away, or name another folder"
        )
        assert read_files(out) == contents | {name: content}
        (out / name).write_bytes(contents[name])


@pytest.mark.parametrize("kind", ["file", "link"])
def test_get_foreign_part_is_kept(site: Site, tmp_path: Path, kind: str) -> None:
    out, mine = tmp_path / "out", tmp_path / "mine"
    out.mkdir()
    part = out / "en.gz.part"
    if kind == "link":
        part.symlink_to(mine)
    else:
        mine = part
    mine.write_bytes(b"of a browser")
    assert_refused(
        nmt("data", "get", "summed", "--to", out), f"{part}: expected no file, or a part"
    )
    assert mine.read_bytes() == b"of a browser"


def test_get_new_version_in_catalogue_is_downloaded(site: Site, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert_success(nmt("data", "get", "table", "--to", out))
    newer = gzip.compress(b"Three.\tTrois.\n")
    site.pages["/both.tsv.gz"] = Page(newer, etag='"2"')
    file = catalogue.CATALOGUE
    file.write_text(file.read_text().replace(sha256(BOTH_GZ), sha256(newer)))
    assert_success(nmt("data", "get", "table", "--to", out))
    assert read_files(out)["train.en"] == b"Three.\n"


def test_get_unknown_checksum_is_reported(site: Site, tmp_path: Path) -> None:
    result = assert_success(nmt("data", "get", "unsummed", "--to", tmp_path / "out"))
    note = f"no checksum is known to compare with; its SHA-256 is {sha256(BOTH_GZ)}"
    assert f"{site.url}/both.tsv.gz: {note}" in result.err.split("\n")


def test_get_default_folder_is_data_name(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert (
        "wrote    data/summed/train.en  (2 lines)"
        in assert_success(nmt("data", "get", "summed")).lines
    )
    assert read_files(tmp_path / "data" / "summed") == {"train.en": EN, "train.fr": FR}


def test_get_mirror_with_other_content_is_refused(site: Site, tmp_path: Path) -> None:
    site.pages = {"/m/en.gz": Page(EN_GZ), "/m/fr.gz": Page(gzip.compress(b"x" * len(FR)))}
    site.pages["/m/fr.gz"].content = site.pages["/m/fr.gz"].content.ljust(len(FR_GZ))[: len(FR_GZ)]
    result = nmt("data", "get", "summed", "--to", tmp_path / "out", "--mirror", f"{site.url}/m/")
    assert_refused(
        result, f"{site.url}/m/fr.gz: expected the SHA-256 {sha256(FR_GZ)}, got ", "--from"
    )
    assert read_files(tmp_path / "out") == {"train.en": EN}


@pytest.mark.parametrize("subfolder", ["", "official"])
def test_get_from_folder_downloads_nothing(subfolder: str, site: Site, tmp_path: Path) -> None:
    folder, official = tmp_path / "here", tmp_path / "here" / subfolder
    official.mkdir(parents=True)
    (official / "en.gz").write_bytes(EN_GZ)
    (official / "fr.gz").write_bytes(FR_GZ)
    result = assert_success(
        nmt("data", "get", "summed", "--to", tmp_path / "out", "--from", folder)
    )
    assert result.err == ""
    assert read_files(tmp_path / "out") == {"train.en": EN, "train.fr": FR}
    assert read_files(official) == {"en.gz": EN_GZ, "fr.gz": FR_GZ}
    assert site.requests == []


def test_get_from_folder_verifies_checksums(site: Site, tmp_path: Path) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "en.gz").write_bytes(gzip.compress(b"junk\n"))
    result = nmt("data", "get", "summed", "--to", tmp_path / "out", "--from", folder)
    assert_refused(result, f"{folder / 'en.gz'}: expected the SHA-256 {sha256(EN_GZ)}, got ")
    assert not (tmp_path / "out").exists()
    assert (folder / "en.gz").exists()


def test_get_from_folder_without_files_is_refused(site: Site, tmp_path: Path) -> None:
    result = nmt("data", "get", "summed", "--to", tmp_path / "out", "--from", tmp_path)
    assert_refused(
        result,
        f"--from {tmp_path}: expected en.gz of {site.url}/raw/en.gz",
        str(tmp_path / "official" / "en.gz"),
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("site")
def test_get_invalid_flags_are_refused(tmp_path: Path) -> None:
    file, absent = tmp_path / "file", tmp_path / "absent"
    file.write_bytes(b"")
    get = ("data", "get", "summed", "--to", tmp_path / "out")
    assert_refused(
        nmt(*get, "--from", absent), f"--from {absent}: expected a folder, got nothing there"
    )
    assert_refused(nmt(*get, "--from", file), f"--from {file}: expected a folder, got a file")
    assert_refused(
        nmt(*get, "--mirror", "example.org"),
        "--mirror: expected an address with http:// or https://",
    )
    assert_refused(
        nmt(*get, "--mirror", "file:///x"), "--mirror: expected an address with http:// or https://"
    )
    assert_refused(
        nmt(*get, "--mirror", "http://x", "--from", tmp_path),
        "--from and --mirror: expected at most one",
    )
    file_as_folder = nmt("data", "get", "summed", "--to", file)
    assert_refused(
        file_as_folder, f"{file}: expected a folder, got a file (choose another with --to)"
    )
    file_as_parent = nmt("data", "get", "summed", "--to", file / "below")
    assert_refused(
        file_as_parent, f"{file}: expected a folder, got a file (choose another with --to)"
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("site")
def test_get_folder_in_place_of_a_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out" / "train.fr").mkdir(parents=True)
    result = nmt("data", "get", "summed", "--to", tmp_path / "out")
    assert_refused(
        result, f"{tmp_path / 'out' / 'train.fr'}: expected a file or nothing, got a folder"
    )


@pytest.mark.usefixtures("site")
def test_get_unknown_name_suggests_the_nearest(tmp_path: Path) -> None:
    result = nmt("data", "get", "sumed", "--to", tmp_path / "out")
    assert_refused(result, "one of summed, table, unsummed, got 'sumed' (did you mean 'summed'?)")


def test_data_list_shows_the_complete_catalogue() -> None:
    result = assert_success(nmt("data", "list"))
    head, *rows = result.lines
    assert head.split() == ["name", "languages", "pairs", "download", "sums", "licence"]
    assert [row.split()[0] for row in rows] == list(catalogue.read_catalogue())
    assert re.match(r"multi30k +en de fr cs +29,000 +3 MB +sha256 +non-commercial res", rows[0])
    assert result.err == ""


@needs_multi30k
@pytest.mark.parametrize("folder", [MULTI30K, OFFICIAL], ids=["parent", "itself"])
def test_get_multi30k_from_official_files_equals_them(folder: Path, tmp_path: Path) -> None:
    result = assert_success(nmt("data", "get", "multi30k", "--from", folder, "--to", tmp_path))
    assert "non-commercial research and education" in result.out
    assert f"wrote    {tmp_path / 'train.en'}  (29,000 lines)" in result.lines
    assert [path.name for path in sorted(tmp_path.iterdir())] == NAMES
    for name in NAMES:
        text = (tmp_path / name).read_bytes()
        packed = OFFICIAL / f"{name.replace('valid', 'val')}.gz"
        assert text == gzip.decompress(packed.read_bytes()), name
        assert text.count(b"\n") == LINES[name.split(".")[0]], name


@needs_multi30k
def test_get_multi30k_with_interruptions_is_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "RETRY_DELAY", 0.0)
    monkeypatch.setenv("no_proxy", "*")
    pages = {f"/{file.name}": Page(file.read_bytes()) for file in OFFICIAL.iterdir()}
    pages["/train.de.gz"].cuts = [100_000, 1, 200_000]
    with run_server(pages) as site:
        assert_success(nmt("data", "get", "multi30k", "--mirror", site.url, "--to", tmp_path))
        assert len(site.requests) == len(NAMES) + 3
    assert [path.name for path in sorted(tmp_path.iterdir())] == NAMES
