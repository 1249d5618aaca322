"""Small data sets on a local server, and checks of the files that `nmt data get` writes."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

from tests.support.command_line import Result
from tests.support.web_server import Page

EN, FR = b"One.\nTwo.\n", b"Un.\nDeux.\n"
EN_GZ, FR_GZ = gzip.compress(EN), gzip.compress(FR)
BOTH_GZ = gzip.compress(b"One.\tUn.\n\t\nTwo.\tDeux.\n")
HEAD = "  about: x\n  languages: [en, fr]\n  licence: free\n  home: https://example.org\n"


def sha256(content: bytes) -> str:
    """Return the SHA-256 in hex."""
    return hashlib.sha256(content).hexdigest()


def assert_refused(result: Result, *parts: str) -> None:
    """Assert exit code 2 and exactly one error on stderr, which contains all `parts`."""
    assert result.code == 2
    errors = [line for line in result.err.split("\n") if line and not line.startswith("fetching ")]
    assert len(errors) == 1
    assert errors[0].startswith("error: ")
    for part in parts:
        assert part in errors[0]


def read_files(folder: Path) -> dict[str, bytes]:
    """Return the content of each file in a folder."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def pages() -> dict[str, Page]:
    """Return the pages of the server."""
    return {"/raw/en.gz": Page(EN_GZ), "/raw/fr.gz": Page(FR_GZ), "/both.tsv.gz": Page(BOTH_GZ)}


def catalogue_of(url: str) -> str:
    """Return a catalogue of three data sets on the server at `url`."""
    columns = "{train.en: {format: tsv, column: 1}, train.fr: {format: tsv, column: 2}}"
    return (
        f"summed:\n{HEAD}  pairs: 2\n  downloads:\n"
        f"    - {{url: {url}/raw/en.gz, size: {len(EN_GZ)}, sha256: {sha256(EN_GZ)},\n"
        f"       texts: {{train.en: {{sha256: {sha256(EN)}}}}}}}\n"
        f"    - {{url: {url}/raw/fr.gz, size: {len(FR_GZ)}, sha256: {sha256(FR_GZ)},\n"
        f"       texts: {{train.fr: {{sha256: {sha256(FR)}}}}}}}\n"
        f"table:\n{HEAD}  downloads:\n"
        f"    - {{url: {url}/both.tsv.gz, sha256: {sha256(BOTH_GZ)}, texts: {columns}}}\n"
        f"unsummed:\n{HEAD}  downloads:\n"
        f"    - {{url: {url}/both.tsv.gz, name: other.tsv.gz, texts: {columns}}}\n"
    )
