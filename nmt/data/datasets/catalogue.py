"""The public data sets that `nmt data` knows: addresses, sums, licences, and the texts inside."""

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
"""A prefix and a language, as configs name text."""
SHA256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
MD5 = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Format = Literal["plain", "tsv", "sgm", "tags"]


class Text(Section):
    """One text that a download gives: a language of a set, one sentence a line."""

    member: str = ""
    """Its place in the archive; empty where the download is no archive."""
    format: Format = "plain"
    """How the sentences stand there."""
    column: Count | None = None
    """With tsv: the column of this language, counted from 1."""
    sha256: SHA256 | None = None
    """The sum of the finished text, where it is known."""

    @model_validator(mode="after")
    def _column_with_tsv(self) -> Text:
        if (self.format == "tsv") != (self.column is not None):
            raise ValueError("column: expected with format tsv, and only then")
        return self


class Download(Section):
    """One file on a server: a text, or an archive of texts, compressed or not."""

    url: Address
    name: FileName | None = None
    """What the file is called here; default: as on the server."""
    size: Count | None = None
    """Bytes, where known."""
    sha256: SHA256 | None = None
    md5: MD5 | None = None
    """Where only this sum is known."""
    texts: Annotated[dict[TextName, Text], Field(min_length=1)]

    @property
    def file(self) -> str:
        """The name of the file on this machine."""
        return self.name or self.url.rsplit("/", 1)[1]

    @property
    def sum(self) -> tuple[str, str] | None:
        """The strongest sum that is known: (its kind as hashlib names it, the sum in hex)."""
        if self.sha256 is not None:
            return "sha256", self.sha256
        return ("md5", self.md5) if self.md5 is not None else None


class Dataset(Section):
    """A data set: what it is, under which terms, and its files."""

    about: str
    languages: Annotated[list[str], Field(min_length=2)]
    pairs: Count | None = None
    """Sentence pairs of the training text, else of all test sets, where known."""
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
        """Bytes to download, where the sizes of all files are known."""
        sizes = [download.size for download in self.downloads]
        return sum(size for size in sizes if size is not None) if None not in sizes else None

    @property
    def sums(self) -> str:
        """The kinds of sums that are known for its files: "sha256", "sha256 md5", "none"."""
        kinds = [download.sum[0] if download.sum else "none" for download in self.downloads]
        return " ".join(dict.fromkeys(kinds))


def read_catalogue(file: Path | None = None) -> dict[str, Dataset]:
    """Read the data sets by name; the default is the catalogue that is part of the package.

    Raises DataError with the file, the line and what must hold.
    """
    file = file or CATALOGUE
    document = parse_yaml(file.read_text(encoding="utf-8"))
    problems = [(path, message) for path, message in document.problems]
    datasets: dict[str, Dataset] = {}
    if not problems:
        try:
            datasets = TypeAdapter(dict[str, Dataset]).validate_python(document.data)
        except ValidationError as error:
            problems = [(tuple(e["loc"]), e["msg"]) for e in error.errors()]
    if problems:
        path, message = problems[0]
        above = [path[:n] for n in range(len(path), -1, -1) if path[:n] in document.lines]
        line = document.lines[above[0]] if above else 1
        raise DataError(f"{file}:{line}: {dotted_key(path)}: {message}")
    return datasets


def find(name: str) -> Dataset:
    """Return the data set of that name, or raise DataError with those there are."""
    datasets = read_catalogue()
    if name not in datasets:
        raise DataError(
            f"nmt data get: expected one of {', '.join(datasets)}, got '{name}'"
            f"{did_you_mean(name, datasets)}"
        )
    return datasets[name]
