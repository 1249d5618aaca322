"""Read text sets as chunks of raw pairs: two files, a table, a translation memory, one language.

Reading has two steps, so that worker processes can parse: a `TextSetReader` yields chunks of raw
lines, and a `FileChunk` parses its lines. Lines end in LF only. Every record is one pair, blank or
not, and keeps its line number. Translation memories are not lines: the reader itself parses their
XML, and their chunks contain segments.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
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
    make_line_count_error,
    open_text,
    read_raw_lines,
    to_single_line,
)
from nmt.data.translation_memory.languages import LanguageMatcher
from nmt.data.translation_memory.tmx_reader import TmxReader
from nmt.data.translation_memory.xliff_reader import XliffReader
from nmt.data.translation_memory.xml_segments import SegmentBatch, join_lines
from nmt.errors import DataError, show_value

CHUNK = 10_000
"""Number of records per chunk."""

Form = Literal["plain", "mono", "tsv", "jsonl", "tmx", "xliff"]
"""Form of a text set: "plain" has a file per side, "mono" one file for both sides."""
Columns = tuple[int | str, int | str]
"""Columns of the source and the target: indices or names; in memories, language codes."""


@dataclass(frozen=True)
class AlignmentLines:
    """Raw lines of a file of word alignments, one per record of a chunk."""

    file: Path
    numbers: Sequence[int]
    """Line numbers, counted from 1."""
    lines: list[bytes]


@dataclass(frozen=True)
class FileChunk:
    """Consecutive records of a text set, as raw lines."""

    form: Form
    columns: Columns
    files: FileGroup
    numbers: Sequence[int]
    """Line number of each record, counted from 1."""
    lines: tuple[list[bytes], ...]
    """Lines of each file; empty for translation memories."""
    segments: tuple[list[str], list[str]] | None = None
    """Source and target segments of a translation memory."""
    alignments: AlignmentLines | None = None
    misaligned: Mapping[int, str] = field(default_factory=dict)
    """Reasons to drop the records of misaligned blocks, by position in the chunk."""

    def __len__(self) -> int:
        return len(self.numbers)

    def location(self, i: int) -> str:
        """Return "file:line" of record `i`, in the first file."""
        return f"{self.files[0]}:{self.numbers[i]}"

    def select(self, chosen: Collection[int]) -> FileChunk:
        """Return the records at these positions, in order."""
        positions = sorted(chosen)
        alignments = self.alignments
        if alignments is not None:
            alignments = AlignmentLines(
                alignments.file,
                [alignments.numbers[i] for i in positions],
                [alignments.lines[i] for i in positions],
            )
        segments = self.segments
        if segments is not None:
            src, tgt = segments
            segments = [src[i] for i in positions], [tgt[i] for i in positions]
        return replace(
            self,
            numbers=[self.numbers[i] for i in positions],
            lines=tuple([lines[i] for i in positions] for lines in self.lines),
            segments=segments,
            alignments=alignments,
            misaligned={
                new: self.misaligned[old]
                for new, old in enumerate(positions)
                if old in self.misaligned
            },
        )

    def pairs(self) -> list[Pair]:
        """Parse the records; raise DataError with file and line if a record is invalid.

        Line breaks in a text become spaces.
        """
        pairs = self.raw_pairs()
        if self.form == "jsonl":
            return [(to_single_line(src), to_single_line(tgt)) for src, tgt in pairs]
        if self.segments is not None and _contains_line_break(self.segments):
            return [(join_lines(src), join_lines(tgt)) for src, tgt in pairs]
        return pairs

    def raw_pairs(self) -> list[Pair]:
        """Parse the records; texts of JSON lines and memories can contain line breaks."""
        if self.segments is not None:
            return list(zip(*self.segments, strict=True))
        texts = [
            _decode(lines, file, self.numbers)
            for lines, file in zip(self.lines, self.files, strict=True)
        ]
        if self.form == "plain":
            return list(zip(*texts, strict=True))
        if self.form == "mono":
            return [(line, line) for line in texts[0]]
        parse = self._parse_tsv if self.form == "tsv" else self._parse_json
        return [parse(line, i) for i, line in enumerate(texts[0])]

    def links(self, pairs: list[Pair]) -> list[Links] | None:
        """Parse the word alignments of these records, None if the text set has none."""
        if self.alignments is None:
            return None
        file, numbers = self.alignments.file, self.alignments.numbers
        lines = _decode(self.alignments.lines, file, numbers)
        return [
            parse_pair_links(line, pair, f"{file}:{number}")
            for line, pair, number in zip(lines, pairs, numbers, strict=True)
        ]

    def _parse_tsv(self, line: str, i: int) -> Pair:
        cells = line.split("\t")
        src, tgt = (int(column) for column in self.columns)
        if len(cells) <= max(src, tgt):
            raise DataError(
                f"{self.location(i)}: expected {max(src, tgt) + 1} tab-separated columns, "
                f"got {len(cells)}"
            )
        return cells[src], cells[tgt]

    def _parse_json(self, line: str, i: int) -> Pair:
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
            if any("\ud800" <= character <= "\udfff" for character in record[name]):
                raise DataError(
                    f"{self.location(i)}: '{name}': expected text, got half of a surrogate pair"
                )
        src, tgt = self.columns
        return record[src], record[tgt]


@dataclass(frozen=True)
class TextSetReader:
    """Reads the files of a text set."""

    file_groups: list[FileGroup]
    """Groups of files that are read together, one group after the other."""
    form: Form = "plain"
    columns: Columns = (0, 1)
    """Columns of a TSV file (indices or names), fields of JSON lines, or language codes."""
    since: str | None = None
    """Day (YYYY-MM-DD) before which the units of a TMX file are skipped."""
    alignments: Path | None = None
    """File of word alignments."""

    @property
    def layout(self) -> list[str | int]:
        """The settings that decide which pairs the files contain."""
        return [self.form, *self.columns, *([self.since] if self.since else [])]

    @property
    def files(self) -> list[Path]:
        """All files of the text set."""
        files = [file for group in self.file_groups for file in group]
        return files if self.alignments is None else [*files, self.alignments]

    def chunks(self, size: int = CHUNK) -> Iterator[FileChunk]:
        """Yield all records, in order; raise DataError if sides have different line counts."""
        if self.alignments is None:
            for group in self.file_groups:
                yield from self._read_group(group, size)
        else:
            yield from self._aligned_chunks(self.alignments, size)

    def _aligned_chunks(self, file: Path, size: int) -> Iterator[FileChunk]:
        """Yield all records with the lines of the file of word alignments."""
        count = 0
        with open_text(file) as stream:
            alignments = read_raw_lines(stream, file)
            for group in self.file_groups:
                for chunk in self._read_group(group, size):
                    lines = list(islice(alignments, len(chunk)))
                    if len(lines) < len(chunk):
                        raise DataError(
                            f"{file}: expected a line for each pair, got only {count + len(lines)}"
                        )
                    numbers = range(count + 1, count + 1 + len(chunk))
                    count += len(chunk)
                    yield replace(chunk, alignments=AlignmentLines(file, numbers, lines))
            extra = sum(1 for _ in alignments)
            if extra:
                raise DataError(
                    f"{file}: expected a line for each of {count} pairs, got {extra} more"
                )

    def pairs(self) -> Iterator[Pair]:
        """Yield all parsed pairs."""
        for chunk in self.chunks():
            yield from chunk.pairs()

    def sides(self) -> tuple[Iterator[bytes], Iterator[bytes]]:
        """Return the raw lines of each side, which may differ in number."""
        return self._read_side(0), self._read_side(1)

    def _read_side(self, side: int) -> Iterator[bytes]:
        if self.form != "plain":
            yield from (f"{pair[side]}\n".encode() for pair in self.pairs())
            return
        for group in self.file_groups:
            with open_text(group[side]) as stream:
                yield from read_raw_lines(stream, group[side])

    def _read_group(self, group: FileGroup, size: int) -> Iterator[FileChunk]:
        """Yield the records of files that are read together."""
        if self.form in ("tmx", "xliff"):
            yield from self._read_memory(group, size)
            return
        with ExitStack() as stack:
            streams = [read_raw_lines(stack.enter_context(open_text(file)), file) for file in group]
            number, columns = 1, self.columns
            if self.form == "tsv" and isinstance(columns[0], str):
                columns = self._find_columns(group[0], next(streams[0], b""))
                number = 2
            while True:
                lines = tuple(list(islice(stream, size)) for stream in streams)
                counts = [len(side_lines) for side_lines in lines]
                if len(set(counts)) > 1:
                    totals = [
                        number - 1 + count + sum(1 for _ in stream)
                        for count, stream in zip(counts, streams, strict=True)
                    ]
                    raise make_line_count_error(group[0], totals[0], group[1], totals[1])
                if not counts[0]:
                    return
                numbers = range(number, number + counts[0])
                yield FileChunk(self.form, columns, group, numbers, lines)
                number += counts[0]

    def _read_memory(self, group: FileGroup, size: int) -> Iterator[FileChunk]:
        """Yield the records of a translation memory."""
        languages = LanguageMatcher(*map(str, self.columns))
        if self.form == "tmx":
            batches = TmxReader(group[0], languages, self.since).batches()
        else:
            batches = XliffReader(group[0], languages).batches()
        for numbers, src, tgt in _regroup(batches, size):
            yield FileChunk(self.form, self.columns, group, numbers, (), segments=(src, tgt))

    def _find_columns(self, file: Path, header: bytes) -> tuple[int, int]:
        """Return the indices of the named columns in the header of a TSV file."""
        names = next(decode_lines([header], str(file))).split("\t")
        missing = [str(column) for column in self.columns if column not in names]
        if missing:
            raise DataError(
                f"{file}:1: expected a column '{missing[0]}', got {show_value(', '.join(names))} "
                "(choose columns of a file without a header by number)"
            )
        src, tgt = self.columns
        return names.index(str(src)), names.index(str(tgt))


def _contains_line_break(segments: Iterable[list[str]]) -> bool:
    """Return whether a segment contains a line break."""
    texts = ["".join(side) for side in segments]
    return any("\n" in text or "\r" in text for text in texts)


def _regroup(batches: Iterable[SegmentBatch], size: int) -> Iterator[SegmentBatch]:
    """Yield batches of `size` pairs; the last one may be smaller."""
    numbers, src, tgt = SegmentBatch([], [], [])
    for batch in batches:
        numbers += batch.numbers
        src += batch.src
        tgt += batch.tgt
        while len(numbers) >= size:
            yield SegmentBatch(numbers[:size], src[:size], tgt[:size])
            del numbers[:size], src[:size], tgt[:size]
    if numbers:
        yield SegmentBatch(numbers, src, tgt)


def _decode(raw: list[bytes], file: Path, numbers: Sequence[int]) -> list[str]:
    """Decode raw lines; raise DataError with the number of a line that is not UTF-8."""
    if not raw:
        return []
    content = b"".join(raw)  # faster than to decode line by line
    try:
        lines = content.decode().split("\n")
    except UnicodeDecodeError:
        return list(decode_lines(raw, str(file), numbers))  # raises with the line number
    if content.endswith(b"\n"):
        lines.pop()
    if b"\r" in content:
        lines = [line.removesuffix("\r") for line in lines]
    if numbers[0] == 1:
        lines[0] = lines[0].removeprefix("\ufeff")
    return lines
