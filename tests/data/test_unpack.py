"""From archives to plain text: every one that is unsafe, damaged or something else is refused."""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import os
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from packing import EN, FR, PAIR, WHOLE, refused, run, tar_of, zip_of

from nmt.data.datasets import archives
from nmt.data.datasets.catalogue import Text
from nmt.data.datasets.extraction import ExtractedText


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("a.tar", tar_of(WHOLE, "w")),
        ("a.tgz", tar_of(WHOLE)),
        ("a.tar.gz", tar_of({"./d/a.en": EN, "./d/a.fr": FR, "d/other": b"\xff"})),
        ("a.tar.xz", tar_of(WHOLE, "w:xz")),
        ("a.tar.bz2", tar_of(WHOLE, "w:bz2")),
        ("a.txt.zip", zip_of({**WHOLE, "LICENSE": b"x"})),
    ],
)
def test_the_named_members_come_out_and_nothing_else(
    file: str, content: bytes, tmp_path: Path
) -> None:
    written, there = run(content, file, PAIR, tmp_path)
    assert there == {"train.en": EN, "train.fr": FR}
    assert written == {
        name: ExtractedText(2, hashlib.sha256(text).hexdigest()) for name, text in there.items()
    }


def add_link(kind: bytes, target: str) -> Callable[[tarfile.TarFile], None]:
    def add(archive: tarfile.TarFile) -> None:
        info = tarfile.TarInfo("d/link")
        info.type, info.linkname = kind, target
        archive.addfile(info)

    return add


def add_holes(archive: tarfile.TarFile) -> None:
    info = tarfile.TarInfo("d/holes")
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}
    info.pax_headers |= {"GNU.sparse.name": "d/holes", "GNU.sparse.realsize": str(10**15)}
    blocks = b"1\n0\n0\n".ljust(512, b"\0")
    info.size = len(blocks)
    archive.addfile(info, io.BytesIO(blocks))


@pytest.mark.parametrize(
    ("extra", "word"),
    [
        (add_link(tarfile.SYMTYPE, "../../elsewhere"), "symbolic link"),
        (add_link(tarfile.SYMTYPE, "a.en"), "symbolic link"),
        (add_link(tarfile.LNKTYPE, "d/a.en"), "hard link"),
        (add_link(tarfile.CHRTYPE, ""), "device or pipe"),
        (add_link(tarfile.BLKTYPE, ""), "device or pipe"),
        (add_link(tarfile.FIFOTYPE, ""), "device or pipe"),
        (add_link(b"Z", ""), "something else"),
        (add_holes, "file with holes"),
    ],
    ids=["link out", "link", "hard link", "char", "block", "fifo", "unknown", "sparse"],
)
def test_a_tar_with_anything_but_files_and_folders_is_refused(
    extra: object, word: str, tmp_path: Path
) -> None:
    message = rf"SOURCE: 'd/(link|holes)': expected a file or a folder, got a {word}"
    refused(tar_of(WHOLE, extra=extra), "a.tgz", PAIR, tmp_path, message)


def test_a_link_behind_the_texts_is_refused_too(tmp_path: Path) -> None:
    out = io.BytesIO(tar_of(WHOLE, "w"))
    with tarfile.open(fileobj=out, mode="a") as archive:
        add_link(tarfile.SYMTYPE, "a.en")(archive)
    refused(out.getvalue(), "a.tar", PAIR, tmp_path, "got a symbolic link; nothing was written")


@pytest.mark.parametrize("pack", [tar_of, zip_of])
@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "d/../../evil",
        "/etc/evil",
        "..",
        "d\\..\\..\\evil",
        "\\evil",
        "C:\\evil",
        "c:evil",
    ],
)
def test_a_member_that_leads_out_of_the_archive_is_refused(
    name: str, pack: Callable[..., bytes], tmp_path: Path
) -> None:
    file = "a.zip" if pack is zip_of else "a.tgz"
    message = r"SOURCE: expected names inside the archive's folder, got '.*'"
    refused(pack({**WHOLE, name: b"evil"}), file, PAIR, tmp_path, message)


def test_a_name_that_only_looks_like_one_is_let_through(tmp_path: Path) -> None:
    content = tar_of({**WHOLE, "d/..a": b"", "d/a..": b"", "...": b""})
    assert set(run(content, "a.tgz", PAIR, tmp_path)[1]) == set(PAIR)


def test_a_zip_with_a_link_is_refused(tmp_path: Path) -> None:
    def add(archive: zipfile.ZipFile) -> None:
        info = zipfile.ZipInfo("d/link")
        info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")

    content = zip_of(WHOLE, extra=add)
    refused(content, "a.zip", PAIR, tmp_path, "'d/link': expected a file.*, got a symbolic link")


def test_a_zip_behind_a_password_is_refused(tmp_path: Path) -> None:
    content = bytearray(zip_of(WHOLE))
    at = content.index(b"PK\x01\x02")  # the central directory
    content[at + 8] |= 1
    refused(
        bytes(content),
        "a.zip",
        PAIR,
        tmp_path,
        "'d/a.en': expected .* got a file behind a password",
    )


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "FREE_BYTES", 100_000)


BOMB = b"a\n" * 2_000_000


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("a.gz", gzip.compress(BOMB)),
        ("a.xz", lzma.compress(BOMB)),
        ("a.tgz", tar_of({**WHOLE, "d/bomb": BOMB})),
        ("a.tgz", tar_of({f"d/{i}": b"" for i in range(4_000)})),
        ("a.zip", zip_of({**WHOLE, "d/bomb": BOMB})),
    ],
    ids=["gz", "xz", "tar", "a tar of many", "zip"],
)
def test_a_bomb_is_refused(file: str, content: bytes, tmp_path: Path) -> None:
    assert len(content) * 20 + 100_000 < 2_000_000
    texts = PAIR if file in ("a.tgz", "a.zip") else {"train.en": Text()}
    message = r"SOURCE: expected at most [\d,]+ bytes of text, got more; nothing was written"
    refused(content, file, texts, tmp_path, message)


@pytest.mark.usefixtures("small")
def test_a_zip_that_lies_about_its_size_is_refused(tmp_path: Path) -> None:
    content = bytearray(zip_of({"d/a.en": BOMB, "d/a.fr": FR}))
    at = content.index(b"PK\x01\x02")
    content[at + 24 : at + 28] = (1_000).to_bytes(4, "little")
    refused(
        bytes(content),
        "a.zip",
        PAIR,
        tmp_path,
        "SOURCE: expected a complete archive, got a damaged one: Bad CRC",
    )


def damaged_gz() -> bytes:
    return gzip.compress(b"damaged\n")[:10] + b"\xff" * 12


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("a.gz", b"no gzip at all"),
        ("a.gz", gzip.compress(b"cut in the middle\n")[:-6]),
        ("a.gz", damaged_gz()),
        ("a.xz", lzma.compress(os.urandom(999))[:500]),
        ("a.xz", b"no xz at all"),
        ("a.bz2", b"no bzip2 at all"),
        ("a.tgz", gzip.compress(b"no tar at all")),
        ("a.tgz", tar_of({**WHOLE, "d/long": os.urandom(9_999)})[:5_000]),
        ("a.tar", b""),
        ("a.tar", tar_of({**WHOLE, "d/a.fr": os.urandom(9_999)}, "w")[:5_000]),
        ("a.zip", b"no zip at all"),
        ("a.zip", zip_of(WHOLE)[:-30]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # some contents hold the time
)
def test_a_damaged_file_is_refused(file: str, content: bytes, tmp_path: Path) -> None:
    texts = PAIR if file in ("a.tgz", "a.tar", "a.zip") else {"train.en": Text()}
    refused(
        content, file, texts, tmp_path, "SOURCE: expected a complete archive, got a damaged one: ."
    )


def test_a_member_that_is_missing_is_named_with_the_nearest_there_is(tmp_path: Path) -> None:
    content = tar_of({"d/a.en": EN, "d/b.fr": FR})
    match = r"SOURCE: expected 'd/a.fr', got \d+ other files \(did you mean 'd/b.fr'\?\)"
    refused(content, "a.tgz", PAIR, tmp_path, match)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("pack", [tar_of, zip_of])
def test_a_member_that_is_there_twice_is_refused(
    pack: Callable[..., bytes], tmp_path: Path
) -> None:
    def again(archive: tarfile.TarFile | zipfile.ZipFile) -> None:
        if isinstance(archive, zipfile.ZipFile):
            archive.writestr("./d/a.en", b"other")
        else:
            archive.addfile(tarfile.TarInfo("./d/a.en"))

    file = "a.zip" if pack is zip_of else "a.tgz"
    message = "expected 'd/a.en' once, got it twice"
    refused(pack(WHOLE, extra=again), file, PAIR, tmp_path, message)


def test_sides_of_different_length_are_refused(tmp_path: Path) -> None:
    content = zip_of({"d/a.en": EN, "d/a.fr": FR + b"Trois.\n"})
    message = "SOURCE: train.fr: expected 2 lines as in train.en, got 3"
    refused(content, "a.zip", PAIR, tmp_path, message)


def test_a_text_with_another_sum_is_refused(tmp_path: Path) -> None:
    texts = {"train.en": Text(sha256="0" * 64)}
    found = hashlib.sha256(EN).hexdigest()
    message = f"train.en: expected the SHA-256 {'0' * 64}, got {found}"
    refused(gzip.compress(EN), "a.gz", texts, tmp_path, message)
