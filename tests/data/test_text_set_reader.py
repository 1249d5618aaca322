"""Reading of text sets of every form in chunks. Errors name the file and the line."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from nmt.config.sections.data import DataConfig, TextSet
from nmt.config.text_sets import FileGroup, text_set_files
from nmt.data.corpus.text_set_reader import FileChunk, TextSetReader
from nmt.data.corpus.validation_split import hold_out_pairs
from nmt.data.text.reader import Pair
from nmt.errors import DataError

Layout = Literal["plain", "mono", "tsv", "named tsv", "jsonl"]
LAYOUTS: tuple[Layout, ...] = ("plain", "mono", "tsv", "named tsv", "jsonl")
COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".bz2": bz2.compress,
    ".zst": lambda content: zstandard.ZstdCompressor().compress(content),
}
PAIRS: list[Pair] = [
    ("one", "un"),
    ("", "empty source"),
    ("a\u2028b\x85c\x0bd\x0ce\x00f\x1cg\u2029h", "🎉 \ufeff"),
    (" edge  blanks ", "\u3000"),
    ("a\rb", "\r\rc"),
    ('"quoted" \\ {"src": 1}', "é e\u0301"),
    ("", ""),
    ("last but one", "avant-dernier"),
    ("\ufefflast", "dernier"),
]


def as_bytes(layout: Layout, pairs: list[Pair], end: str = "\n", last: bool = True) -> list[bytes]:
    """Return the content of each file of a group; `last` adds a line end to the last line."""
    rows: list[list[str]]
    if layout == "plain":
        rows = [[src for src, _ in pairs], [tgt for _, tgt in pairs]]
    elif layout == "mono":
        rows = [[tgt for _, tgt in pairs]]
    elif layout == "tsv":
        rows = [[f"id\t{tgt}\t{src}" for src, tgt in pairs]]
    elif layout == "named tsv":
        rows = [["fr\tscore\ten", *(f"{tgt}\t0.5\t{src}" for src, tgt in pairs)]]
    else:
        rows = [[json.dumps({"fr": tgt, "n": 1, "en": src}) for src, tgt in pairs]]
    return [(end.join(lines) + end * (last and bool(lines))).encode() for lines in rows]


def write(folder: Path, contents: list[bytes], name: str = "a", ending: str = "") -> FileGroup:
    files = [folder / f"{name}.{i}.txt{ending}" for i in range(len(contents))]
    for file, content in zip(files, contents, strict=True):
        file.write_bytes(COMPRESS[ending](content))
    return tuple(files)


def make_reader(layout: Layout, *groups: FileGroup, **options: Any) -> TextSetReader:
    kinds: dict[Layout, dict[str, Any]] = {
        "plain": {"form": "plain"},
        "mono": {"form": "mono"},
        "tsv": {"form": "tsv", "columns": (2, 1)},
        "named tsv": {"form": "tsv", "columns": ("en", "fr")},
        "jsonl": {"form": "jsonl", "columns": ("en", "fr")},
    }
    return TextSetReader(list(groups), **kinds[layout], **options)


def expected_pairs(layout: Layout, pairs: list[Pair]) -> list[Pair]:
    """Return the pairs as a layout represents them: one language, or no CR in a JSON text."""
    if layout == "mono":
        return [(tgt, tgt) for _, tgt in pairs]
    if layout == "jsonl":
        return [(src.replace("\r", " "), tgt.replace("\r", " ")) for src, tgt in pairs]
    return pairs


def read_error(reader: TextSetReader, size: int = 2) -> str:
    with pytest.raises(DataError) as caught:
        [chunk.pairs() for chunk in reader.chunks(size)]
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("ending", COMPRESS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_text_set_reader_any_layout_returns_pairs(
    tmp_path: Path, layout: Layout, ending: str
) -> None:
    reader = make_reader(layout, write(tmp_path, as_bytes(layout, PAIRS), ending=ending))
    assert list(reader.pairs()) == expected_pairs(layout, PAIRS)


@pytest.mark.parametrize("size", [1, 2, 4, 9, 100])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_text_set_reader_chunks_of_any_size_have_equal_pairs(
    tmp_path: Path, layout: Layout, size: int
) -> None:
    first, second = (
        write(tmp_path, as_bytes(layout, PAIRS[:n]), name) for n, name in ((9, "a"), (5, "b"))
    )
    chunks = list(make_reader(layout, first, second).chunks(size))
    assert [pair for chunk in chunks for pair in chunk.pairs()] == expected_pairs(
        layout, [*PAIRS, *PAIRS[:5]]
    )
    assert [len(chunk) for chunk in chunks] == [len(chunk.pairs()) for chunk in chunks]
    assert max(map(len, chunks)) == min(size, 9)
    assert {chunk.files for chunk in chunks} == {first, second}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_chunk_location_names_file_and_line(tmp_path: Path, layout: Layout) -> None:
    groups = [
        write(tmp_path, as_bytes(layout, PAIRS[:n]), name) for n, name in ((3, "a"), (2, "b"))
    ]
    chunks = list(make_reader(layout, *groups).chunks(2))
    first = 2 if layout == "named tsv" else 1
    numbers = [n for chunk in chunks for n in chunk.numbers]
    assert numbers == [first, first + 1, first + 2, first, first + 1]
    locations = [chunk.location(i) for chunk in chunks for i in range(len(chunk))]
    assert locations == [
        f"{group[0]}:{n}"
        for group, n in zip([groups[0]] * 3 + [groups[1]] * 2, numbers, strict=True)
    ]


@pytest.mark.parametrize("last", [True, False], ids=["final newline", "no final newline"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"], ids=["plain", "bom"])
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_text_set_reader_bom_and_crlf_are_ignored(
    tmp_path: Path, layout: Layout, end: str, bom: bytes, last: bool
) -> None:
    contents = [bom + content for content in as_bytes(layout, PAIRS, end, last)]
    reader = make_reader(layout, write(tmp_path, contents))
    for size in (1, 4, 100):
        pairs = [pair for chunk in reader.chunks(size) for pair in chunk.pairs()]
        assert pairs == expected_pairs(layout, PAIRS)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_text_set_reader_empty_file_has_no_pairs(tmp_path: Path, layout: Layout) -> None:
    reader = make_reader(layout, write(tmp_path, as_bytes(layout, [])))
    assert list(reader.chunks()) == []
    assert list(reader.pairs()) == []


def test_text_set_reader_tsv_column_may_be_both_sides(tmp_path: Path) -> None:
    part = write(tmp_path, [b"a\tb\nc\td\te\n"])
    assert list(TextSetReader([part], "tsv", (1, 1)).pairs()) == [("b", "b"), ("d", "d")]


def test_text_set_reader_jsonl_line_end_becomes_space(tmp_path: Path) -> None:
    part = write(tmp_path, [b'{"en": "a\\nb\\r\\nc", "fr": "d\\u2028e"}\n'])
    assert list(make_reader("jsonl", part).pairs()) == [("a b  c", "d\u2028e")]


def test_text_set_reader_wildcard_files_are_read_in_order(tmp_path: Path) -> None:
    for name, ending, lines in [("p2", "", "c\n"), ("p1", ".gz", "a\nb"), ("p3", ".zst", "d\n")]:
        for code in ("en", "fr"):
            content = lines.encode() if code == "en" else lines.upper().encode()
            (tmp_path / f"{name}.{code}{ending}").write_bytes(COMPRESS[ending](content))
    text_set = TextSet(prefix=tmp_path / "p*")
    data = DataConfig(src="en", tgt="fr", train=[tmp_path / "p"], valid=1)
    reader = TextSetReader(text_set_files(text_set, data))
    assert list(reader.pairs()) == [(c, c.upper()) for c in "abcd"]
    assert [file.name for file in reader.files] == [
        *("p1.en.gz", "p1.fr.gz", "p2.en", "p2.fr", "p3.en.zst", "p3.fr.zst")
    ]


# Errors


@pytest.mark.parametrize(("src", "tgt"), [(3, 2), (2, 3), (0, 4), (4, 0), (1, 5), (5, 4), (7, 2)])
def test_text_set_reader_unequal_sides_report_both_counts(
    tmp_path: Path, src: int, tgt: int
) -> None:
    valid_group = write(tmp_path, [b"a\n" * 9, b"b\n" * 9], "whole")
    part = write(tmp_path, [b"a\n" * src, b"b\n" * tgt])
    for size in (1, 2, 100):
        assert read_error(make_reader("plain", valid_group, part), size) == (
            "expected the same number of lines on both sides, "
            f"got {src} in {part[0]} and {tgt} in {part[1]}"
        )


@pytest.mark.parametrize("size", [1, 2, 100])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_text_set_reader_invalid_utf8_reports_line_and_byte(
    tmp_path: Path, layout: Layout, size: int
) -> None:
    valid_group = write(tmp_path, as_bytes(layout, PAIRS), "whole")
    contents = as_bytes(layout, [("a", "b"), ("c", "d"), ("e", "f?"), ("g", "h")])
    position = contents[-1].index(b"f?") + 1
    contents[-1] = contents[-1].replace(b"f?", b"f\xff")
    part = write(tmp_path, contents)
    line = contents[-1][:position].count(b"\n") + 1
    byte = position + 1 - (contents[-1].rfind(b"\n", 0, position) + 1)
    expected = f"{part[-1]}:{line}: expected UTF-8, got 0xff as byte {byte} of the line"
    assert read_error(make_reader(layout, valid_group, part), size) == expected
    [chunk] = make_reader(layout, part).chunks()
    with pytest.raises(DataError) as caught:
        chunk.select([0, 2]).pairs()
    assert str(caught.value) == expected
    assert len(chunk.select([0, 1, 3]).pairs()) == 3


def test_text_set_reader_tsv_missing_column_reports_line(tmp_path: Path) -> None:
    part = write(tmp_path, [b"1\tb\ta\n2\td\tc\n3\tf\n4\th\tg\n"])
    assert read_error(make_reader("tsv", part)) == (
        f"{part[0]}:3: expected 3 tab-separated columns, got 2"
    )
    part = write(tmp_path, [b"fr\tscore\ten\n1\t2\t3\n\n"])
    assert read_error(make_reader("named tsv", part)) == (
        f"{part[0]}:3: expected 3 tab-separated columns, got 1"
    )


@pytest.mark.parametrize("head", [b"", b"de\tscore\tfr\n1\t2\t3\n", b"\xef\xbb\xbfde\tfr\r\n"])
def test_text_set_reader_tsv_header_without_column_is_shown(tmp_path: Path, head: bytes) -> None:
    part = write(tmp_path, [head])
    message = read_error(make_reader("named tsv", part))
    assert message.startswith(f"{part[0]}:1: expected a column 'en', got ")
    names = head.decode("utf-8-sig").split("\n")[0].strip().split("\t")
    assert f"got '{', '.join(names)}' (choose columns" in message


@pytest.mark.parametrize(
    "line",
    [
        "",
        "no json",
        '{"en": "a", "fr": "b"',
        '{"en": "a"}',
        '{"en": "a", "fr": null}',
        '{"en": 1, "fr": "b"}',
        '{"en": ["a"], "fr": "b"}',
        '["a", "b"]',
        '"en fr"',
        "null",
        "1",
        '{"en": "a", "fr": "b"} {}',
    ],
)
def test_text_set_reader_jsonl_invalid_record_reports_line(tmp_path: Path, line: str) -> None:
    good = '{"en": "a", "fr": "b"}'
    part = write(tmp_path, [f"{good}\n{good}\n{line}\n{good}\n".encode()])
    assert read_error(make_reader("jsonl", part)).startswith(f"{part[0]}:3: expected a JSON object")


def test_text_set_reader_jsonl_missing_field_shows_record(tmp_path: Path) -> None:
    part = write(tmp_path, [b'{"en": "a", "de": "b"}\n'])
    message = read_error(make_reader("jsonl", part))
    assert message.endswith(
        """expected a JSON object with text as 'fr', got {"en": "a", "de": "b"}"""
    )


def test_text_set_reader_jsonl_surrogate_is_refused(tmp_path: Path) -> None:
    """JSON can contain half of a surrogate pair, which UTF-8 cannot represent."""
    part = write(tmp_path, [b'{"en": "a", "fr": "b"}\n{"en": "\\ud83c", "fr": "b"}\n'])
    assert read_error(make_reader("jsonl", part)).startswith(f"{part[0]}:2: ")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_text_set_reader_missing_file_is_named(tmp_path: Path, layout: Layout) -> None:
    part = write(tmp_path, as_bytes(layout, PAIRS))
    part[-1].unlink()
    assert read_error(make_reader(layout, part)) == f"{part[-1]}: no such file"


# Selected records


@pytest.fixture(scope="module")
def chunks(tmp_path_factory: pytest.TempPathFactory) -> list[FileChunk]:
    """Return one chunk of each layout, with alignments."""
    chunks = []
    for layout in LAYOUTS:
        folder = tmp_path_factory.mktemp("only")
        links = folder / "links"
        links.write_bytes(b"".join(b"%d-0\n" % i for i in range(len(PAIRS))))
        part = write(folder, as_bytes(layout, PAIRS, last=False))
        [chunk] = make_reader(layout, part, alignments=links).chunks()
        chunks.append(chunk)
    return chunks


@given(positions=st.sets(st.integers(0, len(PAIRS) - 1)))
@settings(max_examples=60, derandomize=True, deadline=None)
def test_chunk_select_returns_chosen_records(chunks: list[FileChunk], positions: set[int]) -> None:
    for chunk in chunks:
        selection = chunk.select(positions)
        assert len(selection) == len(positions)
        assert [selection.location(i) for i in range(len(selection))] == [
            chunk.location(i) for i in sorted(positions)
        ]
        assert selection.pairs() == [chunk.pairs()[i] for i in sorted(positions)]
        assert selection.alignments is not None
        assert selection.alignments.lines == [b"%d-0\n" % i for i in sorted(positions)]


# Alignments

ALIGNED_PAIRS: list[Pair] = [("a b", "c d"), ("e", "f g"), ("h i", "j")]


def make_aligned_reader(tmp_path: Path, layout: Layout, lines: str) -> TextSetReader:
    """Return a reader of two file groups with three pairs each, and one file of links."""
    links = tmp_path / "links"
    links.write_text(lines)
    groups = [write(tmp_path, as_bytes(layout, ALIGNED_PAIRS), name) for name in "ab"]
    return make_reader(layout, *groups, alignments=links)


@pytest.mark.parametrize("size", [1, 2, 100])
@pytest.mark.parametrize("layout", ["plain", "tsv", "named tsv", "jsonl"])
def test_chunk_links_continue_through_all_files(tmp_path: Path, layout: Layout, size: int) -> None:
    reader = make_aligned_reader(tmp_path, layout, "0-0 1-1\n0?1\n\n1-0\n0-0 0-1\n0-0\n")
    assert reader.files[-1] == tmp_path / "links"
    links = [links for chunk in reader.chunks(size) for links in chunk.links(chunk.pairs()) or ()]
    assert links == [{(0, 0), (1, 1)}, {(0, 1)}, set(), {(1, 0)}, {(0, 0), (0, 1)}, {(0, 0)}]


def test_chunk_links_without_alignments_are_none(tmp_path: Path) -> None:
    [chunk] = make_reader("plain", write(tmp_path, as_bytes("plain", ALIGNED_PAIRS))).chunks()
    assert chunk.links(chunk.pairs()) is None


@pytest.mark.parametrize("size", [1, 2, 100])
@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (0, "expected a line for each pair, got only 0"),
        (4, "expected a line for each pair, got only 4"),
        (5, "expected a line for each pair, got only 5"),
        (7, "expected a line for each of 6 pairs, got 1 more"),
        (9, "expected a line for each of 6 pairs, got 3 more"),
    ],
)
def test_text_set_reader_alignment_count_must_match_pairs(
    tmp_path: Path, lines: int, message: str, size: int
) -> None:
    reader = make_aligned_reader(tmp_path, "plain", "0-0\n" * lines)
    assert read_error(reader, size).endswith(message.removeprefix("has a line for each pair, "))
    assert read_error(reader, size).startswith(f"{reader.alignments}: expected a line for each ")


@pytest.mark.parametrize("layout", ["plain", "named tsv"])
@pytest.mark.parametrize("bad", ["nonsense", "0-5", "\udcff"], ids=["word", "far", "bytes"])
@pytest.mark.parametrize("line", [1, 3, 5])
def test_chunk_links_invalid_link_reports_its_line(
    tmp_path: Path, layout: Layout, bad: str, line: int
) -> None:
    lines = ["0-0"] * 6
    lines[line - 1] = bad
    reader = make_aligned_reader(tmp_path, layout, "")
    content = "".join(f"{text}\n" for text in lines).encode("utf-8", "surrogateescape")
    (tmp_path / "links").write_bytes(content)
    for size in (1, 100):
        with pytest.raises(DataError) as caught:
            [chunk.links(chunk.pairs()) for chunk in reader.chunks(size)]
        assert str(caught.value).startswith(f"{tmp_path / 'links'}:{line}: ")


# Sides


@pytest.mark.parametrize("layout", ["plain", "tsv", "named tsv", "jsonl"])
def test_text_set_reader_sides_equal_pairs(tmp_path: Path, layout: Layout) -> None:
    groups = [write(tmp_path, as_bytes(layout, ALIGNED_PAIRS), name) for name in "ab"]
    src, tgt = make_reader(layout, *groups).sides()
    assert list(src) == [f"{pair[0]}\n".encode() for pair in ALIGNED_PAIRS * 2]
    assert list(tgt) == [f"{pair[1]}\n".encode() for pair in ALIGNED_PAIRS * 2]


def test_text_set_reader_sides_may_have_unequal_lengths(tmp_path: Path) -> None:
    src, tgt = make_reader("plain", write(tmp_path, [b"a\nb\n", b"c\n\xff\nd"])).sides()
    assert list(src) == [b"a\n", b"b\n"]
    assert list(tgt) == [b"c\n", b"\xff\n", b"d"]


# Held-out pairs


def make_readers(tmp_path: Path) -> list[TextSetReader]:
    plain = [(f"s{i}", f"t{i % 25}") for i in range(30)]  # five targets occur twice
    table = [("s0" if i == 3 else f"u{i}", "" if i == 4 else f"v{i}") for i in range(20)]
    return [
        make_reader(
            "plain",
            *(
                write(tmp_path, as_bytes("plain", pairs), name)
                for pairs, name in ((plain[:17], "a"), (plain[17:], "b"))
            ),
        ),
        make_reader("named tsv", write(tmp_path, as_bytes("named tsv", table), "c")),
    ]


@pytest.mark.parametrize("size", [1, 10, 38])
def test_hold_out_pairs_partitions_all_layouts(tmp_path: Path, size: int) -> None:
    readers = make_readers(tmp_path)
    splits = hold_out_pairs(readers, size, seed=4)
    held_out, training = (
        [
            (chunk.location(i), pair)
            for split in splits
            for chunk in split.chunks(is_held_out)
            for i, pair in enumerate(chunk.pairs())
        ]
        for is_held_out in (True, False)
    )
    all_pairs = [
        (chunk.location(i), pair)
        for reader in readers
        for chunk in reader.chunks()
        for i, pair in enumerate(chunk.pairs())
    ]
    assert len(held_out) == size
    assert [pair for pair in all_pairs if pair in set(training)] == training
    assert [pair for pair in all_pairs if pair in set(held_out)] == held_out
    assert sorted([*held_out, *training]) == sorted(all_pairs)
    for side in (0, 1):
        assert not {pair[side] for _, pair in held_out} & {pair[side] for _, pair in training}
    assert all(text for _, pair in held_out for text in pair)
