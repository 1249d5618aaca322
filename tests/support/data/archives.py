"""Archives in memory, and the result of extracting them."""

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
MEMBERS = {"d/a.en": EN, "d/a.fr": FR}


def make_tar(members: dict[str, bytes], mode: str = "w:gz", extra: object = None) -> bytes:
    """Return a tar archive; `extra` may add other members to the open archive first."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:  # type: ignore[call-overload]
        if callable(extra):
            extra(archive)
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def make_zip(members: dict[str, bytes], extra: object = None) -> bytes:
    """Return a zip archive; `extra` may add other members to the open archive first."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        if callable(extra):
            extra(archive)
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def extract(
    content: bytes, name: str, texts: dict[str, Text], tmp_path: Path
) -> tuple[dict[str, ExtractedText], dict[str, bytes]]:
    """Extract texts; return the result and the contents of the written files."""
    file = tmp_path / "packed"
    file.write_bytes(content)
    folder = tmp_path / "out"
    extracted = extract_texts(file, name, "SOURCE", texts, folder)
    return extracted, {path.name: path.read_bytes() for path in folder.iterdir()}


def assert_refused(
    content: bytes, name: str, texts: dict[str, Text], tmp_path: Path, message: str
) -> None:
    """Assert that extraction raises a one-line DataError and changes no file."""
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "train.en").write_bytes(b"mine\n")
    existing_paths = sorted(tmp_path.parent.rglob("*"))
    with pytest.raises(DataError, match=message) as error:
        extract(content, name, texts, tmp_path)
    assert "\n" not in str(error.value)
    assert (folder / "train.en").read_bytes() == b"mine\n"
    assert sorted({*tmp_path.parent.rglob("*")} - {tmp_path / "packed"}) == existing_paths
