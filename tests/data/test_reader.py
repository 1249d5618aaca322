"""Reading lines: only LF ends a line, and both sides have the same number of lines."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from nmt.data.text import reader
from nmt.data.text.reader import (
    count_lines,
    decode_lines,
    read_byte_range,
    read_lines,
    read_pairs,
    split_into_byte_ranges,
)
from nmt.errors import DataError
from tests.support.paths import CORPORA

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".bz2": bz2.compress,
    ".zst": zstandard.compress,
}


def needs_corpus(name: str) -> pytest.MarkDecorator:
    """Skip a test if a shared corpus is absent."""
    exists = (CORPORA / name).is_dir()
    return pytest.mark.skipif(not exists, reason=f"../shared/corpora/{name} is not here")


def write(path: Path, content: bytes) -> Path:
    """Write a file and return its path."""
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"", []),
        (b"\n", [""]),
        (b"a", ["a"]),
        (b"a\n", ["a"]),
        (b"a\n\n", ["a", ""]),
        (b"a\nb", ["a", "b"]),
        (b"a\r\nb\r\n", ["a", "b"]),
        (b"a\r", ["a"]),
        (b"a\r\r\n", ["a\r"]),
        (b"a\r\r\r\n", ["a\r\r"]),
        (b"a\rb\n", ["a\rb"]),
        (b"\r\n", [""]),
        (b" a \t\n", [" a \t"]),
        (b"\xef\xbb\xbfa\n\xef\xbb\xbfb\n", ["a", "\ufeffb"]),
        (b"\xef\xbb\xbf\xef\xbb\xbfa\n", ["\ufeffa"]),
        (b"a\xef\xbb\xbf\n", ["a\ufeff"]),
        (b"\xef\xbb\xbf", [""]),
    ],
)
def test_read_lines_splits_at_line_feeds(tmp_path: Path, content: bytes, lines: list[str]) -> None:
    assert list(read_lines(write(tmp_path / "a", content))) == lines


OTHER_SEPARATORS = "\v\f\x1c\x1d\x1e\x85\u2028\u2029"


@pytest.mark.parametrize("separator", OTHER_SEPARATORS, ids=lambda c: f"U+{ord(c):04X}")
def test_read_lines_ignores_other_separators(tmp_path: Path, separator: str) -> None:
    assert len(f"a{separator}b".splitlines()) == 2
    lines = [f"a{separator}b{separator}", separator]
    file = write(tmp_path / "a", "".join(f"{line}\n" for line in lines).encode())
    assert list(read_lines(file)) == lines


@given(
    st.lists(
        st.text(st.characters(exclude_characters="\n\r", exclude_categories=["Cs"]), max_size=8)
    )
)
@settings(max_examples=50, derandomize=True, deadline=None)
def test_decode_lines_inverts_writing(lines: list[str]) -> None:
    stream = [f"{line}\n".encode() for line in lines]
    if lines and lines[0].startswith("\ufeff"):
        lines = [lines[0][1:], *lines[1:]]
    assert list(decode_lines(stream, "stream")) == lines


@pytest.mark.parametrize("ending", COMPRESS)
def test_read_lines_compressed_equals_plain(tmp_path: Path, ending: str) -> None:
    content = "\ufeffé\u2028x\r\n\n".encode() + b"no final newline"
    plain = write(tmp_path / "plain", content)
    packed = write(tmp_path / f"packed{ending}", COMPRESS[ending](content))
    lines = list(read_lines(plain))
    assert lines == ["é\u2028x", "", "no final newline"]
    assert list(read_lines(packed)) == lines


@pytest.mark.parametrize("ending", COMPRESS)
@pytest.mark.parametrize("damage", ["not compressed", "truncated", "garbled"])
def test_read_lines_damaged_archive_is_an_error(tmp_path: Path, ending: str, damage: str) -> None:
    packed = COMPRESS[ending](b"".join(b"line %d\n" % (n * n) for n in range(5000)))
    middle = len(packed) // 2
    content = {
        "not compressed": b"plain text\n",
        "truncated": packed[:middle],
        "garbled": packed[:middle] + bytes(byte ^ 255 for byte in packed[middle:]),
    }[damage]
    file = write(tmp_path / f"a{ending}", content)
    with pytest.raises(DataError) as caught:
        list(read_lines(file))
    assert str(caught.value).startswith(f"{file}:")
    if damage != "garbled":  # .xz is verified only at its end, after invalid lines
        assert f"expected a complete {ending} file" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"fine\nbad \xff\n", "2: expected UTF-8, got 0xff as byte 5 of the line"),
        (b"\xc3\n", "1: expected UTF-8, got 0xc3 as byte 1 of the line"),
        ("é".encode() + b"\xed\xa0\x80", "1: expected UTF-8, got 0xed as byte 3 of the line"),
        ("caf\u00e9".encode("latin-1"), "1: expected UTF-8, got 0xe9 as byte 4 of the line"),
    ],
    ids=["stray byte", "truncated character", "surrogate", "latin-1"],
)
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_read_lines_invalid_utf8_reports_line_and_byte(
    tmp_path: Path, content: bytes, problem: str, ending: str
) -> None:
    content = gzip.compress(content) if ending else content
    file = write(tmp_path / f"a{ending}", content)
    with pytest.raises(DataError) as caught:
        list(read_lines(file))
    assert str(caught.value) == f"{file}:{problem}"


def test_decode_lines_can_replace_invalid_utf8() -> None:
    assert list(decode_lines([b"a\xffb\n", b"c\n"], "stdin", errors="replace")) == ["a\ufffdb", "c"]


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_read_lines_missing_file_or_folder_is_an_error(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a{ending}"
    with pytest.raises(DataError, match="no such file"):
        list(read_lines(path))
    path.mkdir()
    with pytest.raises(DataError, match="expected a file, got a folder"):
        list(read_lines(path))


def test_read_pairs_pairs_lines_by_number(tmp_path: Path) -> None:
    src, tgt = write(tmp_path / "s", b"a\n\nc\n"), write(tmp_path / "t", b"1\n2\n3")
    assert list(read_pairs(src, tgt)) == [("a", "1"), ("", "2"), ("c", "3")]


@pytest.mark.parametrize(("src_lines", "tgt_lines"), [(3, 2), (2, 3), (0, 4), (4, 0), (1, 5)])
def test_read_pairs_unequal_sides_report_both_counts(
    tmp_path: Path, src_lines: int, tgt_lines: int
) -> None:
    src, tgt = write(tmp_path / "s", b"a\n" * src_lines), write(tmp_path / "t", b"b\n" * tgt_lines)
    with pytest.raises(DataError) as caught:
        list(read_pairs(src, tgt))
    assert f"got {src_lines} in {src} and {tgt_lines} in {tgt}" in str(caught.value)


def test_read_pairs_empty_files_have_no_pairs(tmp_path: Path) -> None:
    empty = write(tmp_path / "a", b"")
    assert list(read_pairs(empty, empty)) == []


@needs_corpus("newstest-ende")
def test_read_pairs_next_line_characters_do_not_split() -> None:
    folder = CORPORA / "newstest-ende"
    pairs = list(read_pairs(folder / "train.en", folder / "train.de"))
    assert len(pairs) == 27_748
    assert sum("\x85" in tgt for _, tgt in pairs) == 8


@needs_corpus("oddities")
def test_read_lines_real_oddities_are_unchanged() -> None:
    for name in ("odd.src", "odd.tgt"):
        file = CORPORA / "oddities" / name
        raw = file.read_bytes().removesuffix(b"\n").split(b"\n")
        lines = [line.encode() for line in read_lines(file)]
        assert len(lines) == 400
        assert lines == [line.removesuffix(b"\r") for line in raw]


@pytest.mark.parametrize("content", [b"", b"a", b"a\n", b"\n\n\n", b"one\ntwo\n" * 99, b"x" * 500])
@pytest.mark.parametrize("last_line", [b"", b"the last line"])
def test_byte_ranges_contain_every_line_once_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, last_line: bytes
) -> None:
    monkeypatch.setattr(reader, "MIN_RANGE_BYTES", 7)
    file = write(tmp_path / "text", content + last_line)
    ranges = split_into_byte_ranges(file)
    lines = [line for begin, end in ranges for line in read_byte_range(file, begin, end)]
    assert lines == (content + last_line).splitlines(keepends=True)
    assert b"".join(lines) == content + last_line
    if content.count(b"\n") > 64:
        assert 30 < len(ranges) <= 128


@pytest.mark.parametrize("content", [b"", b"a", b"a\n", b"a\r\nb", b"\n\n\x85\n", b"x\n" * 10**6])
def test_count_lines_agrees_with_read_lines(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "text"
    file.write_bytes(content)
    assert count_lines(file) == content.count(b"\n") + (
        not content.endswith(b"\n") and content != b""
    )
    assert count_lines(None) is None
    assert count_lines(file.with_suffix(".gz")) is None
