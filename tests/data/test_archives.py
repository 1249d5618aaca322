"""Unsafe, damaged and unexpected archives are refused."""

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

from nmt.data.datasets import archives
from nmt.data.datasets.catalogue import Text
from nmt.data.datasets.extraction import ExtractedText
from tests.support.data.archives import (
    EN,
    FR,
    MEMBERS,
    PAIR,
    assert_refused,
    extract,
    make_tar,
    make_zip,
)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("a.tar", make_tar(MEMBERS, "w")),
        ("a.tgz", make_tar(MEMBERS)),
        ("a.tar.gz", make_tar({"./d/a.en": EN, "./d/a.fr": FR, "d/other": b"\xff"})),
        ("a.tar.xz", make_tar(MEMBERS, "w:xz")),
        ("a.tar.bz2", make_tar(MEMBERS, "w:bz2")),
        ("a.txt.zip", make_zip({**MEMBERS, "LICENSE": b"x"})),
    ],
)
def test_extract_archive_writes_only_the_named_members(
    file: str, content: bytes, tmp_path: Path
) -> None:
    extracted, contents = extract(content, file, PAIR, tmp_path)
    assert contents == {"train.en": EN, "train.fr": FR}
    assert extracted == {
        name: ExtractedText(2, hashlib.sha256(text).hexdigest()) for name, text in contents.items()
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
    ("extra", "member_type"),
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
def test_extract_tar_with_links_or_devices_is_refused(
    extra: object, member_type: str, tmp_path: Path
) -> None:
    message = rf"SOURCE: 'd/(link|holes)': expected a file or a folder, got a {member_type}"
    assert_refused(make_tar(MEMBERS, extra=extra), "a.tgz", PAIR, tmp_path, message)


def test_extract_tar_with_link_after_the_texts_is_refused(tmp_path: Path) -> None:
    out = io.BytesIO(make_tar(MEMBERS, "w"))
    with tarfile.open(fileobj=out, mode="a") as archive:
        add_link(tarfile.SYMTYPE, "a.en")(archive)
    assert_refused(
        out.getvalue(), "a.tar", PAIR, tmp_path, "got a symbolic link; nothing was written"
    )


@pytest.mark.parametrize("pack", [make_tar, make_zip])
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
def test_extract_member_outside_of_the_archive_is_refused(
    name: str, pack: Callable[..., bytes], tmp_path: Path
) -> None:
    file = "a.zip" if pack is make_zip else "a.tgz"
    message = r"SOURCE: expected names inside the archive's folder, got '.*'"
    assert_refused(pack({**MEMBERS, name: b"evil"}), file, PAIR, tmp_path, message)


def test_extract_member_with_harmless_dots_is_accepted(tmp_path: Path) -> None:
    content = make_tar({**MEMBERS, "d/..a": b"", "d/a..": b"", "...": b""})
    assert set(extract(content, "a.tgz", PAIR, tmp_path)[1]) == set(PAIR)


def test_extract_zip_with_link_is_refused(tmp_path: Path) -> None:
    def add(archive: zipfile.ZipFile) -> None:
        info = zipfile.ZipInfo("d/link")
        info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")

    content = make_zip(MEMBERS, extra=add)
    assert_refused(
        content, "a.zip", PAIR, tmp_path, "'d/link': expected a file.*, got a symbolic link"
    )


def test_extract_zip_with_password_is_refused(tmp_path: Path) -> None:
    content = bytearray(make_zip(MEMBERS))
    directory = content.index(b"PK\x01\x02")
    content[directory + 8] |= 1
    assert_refused(
        bytes(content),
        "a.zip",
        PAIR,
        tmp_path,
        "'d/a.en': expected .* got a file behind a password",
    )


@pytest.fixture
def low_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "FREE_BYTES", 100_000)


BOMB = b"a\n" * 2_000_000


@pytest.mark.usefixtures("low_limit")
@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("a.gz", gzip.compress(BOMB)),
        ("a.xz", lzma.compress(BOMB)),
        ("a.tgz", make_tar({**MEMBERS, "d/bomb": BOMB})),
        ("a.tgz", make_tar({f"d/{i}": b"" for i in range(4_000)})),
        ("a.zip", make_zip({**MEMBERS, "d/bomb": BOMB})),
    ],
    ids=["gz", "xz", "tar", "a tar of many", "zip"],
)
def test_extract_decompression_bomb_is_refused(file: str, content: bytes, tmp_path: Path) -> None:
    assert len(content) * 20 + 100_000 < 2_000_000
    texts = PAIR if file in ("a.tgz", "a.zip") else {"train.en": Text()}
    message = r"SOURCE: expected at most [\d,]+ bytes of text, got more; nothing was written"
    assert_refused(content, file, texts, tmp_path, message)


@pytest.mark.usefixtures("low_limit")
def test_extract_zip_with_wrong_size_is_refused(tmp_path: Path) -> None:
    content = bytearray(make_zip({"d/a.en": BOMB, "d/a.fr": FR}))
    directory = content.index(b"PK\x01\x02")
    content[directory + 24 : directory + 28] = (1_000).to_bytes(4, "little")
    assert_refused(
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
        ("a.gz", b"not gzip"),
        ("a.gz", gzip.compress(b"truncated in the middle\n")[:-6]),
        ("a.gz", damaged_gz()),
        ("a.xz", lzma.compress(os.urandom(999))[:500]),
        ("a.xz", b"not xz"),
        ("a.bz2", b"not bzip2"),
        ("a.tgz", gzip.compress(b"not tar")),
        ("a.tgz", make_tar({**MEMBERS, "d/long": os.urandom(9_999)})[:5_000]),
        ("a.tar", b""),
        ("a.tar", make_tar({**MEMBERS, "d/a.fr": os.urandom(9_999)}, "w")[:5_000]),
        ("a.zip", b"not zip"),
        ("a.zip", make_zip(MEMBERS)[:-30]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # some contents include the time
)
def test_extract_damaged_archive_is_refused(file: str, content: bytes, tmp_path: Path) -> None:
    texts = PAIR if file in ("a.tgz", "a.tar", "a.zip") else {"train.en": Text()}
    assert_refused(
        content, file, texts, tmp_path, "SOURCE: expected a complete archive, got a damaged one: ."
    )


def test_extract_missing_member_suggests_the_nearest(tmp_path: Path) -> None:
    content = make_tar({"d/a.en": EN, "d/b.fr": FR})
    match = r"SOURCE: expected 'd/a.fr', got \d+ other files \(did you mean 'd/b.fr'\?\)"
    assert_refused(content, "a.tgz", PAIR, tmp_path, match)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("pack", [make_tar, make_zip])
def test_extract_duplicate_member_is_refused(pack: Callable[..., bytes], tmp_path: Path) -> None:
    def add_duplicate(archive: tarfile.TarFile | zipfile.ZipFile) -> None:
        if isinstance(archive, zipfile.ZipFile):
            archive.writestr("./d/a.en", b"other")
        else:
            archive.addfile(tarfile.TarInfo("./d/a.en"))

    file = "a.zip" if pack is make_zip else "a.tgz"
    message = "expected 'd/a.en' once, got it twice"
    assert_refused(pack(MEMBERS, extra=add_duplicate), file, PAIR, tmp_path, message)


def test_extract_sides_of_different_lengths_are_refused(tmp_path: Path) -> None:
    content = make_zip({"d/a.en": EN, "d/a.fr": FR + b"Trois.\n"})
    message = "SOURCE: train.fr: expected 2 lines as in train.en, got 3"
    assert_refused(content, "a.zip", PAIR, tmp_path, message)


def test_extract_text_with_a_wrong_checksum_is_refused(tmp_path: Path) -> None:
    texts = {"train.en": Text(sha256="0" * 64)}
    actual = hashlib.sha256(EN).hexdigest()
    message = f"train.en: expected the SHA-256 {'0' * 64}, got {actual}"
    assert_refused(gzip.compress(EN), "a.gz", texts, tmp_path, message)
