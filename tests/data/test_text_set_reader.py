"""Text sets of every form, read in chunks: the same pairs, and errors that say where."""

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
    """Return the content of each file of a part; `last` puts an end behind the last line too."""
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


def source(layout: Layout, *parts: FileGroup, **options: Any) -> TextSetReader:
    kinds: dict[Layout, dict[str, Any]] = {
        "plain": {"form": "plain"},
        "mono": {"form": "mono"},
        "tsv": {"form": "tsv", "columns": (2, 1)},
        "named tsv": {"form": "tsv", "columns": ("en", "fr")},
        "jsonl": {"form": "jsonl", "columns": ("en", "fr")},
    }
    return TextSetReader(list(parts), **kinds[layout], **options)


def read_as(layout: Layout, pairs: list[Pair]) -> list[Pair]:
    """Return what a layout makes of pairs: one language alone, or no CR in a JSON text."""
    if layout == "mono":
        return [(tgt, tgt) for _, tgt in pairs]
    if layout == "jsonl":
        return [(src.replace("\r", " "), tgt.replace("\r", " ")) for src, tgt in pairs]
    return pairs


def error(source: TextSetReader, size: int = 2) -> str:
    with pytest.raises(DataError) as caught:
        [chunk.pairs() for chunk in source.chunks(size)]
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("ending", COMPRESS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_pairs_are_read_in_any_layout(tmp_path: Path, layout: Layout, ending: str) -> None:
    its = source(layout, write(tmp_path, as_bytes(layout, PAIRS), ending=ending))
    assert list(its.pairs()) == read_as(layout, PAIRS)


@pytest.mark.parametrize("size", [1, 2, 4, 9, 100])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_chunks_of_any_size_have_equal_pairs(tmp_path: Path, layout: Layout, size: int) -> None:
    one, two = (
        write(tmp_path, as_bytes(layout, PAIRS[:n]), name) for n, name in ((9, "a"), (5, "b"))
    )
    chunks = list(source(layout, one, two).chunks(size))
    assert [pair for its in chunks for pair in its.pairs()] == read_as(layout, [*PAIRS, *PAIRS[:5]])
    assert [len(its) for its in chunks] == [len(its.pairs()) for its in chunks]
    assert max(map(len, chunks)) == min(size, 9)
    assert {its.files for its in chunks} == {one, two}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_chunk_location_names_file_and_line(tmp_path: Path, layout: Layout) -> None:
    parts = [write(tmp_path, as_bytes(layout, PAIRS[:n]), name) for n, name in ((3, "a"), (2, "b"))]
    chunks = list(source(layout, *parts).chunks(2))
    first = 2 if layout == "named tsv" else 1
    numbers = [n for its in chunks for n in its.numbers]
    assert numbers == [first, first + 1, first + 2, first, first + 1]
    places = [its.location(i) for its in chunks for i in range(len(its))]
    assert places == [
        f"{part[0]}:{n}" for part, n in zip([parts[0]] * 3 + [parts[1]] * 2, numbers, strict=True)
    ]


@pytest.mark.parametrize("last", [True, False], ids=["final newline", "no final newline"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"], ids=["plain", "bom"])
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_pairs_ignore_bom_and_crlf(
    tmp_path: Path, layout: Layout, end: str, bom: bytes, last: bool
) -> None:
    contents = [bom + content for content in as_bytes(layout, PAIRS, end, last)]
    its = source(layout, write(tmp_path, contents))
    for size in (1, 4, 100):
        found = [pair for chunk in its.chunks(size) for pair in chunk.pairs()]
        assert found == read_as(layout, PAIRS)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_pairs_of_empty_file_are_empty(tmp_path: Path, layout: Layout) -> None:
    its = source(layout, write(tmp_path, as_bytes(layout, [])))
    assert list(its.chunks()) == []
    assert list(its.pairs()) == []


def test_tsv_column_may_be_both_sides(tmp_path: Path) -> None:
    part = write(tmp_path, [b"a\tb\nc\td\te\n"])
    assert list(TextSetReader([part], "tsv", (1, 1)).pairs()) == [("b", "b"), ("d", "d")]


def test_jsonl_line_end_becomes_space(tmp_path: Path) -> None:
    part = write(tmp_path, [b'{"en": "a\\nb\\r\\nc", "fr": "d\\u2028e"}\n'])
    assert list(source("jsonl", part).pairs()) == [("a b  c", "d\u2028e")]


def test_globbed_files_are_read_in_order(tmp_path: Path) -> None:
    for name, ending, lines in [("p2", "", "c\n"), ("p1", ".gz", "a\nb"), ("p3", ".zst", "d\n")]:
        for code in ("en", "fr"):
            content = lines.encode() if code == "en" else lines.upper().encode()
            (tmp_path / f"{name}.{code}{ending}").write_bytes(COMPRESS[ending](content))
    one = TextSet(prefix=tmp_path / "p*")
    data = DataConfig(src="en", tgt="fr", train=[tmp_path / "p"], valid=1)
    its = TextSetReader(text_set_files(one, data))
    assert list(its.pairs()) == [(c, c.upper()) for c in "abcd"]
    assert [file.name for file in its.files] == [
        *("p1.en.gz", "p1.fr.gz", "p2.en", "p2.fr", "p3.en.zst", "p3.fr.zst")
    ]


# Errors


@pytest.mark.parametrize(("src", "tgt"), [(3, 2), (2, 3), (0, 4), (4, 0), (1, 5), (5, 4), (7, 2)])
def test_unequal_sides_report_both_counts(tmp_path: Path, src: int, tgt: int) -> None:
    whole = write(tmp_path, [b"a\n" * 9, b"b\n" * 9], "whole")
    part = write(tmp_path, [b"a\n" * src, b"b\n" * tgt])
    for size in (1, 2, 100):
        assert error(source("plain", whole, part), size) == (
            "expected the same number of lines on both sides, "
            f"got {src} in {part[0]} and {tgt} in {part[1]}"
        )


@pytest.mark.parametrize("size", [1, 2, 100])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_invalid_utf8_reports_file_line_and_byte(tmp_path: Path, layout: Layout, size: int) -> None:
    whole = write(tmp_path, as_bytes(layout, PAIRS), "whole")
    contents = as_bytes(layout, [("a", "b"), ("c", "d"), ("e", "f?"), ("g", "h")])
    place = contents[-1].index(b"f?") + 1
    contents[-1] = contents[-1].replace(b"f?", b"f\xff")
    part = write(tmp_path, contents)
    line = contents[-1][:place].count(b"\n") + 1
    byte = place + 1 - (contents[-1].rfind(b"\n", 0, place) + 1)
    expected = f"{part[-1]}:{line}: expected UTF-8, got 0xff as byte {byte} of the line"
    assert error(source(layout, whole, part), size) == expected
    [chunk] = source(layout, part).chunks()
    with pytest.raises(DataError) as caught:
        chunk.select([0, 2]).pairs()
    assert str(caught.value) == expected
    assert len(chunk.select([0, 1, 3]).pairs()) == 3


def test_tsv_missing_column_reports_line(tmp_path: Path) -> None:
    part = write(tmp_path, [b"1\tb\ta\n2\td\tc\n3\tf\n4\th\tg\n"])
    assert error(source("tsv", part)) == (f"{part[0]}:3: expected 3 tab-separated columns, got 2")
    part = write(tmp_path, [b"fr\tscore\ten\n1\t2\t3\n\n"])
    assert error(source("named tsv", part)) == (
        f"{part[0]}:3: expected 3 tab-separated columns, got 1"
    )


@pytest.mark.parametrize("head", [b"", b"de\tscore\tfr\n1\t2\t3\n", b"\xef\xbb\xbfde\tfr\r\n"])
def test_tsv_header_without_column_is_shown(tmp_path: Path, head: bytes) -> None:
    part = write(tmp_path, [head])
    message = error(source("named tsv", part))
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
def test_jsonl_invalid_record_reports_line(tmp_path: Path, line: str) -> None:
    good = '{"en": "a", "fr": "b"}'
    part = write(tmp_path, [f"{good}\n{good}\n{line}\n{good}\n".encode()])
    assert error(source("jsonl", part)).startswith(f"{part[0]}:3: expected a JSON object")


def test_jsonl_missing_field_shows_record(tmp_path: Path) -> None:
    part = write(tmp_path, [b'{"en": "a", "de": "b"}\n'])
    message = error(source("jsonl", part))
    assert message.endswith(
        """expected a JSON object with text as 'fr', got {"en": "a", "de": "b"}"""
    )


def test_jsonl_surrogate_is_refused(tmp_path: Path) -> None:
    """JSON can spell one half of a pair of surrogates, which no file can hold."""
    part = write(tmp_path, [b'{"en": "a", "fr": "b"}\n{"en": "\\ud83c", "fr": "b"}\n'])
    assert error(source("jsonl", part)).startswith(f"{part[0]}:2: ")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_missing_file_is_named(tmp_path: Path, layout: Layout) -> None:
    part = write(tmp_path, as_bytes(layout, PAIRS))
    part[-1].unlink()
    assert error(source(layout, part)) == f"{part[-1]}: no such file"


# Chosen records


@pytest.fixture(scope="module")
def chunks(tmp_path_factory: pytest.TempPathFactory) -> list[FileChunk]:
    """One chunk of each layout, with alignments."""
    found = []
    for layout in LAYOUTS:
        folder = tmp_path_factory.mktemp("only")
        links = folder / "links"
        links.write_bytes(b"".join(b"%d-0\n" % i for i in range(len(PAIRS))))
        part = write(folder, as_bytes(layout, PAIRS, last=False))
        [chunk] = source(layout, part, alignments=links).chunks()
        found.append(chunk)
    return found


@given(chosen=st.sets(st.integers(0, len(PAIRS) - 1)))
@settings(max_examples=60, derandomize=True, deadline=None)
def test_chunk_select_returns_chosen_records(chunks: list[FileChunk], chosen: set[int]) -> None:
    for chunk in chunks:
        some = chunk.select(chosen)
        assert len(some) == len(chosen)
        assert [some.location(i) for i in range(len(some))] == [
            chunk.location(i) for i in sorted(chosen)
        ]
        assert some.pairs() == [chunk.pairs()[i] for i in sorted(chosen)]
        assert some.alignments is not None
        assert some.alignments.lines == [b"%d-0\n" % i for i in sorted(chosen)]


# Alignments

TWO: list[Pair] = [("a b", "c d"), ("e", "f g"), ("h i", "j")]


def aligned(tmp_path: Path, layout: Layout, lines: str) -> TextSetReader:
    """Two parts of three pairs each, and one file of links."""
    links = tmp_path / "links"
    links.write_text(lines)
    parts = [write(tmp_path, as_bytes(layout, TWO), name) for name in "ab"]
    return source(layout, *parts, alignments=links)


@pytest.mark.parametrize("size", [1, 2, 100])
@pytest.mark.parametrize("layout", ["plain", "tsv", "named tsv", "jsonl"])
def test_links_continue_through_all_files(tmp_path: Path, layout: Layout, size: int) -> None:
    its = aligned(tmp_path, layout, "0-0 1-1\n0?1\n\n1-0\n0-0 0-1\n0-0\n")
    assert its.files[-1] == tmp_path / "links"
    found = [links for chunk in its.chunks(size) for links in chunk.links(chunk.pairs()) or ()]
    assert found == [{(0, 0), (1, 1)}, {(0, 1)}, set(), {(1, 0)}, {(0, 0), (0, 1)}, {(0, 0)}]


def test_links_without_alignments_are_none(tmp_path: Path) -> None:
    [chunk] = source("plain", write(tmp_path, as_bytes("plain", TWO))).chunks()
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
def test_alignment_count_must_match_pairs(
    tmp_path: Path, lines: int, message: str, size: int
) -> None:
    its = aligned(tmp_path, "plain", "0-0\n" * lines)
    assert error(its, size).endswith(message.removeprefix("has a line for each pair, "))
    assert error(its, size).startswith(f"{its.alignments}: expected a line for each ")


@pytest.mark.parametrize("layout", ["plain", "named tsv"])
@pytest.mark.parametrize("bad", ["nonsense", "0-5", "\udcff"], ids=["word", "far", "bytes"])
@pytest.mark.parametrize("line", [1, 3, 5])
def test_invalid_links_report_their_line(tmp_path: Path, layout: Layout, bad: str, line: int) -> None:
    lines = ["0-0"] * 6
    lines[line - 1] = bad
    its = aligned(tmp_path, layout, "")
    content = "".join(f"{its}\n" for its in lines).encode("utf-8", "surrogateescape")
    (tmp_path / "links").write_bytes(content)
    for size in (1, 100):
        with pytest.raises(DataError) as caught:
            [chunk.links(chunk.pairs()) for chunk in its.chunks(size)]
        assert str(caught.value).startswith(f"{tmp_path / 'links'}:{line}: ")


# Sides


@pytest.mark.parametrize("layout", ["plain", "tsv", "named tsv", "jsonl"])
def test_sides_equal_pairs(tmp_path: Path, layout: Layout) -> None:
    parts = [write(tmp_path, as_bytes(layout, TWO), name) for name in "ab"]
    src, tgt = source(layout, *parts).sides()
    assert list(src) == [f"{pair[0]}\n".encode() for pair in TWO * 2]
    assert list(tgt) == [f"{pair[1]}\n".encode() for pair in TWO * 2]


def test_sides_may_have_unequal_lengths(tmp_path: Path) -> None:
    src, tgt = source("plain", write(tmp_path, [b"a\nb\n", b"c\n\xff\nd"])).sides()
    assert list(src) == [b"a\n", b"b\n"]
    assert list(tgt) == [b"c\n", b"\xff\n", b"d"]


# A validation set split off


def split_sources(tmp_path: Path) -> list[TextSetReader]:
    plain = [(f"s{i}", f"t{i % 25}") for i in range(30)]  # five targets occur twice
    table = [("s0" if i == 3 else f"u{i}", "" if i == 4 else f"v{i}") for i in range(20)]
    return [
        source(
            "plain",
            *(
                write(tmp_path, as_bytes("plain", its), n)
                for its, n in ((plain[:17], "a"), (plain[17:], "b"))
            ),
        ),
        source("named tsv", write(tmp_path, as_bytes("named tsv", table), "c")),
    ]


@pytest.mark.parametrize("size", [1, 10, 38])
def test_hold_out_pairs_partitions_all_layouts(tmp_path: Path, size: int) -> None:
    sources = split_sources(tmp_path)
    splits = hold_out_pairs(sources, size, seed=4)
    held, kept = (
        [
            (chunk.location(i), pair)
            for split in splits
            for chunk in split.chunks(out)
            for i, pair in enumerate(chunk.pairs())
        ]
        for out in (True, False)
    )
    whole = [
        (chunk.location(i), pair)
        for its in sources
        for chunk in its.chunks()
        for i, pair in enumerate(chunk.pairs())
    ]
    assert len(held) == size
    assert [each for each in whole if each in set(kept)] == kept
    assert [each for each in whole if each in set(held)] == held
    assert sorted([*held, *kept]) == sorted(whole)
    for side in (0, 1):
        assert not {pair[side] for _, pair in held} & {pair[side] for _, pair in kept}
    assert all(text for _, pair in held for text in pair)
