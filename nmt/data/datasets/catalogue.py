"""The catalogue of public data sets: addresses, checksums, licences, and the texts inside."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from nmt.config.sections.base import Count, Section
from nmt.config.yaml_reader import dotted_key, parse_yaml
from nmt.errors import DataError, did_you_mean

CATALOGUE = Path(__file__).with_name("catalogue.yaml")

Address = Annotated[str, Field(pattern=r"^https?://\S+$")]
FileName = Annotated[str, Field(pattern=r"^\w[\w.-]*$")]
TextName = Annotated[str, Field(pattern=r"^\w[\w-]*\.[a-z]{2,3}$")]
"""Name of an extracted text: a prefix and a language, as in configs."""
SHA256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
MD5 = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
TextFormat = Literal["plain", "tsv", "sgm", "tags"]


class Text(Section):
    """One text in a download: one language of a set, one sentence per line."""

    member: str = ""
    """Path in the archive; empty if the download is not an archive."""
    format: TextFormat = "plain"
    """Format of the sentences."""
    column: Count | None = None
    """With tsv: column of this language, counted from 1."""
    sha256: SHA256 | None = None
    """Checksum of the extracted text, if it is known."""

    @model_validator(mode="after")
    def _column_with_tsv(self) -> Text:
        if (self.format == "tsv") != (self.column is not None):
            raise ValueError("column: expected with format tsv, and only then")
        return self


class Download(Section):
    """One file on a server: a text or an archive of texts, compressed or not."""

    url: Address
    name: FileName | None = None
    """Local name of the file; default: the name on the server."""
    size: Count | None = None
    """Size in bytes, if it is known."""
    sha256: SHA256 | None = None
    md5: MD5 | None = None
    """Checksum, if the SHA-256 is not published."""
    texts: Annotated[dict[TextName, Text], Field(min_length=1)]

    @property
    def file(self) -> str:
        """Local name of the file."""
        return self.name or self.url.rsplit("/", 1)[1]

    @property
    def checksum(self) -> tuple[str, str] | None:
        """Strongest known checksum: (algorithm in hashlib, digest in hex)."""
        if self.sha256 is not None:
            return "sha256", self.sha256
        return ("md5", self.md5) if self.md5 is not None else None


class Dataset(Section):
    """A data set with its licence and its files."""

    about: str
    languages: Annotated[list[str], Field(min_length=2)]
    pairs: Count | None = None
    """Sentence pairs of the training text, or else of all test sets, if known."""
    licence: str
    home: Address
    downloads: Annotated[list[Download], Field(min_length=1)]

    @model_validator(mode="after")
    def _names_differ(self) -> Dataset:
        for names in (
            [download.file for download in self.downloads],
            [text for download in self.downloads for text in download.texts],
        ):
            if len(set(names)) < len(names):
                raise ValueError(f"downloads: no two may give the same file: {sorted(names)}")
        return self

    @property
    def size(self) -> int | None:
        """Bytes to download, or None if the size of a file is unknown."""
        sizes = [download.size for download in self.downloads if download.size is not None]
        return sum(sizes) if len(sizes) == len(self.downloads) else None

    @property
    def checksum_algorithms(self) -> str:
        """Algorithms of the known checksums of all files: "sha256", "sha256 md5", "none"."""
        checksums = [download.checksum or ("none", "") for download in self.downloads]
        return " ".join(dict.fromkeys(algorithm for algorithm, _ in checksums))


def read_catalogue(file: Path | None = None) -> dict[str, Dataset]:
    """Return the data sets by name, by default from the catalogue in the package.

    Raises DataError with file, line and reason if the catalogue is invalid.
    """
    file = file or CATALOGUE
    document = parse_yaml(file.read_text(encoding="utf-8"))
    problems = list(document.problems)
    datasets: dict[str, Dataset] = {}
    if not problems:
        try:
            datasets = TypeAdapter(dict[str, Dataset]).validate_python(document.data)
        except ValidationError as error:
            problems = [(tuple(detail["loc"]), detail["msg"]) for detail in error.errors()]
    if problems:
        path, message = problems[0]
        known_prefixes = (
            path[:length] for length in range(len(path), -1, -1) if path[:length] in document.lines
        )
        prefix = next(known_prefixes, None)
        line = 1 if prefix is None else document.lines[prefix]
        raise DataError(f"{file}:{line}: {dotted_key(path)}: {message}")
    return datasets


def find_dataset(name: str) -> Dataset:
    """Return the data set with this name; raise DataError with all known names if there is none."""
    datasets = read_catalogue()
    if name not in datasets:
        raise DataError(
            f"nmt data get: expected one of {', '.join(datasets)}, got '{name}'"
            f"{did_you_mean(name, datasets)}"
        )
    return datasets[name]
