"""Text sets as streams of raw records: two files side by side, TSV, JSON lines, or one language.

Reading is split in two, so that all but the cutting into lines can be done by other processes: a
`Source` yields chunks of raw lines, a `Chunk` parses itself. Lines end in LF and nothing else;
every record is one pair, blank or not, and keeps its line number.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Literal

from nmt.config.text_sets import FileGroup
from nmt.data.corpus.word_alignment import parse_pair_links
from nmt.data.text.reader import (
    Links,
    Pair,
    decode_lines,
    line_count_error,
    open_text,
    raw_lines,
    to_single_line,
)
from nmt.errors import DataError, show_value

CHUNK = 10_000
"""Records of a chunk."""

Form = Literal["plain", "mono", "tsv", "jsonl"]
Columns = tuple[int | str, int | str]


@dataclass(frozen=True)
class FileChunk:
    """Consecutive records of one part of a text set, as raw lines."""

    form: Form
    columns: Columns
    part: FileGroup
    numbers: Sequence[int]
    """Of each record, its line, counted from 1."""
    lines: tuple[list[bytes], ...]
    """For each file of the part its lines."""
    alignments: tuple[Path, Sequence[int], list[bytes]] | None = None
    """The file of word alignments, and the numbers and lines that go with these records."""
    misaligned: Mapping[int, str] = field(default_factory=dict)
    """Records in misaligned blocks: why they are dropped, by index."""

    def __len__(self) -> int:
        return len(self.numbers)

    def location(self, i: int) -> str:
        """Return where record `i` stands: the first file and the line."""
        return f"{self.part[0]}:{self.numbers[i]}"

    def select(self, chosen: Collection[int]) -> FileChunk:
        """Return these of the records, by index."""
        picked = sorted(chosen)
        links = self.alignments
        return replace(
            self,
            numbers=[self.numbers[i] for i in picked],
            lines=tuple([lines[i] for i in picked] for lines in self.lines),
            alignments=links
            and (links[0], [links[1][i] for i in picked], [links[2][i] for i in picked]),
            misaligned={
                n: self.misaligned[i] for n, i in enumerate(picked) if i in self.misaligned
            },
        )

    def pairs(self) -> list[Pair]:
        """Parse the records; DataError names the file and line of one that cannot be read."""
        texts = [
            _decoded(lines, file, self.numbers)
            for lines, file in zip(self.lines, self.part, strict=True)
        ]
        if self.form == "plain":
            return list(zip(*texts, strict=True))
        if self.form == "mono":
            return [(line, line) for line in texts[0]]
        parse = self._row if self.form == "tsv" else self._object
        return [parse(line, i) for i, line in enumerate(texts[0])]

    def links(self, pairs: list[Pair]) -> list[Links] | None:
        """Parse the word alignments of these records, where there are any."""
        if self.alignments is None:
            return None
        file, numbers, raw = self.alignments
        lines = zip(_decoded(raw, file, numbers), pairs, numbers, strict=True)
        return [parse_pair_links(line, pair, f"{file}:{number}") for line, pair, number in lines]

    def _row(self, line: str, i: int) -> Pair:
        cells = line.split("\t")
        a, b = (int(column) for column in self.columns)
        if len(cells) <= max(a, b):
            raise DataError(
                f"{self.location(i)}: expected {max(a, b) + 1} tab-separated columns, "
                f"got {len(cells)}"
            )
        return cells[a], cells[b]

    def _object(self, line: str, i: int) -> Pair:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"{self.location(i)}: expected a JSON object, got {show_value(line)}: {error}"
            ) from None
        for name in self.columns:
            if not isinstance(record, dict) or not isinstance(record.get(name), str):
                raise DataError(
                    f"{self.location(i)}: expected a JSON object with text as '{name}', "
                    f"got {show_value(record)}"
                )
            if any("\ud800" <= sign <= "\udfff" for sign in record[name]):
                raise DataError(
                    f"{self.location(i)}: '{name}': expected text, got half of a surrogate pair"
                )
        a, b = self.columns
        return to_single_line(record[a]), to_single_line(record[b])


@dataclass(frozen=True)
class TextSetReader:
    """A text set as it stands on disk."""

    file_groups: list[FileGroup]
    form: Form = "plain"
    columns: Columns = (0, 1)
    """Of TSV, by number from 0, or by name; of JSON lines the fields."""
    alignments: Path | None = None

    @property
    def files(self) -> list[Path]:
        """All files that this is read from."""
        own = [file for part in self.file_groups for file in part]
        return own if self.alignments is None else [*own, self.alignments]

    def chunks(self, size: int = CHUNK) -> Iterator[FileChunk]:
        """Yield the records of all parts, in order."""
        with ExitStack() as stack:
            links = None
            if self.alignments is not None:
                stream = stack.enter_context(open_text(self.alignments))
                links = raw_lines(stream, self.alignments)
            count = 0
            for part in self.file_groups:
                for chunk in self._part(part, size):
                    if links is not None and self.alignments is not None:
                        lines = list(islice(links, len(chunk)))
                        if len(lines) < len(chunk):
                            raise DataError(
                                f"{self.alignments}: expected a line for each pair, got only "
                                f"{count + len(lines)}"
                            )
                        numbers = range(count + 1, count + 1 + len(chunk))
                        chunk = replace(chunk, alignments=(self.alignments, numbers, lines))
                    count += len(chunk)
                    yield chunk
            extra = sum(1 for _ in links or ())
            if extra:
                raise DataError(
                    f"{self.alignments}: expected a line for each of {count} pairs, "
                    f"got {extra} more"
                )

    def pairs(self) -> Iterator[Pair]:
        """Yield the parsed records of all parts."""
        for chunk in self.chunks():
            yield from chunk.pairs()

    def sides(self) -> tuple[Iterator[bytes], Iterator[bytes]]:
        """Return the raw lines of each side, whether or not there are as many of both."""
        return self._side(0), self._side(1)

    def _side(self, side: int) -> Iterator[bytes]:
        if self.form != "plain":
            yield from (f"{pair[side]}\n".encode() for pair in self.pairs())
            return
        for part in self.file_groups:
            with open_text(part[side]) as stream:
                yield from raw_lines(stream, part[side])

    def _part(self, part: FileGroup, size: int) -> Iterator[FileChunk]:
        with ExitStack() as stack:
            streams = [raw_lines(stack.enter_context(open_text(file)), file) for file in part]
            number, columns = 1, self.columns
            if self.form == "tsv" and isinstance(columns[0], str):
                columns = self._head(part[0], next(streams[0], b""))
                number = 2
            while True:
                lines = tuple(list(islice(stream, size)) for stream in streams)
                counts = [len(its) for its in lines]
                if len(set(counts)) > 1:
                    read = number - 1
                    rest = [
                        read + n + sum(1 for _ in s) for n, s in zip(counts, streams, strict=True)
                    ]
                    raise line_count_error(part[0], rest[0], part[1], rest[1])
                if not counts[0]:
                    return
                yield FileChunk(self.form, columns, part, range(number, number + counts[0]), lines)
                number += counts[0]

    def _head(self, file: Path, line: bytes) -> tuple[int, int]:
        """Find the named columns in the head line of a TSV file."""
        names = next(decode_lines([line], str(file))).split("\t")
        missing = [str(column) for column in self.columns if column not in names]
        if missing:
            raise DataError(
                f"{file}:1: expected a column '{missing[0]}', got {show_value(', '.join(names))} "
                "(choose columns of a file without a header by number)"
            )
        return names.index(str(self.columns[0])), names.index(str(self.columns[1]))


def _decoded(raw: list[bytes], file: Path, numbers: Sequence[int]) -> list[str]:
    """Decode raw lines, all at once; DataError names the line that is not UTF-8."""
    if not raw:
        return []
    whole = b"".join(raw)
    try:
        lines = whole.decode().split("\n")
    except UnicodeDecodeError:
        return list(decode_lines(raw, str(file), numbers))  # says where, by raising
    if whole.endswith(b"\n"):
        lines.pop()
    if b"\r" in whole:
        lines = [line.removesuffix("\r") for line in lines]
    if numbers[0] == 1:
        lines[0] = lines[0].removeprefix("\ufeff")
    return lines
