"""`nmt data convert`: all directions, nothing lost, nothing half-written."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nmt.data.corpus.text_set_reader import TextSetReader
from nmt.data.text.reader import Pair, read_pairs
from tests.support.command_line import Result, assert_success, nmt
from tests.support.translation_memories import read, tmx, tmx_of_pairs, unit, variant, write

CODES = ("--src", "en", "--tgt", "de")
PAIRS = [("a & <b>", "\"c\" 'd'"), ("", "]]>"), (" two  spaces ", "ü\u2028🎉"), ("&amp;", "\\")]
FORMS = ("memory.tmx", "table.tsv", "lines.jsonl", "plain")


def convert(source: Path, target: Path, *flags: object) -> Result:
    return nmt("data", "convert", source, target, *CODES, *flags)


def read_any(path: Path) -> list[Pair]:
    if path.suffix == ".tmx":
        return read(path)
    if path.suffix == ".tsv":
        return list(TextSetReader([(path,)], "tsv", ("en", "de")).pairs())
    if path.suffix == ".jsonl":
        records = [json.loads(line) for line in path.read_text().split("\n")[:-1]]
        return [(record["en"], record["de"]) for record in records]
    return list(read_pairs(Path(f"{path}.en"), Path(f"{path}.de")))


def in_every_form(folder: Path, pairs: Sequence[Pair]) -> None:
    """Write the pairs in each of FORMS."""
    memory = write(folder, tmx_of_pairs(pairs))
    for name in FORMS[1:]:
        assert_success(convert(memory, folder / name))


@pytest.mark.parametrize("target", FORMS)
@pytest.mark.parametrize("source", FORMS)
def test_convert_any_direction_keeps_pairs(tmp_path: Path, source: str, target: str) -> None:
    in_every_form(tmp_path, PAIRS)
    output = tmp_path / "new" / target
    result = assert_success(convert(tmp_path / source, output))
    assert read_any(output) == PAIRS
    assert result.err.startswith(f"4 pairs written: {output}")
    assert "changed" not in result.err


TEXT = st.text(
    st.one_of(
        st.sampled_from("<>&\"']! \t\n\r\x00\x0b\ufffe"), st.characters(exclude_categories=["Cs"])
    )
)


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=4))
def test_convert_round_trip_keeps_table(tmp_path: Path, pairs: list[Pair]) -> None:
    """From the second file on, no conversion between TSV and TMX changes a text."""
    lines = [json.dumps({"en": src, "de": tgt}) for src, tgt in pairs]
    first = write(tmp_path, "".join(f"{line}\n" for line in lines), "first.jsonl")
    assert_success(convert(first, tmp_path / "first.tmx"))
    assert_success(convert(tmp_path / "first.tmx", tmp_path / "a.tsv"))
    assert_success(convert(tmp_path / "a.tsv", tmp_path / "second.tmx"))
    assert_success(convert(tmp_path / "second.tmx", tmp_path / "b.tsv"))
    assert (tmp_path / "a.tsv").read_bytes() == (tmp_path / "b.tsv").read_bytes()
    assert (tmp_path / "a.tsv").read_bytes().count(b"\n") == 1 + len(pairs)


def test_convert_replaces_line_breaks_and_tabs_and_counts(tmp_path: Path) -> None:
    pairs = [("a\nb", "c"), ("d", "e\tf"), ("g", "h")]
    memory = write(tmp_path, tmx_of_pairs(pairs))
    result = assert_success(convert(memory, tmp_path / "a.tsv"))
    assert read_any(tmp_path / "a.tsv") == [("a b", "c"), ("d", "e f"), ("g", "h")]
    assert "2 pairs changed: line breaks and tabs became spaces" in result.err
    result = assert_success(convert(memory, tmp_path / "a"))
    assert read_any(tmp_path / "a") == [("a b", "c"), ("d", "e\tf"), ("g", "h")]
    assert "1 pairs changed: line breaks became spaces" in result.err
    result = assert_success(convert(memory, tmp_path / "a.jsonl"))
    assert read_any(tmp_path / "a.jsonl") == pairs
    assert "changed" not in result.err


def test_convert_characters_invalid_in_xml_are_counted(tmp_path: Path) -> None:
    lines = write(tmp_path, '{"en": "a\\u0001", "de": "b\\r\\nc"}\n', "a.jsonl")
    result = assert_success(convert(lines, tmp_path / "a.tmx"))
    assert "1 pairs changed: characters that XML cannot contain became U+FFFD" in result.err
    assert_success(convert(tmp_path / "a.tmx", tmp_path / "b.jsonl"))
    assert read_any(tmp_path / "b.jsonl") == [("a\ufffd", "b\r\nc")]


def test_convert_reads_compressed_files_and_columns(tmp_path: Path) -> None:
    table = write(tmp_path, gzip.compress(b"1\tb\ta\n2\td\tc\n"), "a.tsv.gz")
    assert_success(convert(table, tmp_path / "a.tmx", "--columns", 3, 2))
    assert read(tmp_path / "a.tmx") == [("a", "b"), ("c", "d")]
    for code, text in (("en", b"x\n"), ("de", b"y\n")):
        write(tmp_path, gzip.compress(text), f"plain.{code}.gz")
    assert_success(convert(tmp_path / "plain", tmp_path / "b.tmx"))
    assert read(tmp_path / "b.tmx") == [("x", "y")]


def test_convert_reads_xliff(tmp_path: Path) -> None:
    unit_ = "<segment><source>a</source><target>b</target></segment>"
    content = f'<xliff version="2.0" srcLang="en" trgLang="de">{unit_}</xliff>'
    assert_success(convert(write(tmp_path, content, "a.xlf"), tmp_path / "a.tsv"))
    assert (tmp_path / "a.tsv").read_text() == "en\tde\na\tb\n"


def test_convert_since_keeps_recently_changed_units(tmp_path: Path) -> None:
    units = [
        unit(variant("en", day), variant("de", day), attributes=f' creationdate="{day}T000000Z"')
        for day in ("20200130", "20200131")
    ]
    memory = write(tmp_path, tmx(*units))
    assert_success(convert(memory, tmp_path / "new.tmx", "--since", "2020-01-31"))
    assert read(tmp_path / "new.tmx") == [("20200131", "20200131")]


@pytest.mark.parametrize("target", FORMS)
def test_convert_truncated_memory_writes_nothing(tmp_path: Path, target: str) -> None:
    hello = unit(variant("en", "hello"), variant("de", "hallo"))
    memory = write(tmp_path, tmx(hello * 20_000).removesuffix("</tmx>\n"))
    result = convert(memory, tmp_path / "out" / target)
    message = f"error: {memory}:60006: expected </tmx> at the end, got the end of the file\n"
    assert (result.code, result.err) == (2, message)
    assert not any((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["a.tmx", "b.xlf", *CODES],
            "OUT: expected a .tmx, .tsv or .jsonl file, or a prefix, got 'b.xlf'",
        ),
        (
            ["a.tmx", "b.tsv.gz", *CODES],
            "OUT: expected a .tmx, .tsv or .jsonl file, or a prefix, got 'b.tsv.gz'",
        ),
        (["a.tmx", "b", "--src", "x/y", "--tgt", "de"], "--src: expected a language code, got 'x/"),
        (
            ["a.tmx", "b", "--src", "en", "--tgt", "EN"],
            "--tgt: expected a code different from --src, got 'en' for both",
        ),
        (["a.tmx", "b", *CODES], "a.tmx: no such file"),
        (["a.tmx", "a.tmx", *CODES], "a.tmx: expected a file of its own, got that of a.tmx"),
        (
            ["a.jsonl", "b", *CODES, "--columns", "1", "2"],
            "--columns: expected a .tsv file as IN, got a.jsonl",
        ),
        (
            ["a.tsv", "b", *CODES, "--columns", "0", "2"],
            "--columns: expected numbers from 1, got 0",
        ),
        (
            ["a.tsv", "b", *CODES, "--since", "2020-01-31"],
            "--since: expected a .tmx file as IN, got a.tsv",
        ),
        (
            ["a.tmx", "b", *CODES, "--since", "31.1.2020"],
            "--since: expected a day as YYYY-MM-DD, got '31.1.2020'",
        ),
    ],
)
def test_convert_invalid_arguments_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = nmt("data", "convert", *arguments)
    assert result.code == 2
    assert result.err.startswith(f"error: {message}")
    assert not any(tmp_path.iterdir())
