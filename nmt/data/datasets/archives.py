"""From a downloaded file to plain text: archives are read member by member, never unpacked as such.

Nothing is written but the texts that the catalogue names, and those only when the whole archive
was read and found harmless: no member leaves its folder, none is a link or a device, and no more
comes out than text can give.
"""

from __future__ import annotations

import hashlib
import io
import lzma
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO

from nmt.core import files
from nmt.data.datasets.catalogue import Format, Text
from nmt.data.text.compression import OPENERS
from nmt.errors import DataError, did_you_mean, show_value

SMALL = 100 * 2**20
MOST_TIMES = 20
"""A file of n bytes may hold SMALL + MOST_TIMES n: text shrinks to a tenth, bombs to less."""
TAR_ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2")
ENCRYPTED = 1
"""The flag of a zip member behind a password."""
TAGS = re.compile(
    r"\s*</?(doc|url|keywords|speaker|talkid|title|description|reviewer|translator)\b"
)
"""The lines of a TED transcript that are no sentences."""
SEGMENT = re.compile(r"\s*<seg\b[^>]*>(.*)</seg>")


@dataclass
class Written:
    """A text that came out: its lines, and its SHA-256 in hex."""

    lines: int
    sha256: str


class _Output:
    """Counts and sums what goes into a text."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream, self.lines, self.sum = stream, 0, hashlib.sha256()

    def write(self, line: bytes) -> None:
        self.stream.write(line)
        self.sum.update(line)
        self.lines += 1


def unpack(
    packed: Path, file: str, source: str, texts: Mapping[str, Text], folder: Path
) -> dict[str, Written]:
    """Write the `texts` of a download into `folder`, all of them or none.

    `packed` is the download, `file` its name, whose ending says what it is; `source` is what
    messages call it. Raises DataError where it is damaged, unsafe or not what the catalogue says.
    """
    with ExitStack() as stack, _damage_named(source):
        outputs = {
            name: _Output(stack.enter_context(files.open_atomic(folder / name))) for name in texts
        }
        wanted = {text.member for text in texts.values()}
        seen: list[str] = []
        for member, stream in _members(packed, file, source):
            if member in wanted and member in seen:
                raise DataError(f"{source}: expected '{member}' once, got it twice")
            seen.append(member)
            if member in wanted:
                place = f"{source}: {member}" if member else source
                sides = [(text, outputs[n]) for n, text in texts.items() if text.member == member]
                _convert(stream, place, sides)
        for member in sorted(wanted - set(seen)):
            near = did_you_mean(member, seen)
            raise DataError(f"{source}: expected '{member}', got {len(seen)} other files{near}")
        _check(source, texts, outputs)
    return {name: Written(out.lines, out.sum.hexdigest()) for name, out in outputs.items()}


def _check(source: str, texts: Mapping[str, Text], outputs: Mapping[str, _Output]) -> None:
    """Both sides of a set must be equally long, and a sum that is known must be right."""
    first: dict[str, str] = {}
    for name, out in outputs.items():
        other = first.setdefault(name.rpartition(".")[0], name)
        if out.lines != outputs[other].lines:
            raise DataError(
                f"{source}: {name}: expected {outputs[other].lines:,} lines as in {other}, "
                f"got {out.lines:,}"
            )
        known = texts[name].sha256
        if known is not None and known != out.sum.hexdigest():
            raise DataError(
                f"{source}: {name}: expected the SHA-256 {known}, got {out.sum.hexdigest()}"
            )


@contextmanager
def _damage_named(source: str) -> Iterator[None]:
    """Turn what the decompressors raise into a DataError; errors of the disk pass."""
    try:
        yield
    except (
        EOFError,
        NotImplementedError,  # a way of compressing that zipfile does not know
        lzma.LZMAError,
        tarfile.TarError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise DataError(
            f"{source}: expected a complete archive, got a damaged one: {error}"
        ) from None
    except OSError as error:
        if error.errno is not None:
            raise
        raise DataError(
            f"{source}: expected a complete archive, got a damaged one: {error}"
        ) from None


class _Capped(io.RawIOBase):
    """A stream of which no more than `left` bytes can be read."""

    def __init__(self, stream: IO[bytes], left: int, source: str) -> None:
        self.stream, self.left, self.source = stream, left, source
        self.most = left

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        block = self.stream.read(len(buffer))
        self.left -= len(block)
        if self.left < 0:
            raise _too_big(self.source, self.most)
        buffer[: len(block)] = block
        return len(block)


def _too_big(source: str, most: int) -> DataError:
    return DataError(
        f"{source}: expected at most {most:,} bytes of text, got more; nothing was written"
    )


def _members(packed: Path, file: str, source: str) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield the files of an archive, each with its place; anything else is one file, at ""."""
    most = SMALL + MOST_TIMES * packed.stat().st_size
    if file.endswith(".zip"):
        yield from _zip_members(packed, most, source)
        return
    opener: Callable[[Path, str], Any] = OPENERS.get(f".{file.rpartition('.')[2]}", open)
    if file.endswith(".tgz"):
        opener = OPENERS[".gz"]
    with opener(packed, "rb") as inner:
        capped = _Capped(inner, most, source)
        if file.endswith(TAR_ENDINGS):
            yield from _tar_members(capped, source)
        else:
            yield "", io.BufferedReader(capped)


def _tar_members(stream: io.RawIOBase, source: str) -> Iterator[tuple[str, IO[bytes]]]:
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        for info in archive:
            kind = next((word for is_it, word in _KINDS if is_it(info)), "something else")
            _refuse_unsafe(info.name, kind, source)
            if kind == "file":
                content = archive.extractfile(info)
                assert content is not None
                yield _inside(info.name), content


_KINDS: tuple[tuple[Callable[[tarfile.TarInfo], bool], str], ...] = (
    (tarfile.TarInfo.issparse, "file with holes"),  # zeros without end, out of nothing
    (tarfile.TarInfo.isreg, "file"),
    (tarfile.TarInfo.isdir, "folder"),
    (tarfile.TarInfo.issym, "symbolic link"),
    (tarfile.TarInfo.islnk, "hard link"),
    (tarfile.TarInfo.isdev, "device or pipe"),
)


def _zip_members(packed: Path, most: int, source: str) -> Iterator[tuple[str, IO[bytes]]]:
    with zipfile.ZipFile(packed) as archive:
        infos = archive.infolist()
        for info in infos:
            mode = info.external_attr >> 16
            kind = "symbolic link" if stat.S_ISLNK(mode) else "folder" if info.is_dir() else "file"
            if info.flag_bits & ENCRYPTED:
                kind = "file behind a password"
            _refuse_unsafe(info.filename, kind, source)
        if sum(info.file_size for info in infos) > most:
            raise _too_big(source, most)
        for info in infos:
            if not info.is_dir():
                with archive.open(info) as content:
                    yield _inside(info.filename), content


def _inside(name: str) -> str:
    return name.removeprefix("./")


def _refuse_unsafe(name: str, kind: str, source: str) -> None:
    """Raise DataError where a member could reach out of the folder it is unpacked into."""
    slashed = name.replace("\\", "/")
    if slashed.startswith("/") or ".." in slashed.split("/") or re.match(r"[A-Za-z]:", name):
        raise DataError(
            f"{source}: expected names inside the archive's folder, got {name!r}; "
            "nothing was written"
        )
    if kind not in ("file", "folder"):
        raise DataError(
            f"{source}: {name!r}: expected a file or a folder, got a {kind}; nothing was written"
        )


def _convert(stream: IO[bytes], place: str, sides: list[tuple[Text, _Output]]) -> None:
    """Write the sentences of one file; a line that is none for one side is left out of all."""
    for number, line in enumerate(stream, start=1):
        try:
            decoded = line.decode("utf-8")
            sentences = [READERS[text.format](decoded, text.column or 1) for text, _ in sides]
        except UnicodeDecodeError as error:
            raise DataError(
                f"{place}:{number}: expected UTF-8, got another byte at {error.start}"
            ) from None
        except ValueError as error:
            raise DataError(f"{place}:{number}: {error}") from None
        if None not in sentences:
            for (_, output), sentence in zip(sides, sentences, strict=True):
                output.write((sentence or "").encode("utf-8"))


def _plain(line: str, column: int) -> str:
    """Every line is a sentence, and stays as it is to the last byte."""
    return line


def _tsv(line: str, column: int) -> str | None:
    """A row is a pair; one that lacks a side, as between documents, is none."""
    cells = line.split("\t")
    cell = cells[column - 1].strip() if column <= len(cells) else ""
    return f"{cell}\n" if cell else None


def _sgm(line: str, column: int) -> str | None:
    """A `<seg>` is a sentence: white space made single spaces, entities kept, as in sacreBLEU."""
    if not line.lstrip().startswith("<seg"):
        return None
    segment = SEGMENT.match(line)
    if segment is None:
        raise ValueError(f"expected a <seg> that ends on its line, got {show_value(line.strip())}")
    return f"{' '.join(segment[1].split())}\n"


def _tags(line: str, column: int) -> str | None:
    """Every line is a sentence that is not a tag about the talk."""
    return None if TAGS.match(line) else f"{line.strip()}\n"


READERS: dict[Format, Callable[[str, int], str | None]] = {
    "plain": _plain,
    "tsv": _tsv,
    "sgm": _sgm,
    "tags": _tags,
}
"""How a line of each format becomes the sentence at a column, or None where it holds none."""
