"""`nmt data get` with failing servers, disks and archives: one error line, no partial text."""

from __future__ import annotations

import errno
import gzip
import io
import os
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import pytest

from nmt.core import files
from nmt.data.datasets import catalogue
from tests.support.command_line import assert_success, environment, nmt
from tests.support.dataset_site import EN, EN_GZ, FR, HEAD, assert_refused, read_files, sha256
from tests.support.web_server import Page, Site


def test_get_wrong_checksum_deletes_the_download(site: Site, tmp_path: Path) -> None:
    out = tmp_path / "out"
    damaged_content = bytes([*EN_GZ[:-1], EN_GZ[-1] ^ 1])
    site.pages["/raw/en.gz"].content = damaged_content
    result = nmt("data", "get", "summed", "--to", out)
    assert_refused(
        result,
        f"{site.url}/raw/en.gz: expected the SHA-256 {sha256(EN_GZ)}",
        sha256(damaged_content),
    )
    assert read_files(out) == {}
    site.pages["/raw/en.gz"].content = EN_GZ
    assert_success(nmt("data", "get", "summed", "--to", out))
    assert read_files(out) == {"train.en": EN, "train.fr": FR}


def test_get_full_disk_keeps_the_download(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raise_disk_full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(files, "open_atomic", raise_disk_full)
        patch.setattr(files, "write_text", lambda path, text: path.write_text(text))
        result = nmt("data", "get", "summed", "--to", out)
    assert_refused(result, f"{out}: No space left on device; --to names another folder")
    site.requests.clear()
    assert_success(nmt("data", "get", "summed", "--to", out))
    assert [request.path for request in site.requests] == ["/raw/fr.gz"]
    assert read_files(out) == {"train.en": EN, "train.fr": FR}


def test_get_missing_page_is_reported(site: Site, tmp_path: Path) -> None:
    site.pages.clear()
    result = nmt("data", "get", "summed", "--to", tmp_path / "out")
    assert_refused(
        result, f"{site.url}/raw/en.gz: expected an answer, got: the server answers 404", "--from"
    )
    assert not (tmp_path / "out").exists()


def unsafe_zip() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a.en", EN)
        archive.writestr("a.fr", FR)
        archive.writestr("../../evil", "evil")
    return out.getvalue()


def unsafe_tar() -> bytes:
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
            unsafe_zip(),
            "expected names inside the archive's folder, got '../../evil'",
        ),
        ("a.tgz", unsafe_tar(), "'link': expected a file or a folder, got a symbolic link"),
    ],
)
def test_get_unsafe_archive_writes_nothing(
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
    assert_refused(result, f"{site.url}/{file}: {message}", "nothing was written")
    out = tmp_path / "a" / "b" / "out"
    assert read_files(out) == {}
    assert {*tmp_path.parent.rglob("*")} - {*before} == {out, out.parent, out.parent.parent}


def command_with_test_catalogue(*arguments: object) -> list[str]:
    """Return a command that runs `nmt data` in a new process with the catalogue of these tests."""
    program = (
        "import sys; from pathlib import Path; from nmt.data.datasets import catalogue; "
        "catalogue.CATALOGUE = Path(sys.argv.pop(1)); from nmt.cli.app import main; main()"
    )
    words = [catalogue.CATALOGUE, "data", *arguments]
    return [sys.executable, "-c", program, *map(str, words)]


@pytest.mark.usefixtures("site")
def test_get_closed_stdout_is_no_error(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    process = subprocess.run(
        command_with_test_catalogue("get", "summed", "--to", tmp_path / "out"),
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    os.close(write)
    assert (process.returncode, process.stderr) == (0, f"fetching en.gz ({len(EN_GZ)} B)\n")


TABLE = b"".join(f"{i}\tLigne {i}.\n".encode() for i in range(9_000))


def test_get_interrupted_download_can_be_continued(site: Site, tmp_path: Path) -> None:
    content = gzip.compress(TABLE, compresslevel=0)
    site.pages["/both.tsv.gz"] = Page(content, pause=0.01)
    out = tmp_path / "out"
    command = command_with_test_catalogue("get", "unsummed", "--to", out)
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
        "interrupted; repeat the command to continue",
        "",
    ]
    assert "Traceback" not in stderr
    received = part.read_bytes()
    assert 20_000 <= len(received) < len(content)
    assert content.startswith(received)
    assert sorted(read_files(out)) == ["other.tsv.gz.part", "other.tsv.gz.part.json"]

    site.pages["/both.tsv.gz"].pause = 0.0
    site.requests.clear()
    assert_success(nmt("data", "get", "unsummed", "--to", out))
    assert [request.range for request in site.requests] == [f"bytes={len(received)}-"]
    assert site.requests[0].sent == len(content) - len(received)
    lines = read_files(out)["train.fr"].decode().split("\n")
    assert lines == [*(f"Ligne {i}." for i in range(9_000)), ""]
    assert not part.exists()
