"""`nmt data get` and `nmt data list`: whole and right or not at all, every failure in one line."""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from commandline import Result, done, environment, nmt
from webserver import Page, Site, serving

from nmt import files
from nmt.data import catalogue, download

ROOT = Path(__file__).resolve().parents[2]
MULTI30K = ROOT / ".." / "shared" / "corpora" / "multi30k"
OFFICIAL = MULTI30K / "official"
LINES = {"train": 29_000, "valid": 1_014, "test_2016_flickr": 1_000}
NAMES = sorted(f"{split}.{language}" for split in LINES for language in ("en", "de", "fr", "cs"))

needs_multi30k = pytest.mark.skipif(
    not OFFICIAL.is_dir(),
    reason="the official Multi30k .gz files are not in ../shared/corpora/multi30k/official",
)

EN, FR = b"One.\nTwo.\n", b"Un.\nDeux.\n"
EN_GZ, FR_GZ = gzip.compress(EN), gzip.compress(FR)
HEAD = "  about: x\n  languages: [en, fr]\n  licence: free\n  home: https://example.org\n"
BOTH_GZ = gzip.compress(b"One.\tUn.\n\t\nTwo.\tDeux.\n")


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "PAUSE", 0.0)
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A server, and a catalogue with three data sets on it in place of the shipped one."""
    pages = {
        "/raw/en.gz": Page(EN_GZ),
        "/raw/fr.gz": Page(FR_GZ),
        "/both.tsv.gz": Page(BOTH_GZ),
    }
    with serving(pages) as site:
        columns = "{train.en: {format: tsv, column: 1}, train.fr: {format: tsv, column: 2}}"
        file = tmp_path / "catalogue.yaml"
        file.write_text(
            f"summed:\n{HEAD}  pairs: 2\n  downloads:\n"
            f"    - {{url: {site.url}/raw/en.gz, size: {len(EN_GZ)}, sha256: {sha256(EN_GZ)},\n"
            f"       texts: {{train.en: {{sha256: {sha256(EN)}}}}}}}\n"
            f"    - {{url: {site.url}/raw/fr.gz, size: {len(FR_GZ)}, sha256: {sha256(FR_GZ)},\n"
            f"       texts: {{train.fr: {{sha256: {sha256(FR)}}}}}}}\n"
            f"table:\n{HEAD}  downloads:\n"
            f"    - {{url: {site.url}/both.tsv.gz, sha256: {sha256(BOTH_GZ)}, texts: {columns}}}\n"
            f"unsummed:\n{HEAD}  downloads:\n"
            f"    - {{url: {site.url}/both.tsv.gz, name: other.tsv.gz, texts: {columns}}}\n",
            encoding="utf-8",
        )
        monkeypatch.setattr(catalogue, "CATALOGUE", file)
        yield site


def refused(result: Result, *parts: str) -> None:
    """Exit code 2 and exactly one error on stderr, which holds all `parts`."""
    assert result.code == 2
    errors = [line for line in result.err.split("\n") if line and not line.startswith("fetching ")]
    assert len(errors) == 1
    assert errors[0].startswith("error: ")
    for part in parts:
        assert part in errors[0]


def there(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_fetched_then_kept_then_repaired(site: Site, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = done(nmt("data", "get", "summed", "--to", out))
    assert first.lines == [
        f"wrote    {out / 'train.en'}  (2 lines)",
        f"wrote    {out / 'train.fr'}  (2 lines)",
        "summed: free; https://example.org",
    ]
    assert there(out) == {"train.en": EN, "train.fr": FR}

    site.asked.clear()
    again = done(nmt("data", "get", "summed", "--to", out))
    assert [line.split()[0] for line in again.lines] == ["kept", "kept", "summed:"]
    assert again.err == ""
    assert site.asked == []

    (out / "train.fr").write_bytes(b"Un.\n")
    third = done(nmt("data", "get", "summed", "--to", out))
    assert third.lines[1] == f"replaced {out / 'train.fr'}  (2 lines)"
    assert [request.path for request in site.asked] == ["/raw/fr.gz"]
    assert there(out) == {"train.en": EN, "train.fr": FR}


def test_texts_whose_own_sums_are_not_known_are_kept_by_the_record(
    site: Site, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done(nmt("data", "get", "table", "--to", out))
    found = there(out)
    assert (found["train.en"], found["train.fr"]) == (EN, FR)
    assert json.loads(found["sources.json"])["train.fr"] == {
        "url": f"{site.url}/both.tsv.gz",
        "sum": ["sha256", sha256(BOTH_GZ)],
        "format": "tsv",
        "column": 2,
        "sha256": sha256(FR),
    }
    assert set(found) == {"train.en", "train.fr", "sources.json"}
    assert done(nmt("data", "get", "table", "--to", out)).out.count("already there") == 2
    assert len(site.asked) == 1

    (out / "train.en").write_bytes(b"mine\n")
    assert done(nmt("data", "get", "table", "--to", out)).out.count("replaced") == 2
    assert there(out) == found
    for damage in ("", "[]", "{"):
        (out / "sources.json").write_text(damage)
        done(nmt("data", "get", "table", "--to", out))
        assert there(out) == found


def test_another_version_in_the_catalogue_is_fetched(site: Site, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done(nmt("data", "get", "table", "--to", out))
    newer = gzip.compress(b"Three.\tTrois.\n")
    site.pages["/both.tsv.gz"] = Page(newer, etag='"2"')
    file = catalogue.CATALOGUE
    file.write_text(file.read_text().replace(sha256(BOTH_GZ), sha256(newer)))
    done(nmt("data", "get", "table", "--to", out))
    assert there(out)["train.en"] == b"Three.\n"


def test_where_no_sum_is_known_it_says_so(site: Site, tmp_path: Path) -> None:
    result = done(nmt("data", "get", "unsummed", "--to", tmp_path / "out"))
    known = f"no sum of it is known to compare with; its SHA-256 is {sha256(BOTH_GZ)}"
    assert f"{site.url}/both.tsv.gz: {known}" in result.err.split("\n")


def test_the_folder_is_data_and_the_name(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "wrote    data/summed/train.en  (2 lines)" in done(nmt("data", "get", "summed")).lines
    assert there(tmp_path / "data" / "summed") == {"train.en": EN, "train.fr": FR}


def test_a_mirror_gives_the_same_files_or_is_refused(site: Site, tmp_path: Path) -> None:
    site.pages = {"/m/en.gz": Page(EN_GZ), "/m/fr.gz": Page(gzip.compress(b"x" * len(FR)))}
    site.pages["/m/fr.gz"].content = site.pages["/m/fr.gz"].content.ljust(len(FR_GZ))[: len(FR_GZ)]
    result = nmt("data", "get", "summed", "--to", tmp_path / "out", "--mirror", f"{site.url}/m/")
    refused(result, f"{site.url}/m/fr.gz: must have the SHA-256 {sha256(FR_GZ)}, has ", "--from")
    assert there(tmp_path / "out") == {"train.en": EN}


def test_a_wrong_sum_leaves_nothing_to_go_on_with(site: Site, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "train.en").write_bytes(b"mine\n")
    (out / "train.fr").write_bytes(b"mine too\n")
    wrong = bytes([*EN_GZ[:-1], EN_GZ[-1] ^ 1])
    site.pages["/raw/en.gz"].content = wrong
    result = nmt("data", "get", "summed", "--to", out)
    refused(result, f"{site.url}/raw/en.gz: must have the SHA-256 {sha256(EN_GZ)}", sha256(wrong))
    assert there(out) == {"train.en": b"mine\n", "train.fr": b"mine too\n"}
    site.pages["/raw/en.gz"].content = EN_GZ
    done(nmt("data", "get", "summed", "--to", out))
    assert there(out) == {"train.en": EN, "train.fr": FR}


@pytest.mark.parametrize("below", ["", "official"])
def test_files_that_are_here_already(below: str, site: Site, tmp_path: Path) -> None:
    folder, here = tmp_path / "here", tmp_path / "here" / below
    here.mkdir(parents=True)
    (here / "en.gz").write_bytes(EN_GZ)
    (here / "fr.gz").write_bytes(FR_GZ)
    result = done(nmt("data", "get", "summed", "--to", tmp_path / "out", "--from", folder))
    assert result.err == ""
    assert there(tmp_path / "out") == {"train.en": EN, "train.fr": FR}
    assert there(here) == {"en.gz": EN_GZ, "fr.gz": FR_GZ}
    assert site.asked == []


def test_files_that_are_here_must_have_the_sum_too(site: Site, tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    (here / "en.gz").write_bytes(gzip.compress(b"junk\n"))
    result = nmt("data", "get", "summed", "--to", tmp_path / "out", "--from", here)
    refused(result, f"{here / 'en.gz'}: must have the SHA-256 {sha256(EN_GZ)}, has ")
    assert not (tmp_path / "out").exists()
    assert (here / "en.gz").exists()


def test_a_folder_that_does_not_hold_the_files(site: Site, tmp_path: Path) -> None:
    result = nmt("data", "get", "summed", "--to", tmp_path / "out", "--from", tmp_path)
    refused(
        result,
        f"--from {tmp_path}: must hold en.gz, which is {site.url}/raw/en.gz",
        str(tmp_path / "official" / "en.gz"),
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("site")
def test_flags_that_cannot_be(tmp_path: Path) -> None:
    file, absent = tmp_path / "file", tmp_path / "absent"
    file.write_bytes(b"")
    get = ("data", "get", "summed", "--to", tmp_path / "out")
    refused(nmt(*get, "--from", absent), f"--from {absent}: must be a folder, is not there")
    refused(nmt(*get, "--from", file), f"--from {file}: must be a folder, is a file")
    refused(nmt(*get, "--mirror", "example.org"), "--mirror: must begin with http:// or https://")
    refused(nmt(*get, "--mirror", "file:///x"), "--mirror: must begin with http:// or https://")
    refused(nmt(*get, "--mirror", "http://x", "--from", tmp_path), "--from and --mirror: one of")
    instead = nmt("data", "get", "summed", "--to", file)
    refused(instead, f"{file}: must be a folder, is a file; --to names another")
    below = nmt("data", "get", "summed", "--to", file / "below")
    refused(below, f"{file / 'below'}", "--to names another")
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("site")
def test_a_folder_in_the_place_of_a_text(tmp_path: Path) -> None:
    (tmp_path / "out" / "train.fr").mkdir(parents=True)
    result = nmt("data", "get", "summed", "--to", tmp_path / "out")
    refused(result, f"{tmp_path / 'out' / 'train.fr'}: must be a file or absent, is a folder")


def test_a_full_disk_keeps_what_has_arrived(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(files, "open_atomic", full)
        patch.setattr(files, "write_text", lambda path, text: path.write_text(text))
        result = nmt("data", "get", "summed", "--to", out)
    refused(result, f"{out}: No space left on device; --to names another folder")
    site.asked.clear()
    done(nmt("data", "get", "summed", "--to", out))
    assert [request.path for request in site.asked] == ["/raw/fr.gz"]
    assert there(out) == {"train.en": EN, "train.fr": FR}


def test_a_server_that_is_not_there(site: Site, tmp_path: Path) -> None:
    site.pages.clear()
    result = nmt("data", "get", "summed", "--to", tmp_path / "out")
    refused(result, f"{site.url}/raw/en.gz: must be reachable: the server answers 404", "--from")
    assert not (tmp_path / "out").exists()


def evil_zip() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a.en", EN)
        archive.writestr("a.fr", FR)
        archive.writestr("../../evil", "evil")
    return out.getvalue()


def evil_tar() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, content in {"a.en": EN, "a.fr": FR}.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "../.."
        archive.addfile(link)
    return out.getvalue()


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (
            "a.zip",
            evil_zip(),
            "'../../evil' must stay inside the archive's folder, leads out",
        ),
        ("a.tgz", evil_tar(), "'link' must be a file or a folder, is a symbolic link"),
    ],
)
def test_an_unsafe_archive_leaves_nothing_even_with_the_right_sum(
    file: str, content: bytes, message: str, site: Site, tmp_path: Path
) -> None:
    site.pages[f"/{file}"] = Page(content)
    with catalogue.CATALOGUE.open("a", encoding="utf-8") as stream:
        stream.write(
            f"evil:\n{HEAD}  downloads:\n"
            f"    - {{url: {site.url}/{file}, sha256: {sha256(content)},\n"
            "       texts: {train.en: {member: a.en}, train.fr: {member: a.fr}}}\n"
        )
    before = sorted(tmp_path.parent.rglob("*"))
    result = nmt("data", "get", "evil", "--to", tmp_path / "a" / "b" / "out")
    refused(result, f"{site.url}/{file}: {message}", "nothing was written")
    out = tmp_path / "a" / "b" / "out"
    assert there(out) == {}
    assert {*tmp_path.parent.rglob("*")} - {*before} == {out, out.parent, out.parent.parent}


@pytest.mark.usefixtures("site")
def test_an_unknown_name(tmp_path: Path) -> None:
    result = nmt("data", "get", "sumed", "--to", tmp_path / "out")
    refused(result, "one of summed, table, unsummed; is 'sumed' (did you mean 'summed'?)")


def test_the_list_shows_all_there_is_of_the_catalogue() -> None:
    result = done(nmt("data", "list"))
    head, *rows = result.lines
    assert head.split() == ["name", "languages", "pairs", "download", "sums", "licence"]
    assert [row.split()[0] for row in rows] == list(catalogue.read_catalogue())
    assert re.match(r"multi30k +en de fr cs +29,000 +3 MB +sha256 +non-commercial res", rows[0])
    assert result.err == ""


SERVED = b"".join(f"{i}\tLigne {i}.\n".encode() for i in range(9_000))


def test_ctrl_c_leaves_what_has_arrived_and_the_same_command_goes_on(
    site: Site, tmp_path: Path
) -> None:
    content = gzip.compress(SERVED, compresslevel=0)
    site.pages["/both.tsv.gz"] = Page(content, pause=0.01)
    start = (
        "import sys; from pathlib import Path; from nmt.data import catalogue; "
        "catalogue.CATALOGUE = Path(sys.argv.pop(1)); from nmt.cli import main; main()"
    )
    out = tmp_path / "out"
    command = [sys.executable, "-c", start, str(catalogue.CATALOGUE)]
    command += ["data", "get", "unsummed", "--to", str(out)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    )
    part = out / "other.tsv.gz.part"
    deadline = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size > 20_000) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert stdout == ""
    assert stderr.split("\n")[-2:] == [
        "interrupted; the same command goes on where this one stopped",
        "",
    ]
    assert "Traceback" not in stderr
    kept = part.read_bytes()
    assert 20_000 <= len(kept) < len(content)
    assert content.startswith(kept)
    assert sorted(there(out)) == ["other.tsv.gz.part", "other.tsv.gz.part.json"]

    site.pages["/both.tsv.gz"].pause = 0.0
    site.asked.clear()
    done(nmt("data", "get", "unsummed", "--to", out))
    assert [request.range for request in site.asked] == [f"bytes={len(kept)}-"]
    assert site.asked[0].sent == len(content) - len(kept)
    lines = there(out)["train.fr"].decode().split("\n")
    assert lines == [*(f"Ligne {i}." for i in range(9_000)), ""]
    assert not part.exists()


@needs_multi30k
@pytest.mark.parametrize("folder", [MULTI30K, OFFICIAL], ids=["parent", "itself"])
def test_multi30k_from_its_official_files(folder: Path, tmp_path: Path) -> None:
    result = done(nmt("data", "get", "multi30k", "--from", folder, "--to", tmp_path))
    assert "non-commercial research and education" in result.out
    assert f"wrote    {tmp_path / 'train.en'}  (29,000 lines)" in result.lines
    assert [path.name for path in sorted(tmp_path.iterdir())] == NAMES
    for name in NAMES:
        text = (tmp_path / name).read_bytes()
        packed = OFFICIAL / f"{name.replace('valid', 'val')}.gz"
        assert text == gzip.decompress(packed.read_bytes()), name
        assert text.count(b"\n") == LINES[name.split(".")[0]], name


@needs_multi30k
def test_multi30k_over_http_with_cuts(tmp_path: Path) -> None:
    pages = {f"/{file.name}": Page(file.read_bytes()) for file in OFFICIAL.iterdir()}
    pages["/train.de.gz"].cuts = [100_000, 1, 200_000]
    with serving(pages) as site:
        done(nmt("data", "get", "multi30k", "--mirror", site.url, "--to", tmp_path))
        assert len(site.asked) == len(NAMES) + 3
    assert [path.name for path in sorted(tmp_path.iterdir())] == NAMES
