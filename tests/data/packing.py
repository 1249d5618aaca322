"""Archives made in memory, and what came of unpacking them."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from nmt.data.datasets.catalogue import Text
from nmt.data.datasets.extraction import ExtractedText, extract_texts
from nmt.errors import DataError

PAIR = {"train.en": Text(member="d/a.en"), "train.fr": Text(member="d/a.fr")}
EN, FR = b"One.\nTwo.\n", b"Un.\nDeux.\n"
WHOLE = {"d/a.en": EN, "d/a.fr": FR}


def tar_of(members: dict[str, bytes], mode: str = "w:gz", extra: object = None) -> bytes:
    """Pack members, after whatever `extra` adds to the open archive."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:  # type: ignore[call-overload]
        if callable(extra):
            extra(archive)
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def zip_of(members: dict[str, bytes], extra: object = None) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        if callable(extra):
            extra(archive)
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def run(
    content: bytes, file: str, texts: dict[str, Text], tmp_path: Path
) -> tuple[dict[str, ExtractedText], dict[str, bytes]]:
    """Unpack; return what was said to be written, and what is there."""
    packed = tmp_path / "packed"
    packed.write_bytes(content)
    folder = tmp_path / "out"
    written = extract_texts(packed, file, "SOURCE", texts, folder)
    return written, {path.name: path.read_bytes() for path in folder.iterdir()}


def refused(
    content: bytes, file: str, texts: dict[str, Text], tmp_path: Path, message: str
) -> None:
    """The archive is refused in words, nothing is written, and what was there stays."""
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "train.en").write_bytes(b"mine\n")
    before = sorted(tmp_path.parent.rglob("*"))
    with pytest.raises(DataError, match=message) as error:
        run(content, file, texts, tmp_path)
    assert "\n" not in str(error.value)
    assert (folder / "train.en").read_bytes() == b"mine\n"
    assert sorted({*tmp_path.parent.rglob("*")} - {tmp_path / "packed"}) == before
