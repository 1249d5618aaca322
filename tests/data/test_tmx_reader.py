"""TMX files: segments, languages, dates, and files that are damaged or hostile."""

from __future__ import annotations

import gzip
import re
import tracemalloc
from pathlib import Path
from xml.sax.saxutils import escape

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nmt.data.corpus.text_set_reader import TextSetReader
from nmt.data.translation_memory.xml_segments import BLOCK_BYTES
from nmt.errors import DataError
from tests.support.translation_memories import (
    HEADER,
    outcome,
    read,
    tmx,
    tmx_of_pairs,
    unit,
    variant,
    write,
)

HELLO = unit(variant("en", "hello"), variant("de", "hallo"))
XML_TEXT = st.text(
    st.one_of(
        st.sampled_from("<>&\"'] !-?\t"),
        st.characters(
            exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff", min_codepoint=32
        ),
    ),
    max_size=12,
)


def read_error(file: Path, **options: str) -> str:
    with pytest.raises(DataError) as caught:
        read(file, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value).replace(str(file), "FILE")


def segment_error(folder: Path, segment: str) -> str:
    return read_error(write(folder, tmx(unit(variant("en", segment), variant("de", "x")))))


# Segments


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(XML_TEXT, XML_TEXT), min_size=1, max_size=6))
def test_tmx_reader_any_text_returns_pairs(tmp_path: Path, pairs: list[tuple[str, str]]) -> None:
    assert read(write(tmp_path, tmx_of_pairs(pairs))) == pairs


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.one_of(
            st.sampled_from(
                [
                    HELLO,
                    HELLO.replace("\n", "\r\n"),
                    unit(variant("de", "b &amp; c"), variant("en", "a &#233;\n&lt;")),
                    unit(variant("en", "one"), variant("en-GB", "two"), variant("de", "drei")),
                    unit(variant("fr", "un"), variant("de", "eins")),
                    unit(variant("en", "a<ph>\\b</ph>c"), variant("de", "<hi>d</hi>")),
                    unit(variant("en", "<hi>a<ph>b</ph></hi>"), variant("de", '<ph x=""/>c')),
                    "<tu><note>x</note><tuv xml:lang='en'><seg/></tuv></tu>",
                    '<tu a="/>"/>\n \n',
                    "stray text ? ! /> </",
                ]
            ),
            st.sampled_from(
                ["<!-- <seg>", "-->", "<![CDATA[", "]]>", "<?pi ", "?>", "</tu>", "<tu>", "&nbsp;"]
            ),
        ),
        max_size=8,
    ),
    st.sampled_from([7, 64, 1000]),
)
def test_tmx_reader_extraction_changes_no_result(
    tmp_path: Path, units: list[str], size: int
) -> None:
    """Units that are taken out of blocks give the pairs and line numbers of the XML parser."""
    file = write(tmp_path, tmx(*units))
    assert outcome(file, size, extracts=True) == outcome(file, size, extracts=False)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.one_of(
            st.sampled_from(["<hi>", "</hi>", '<ph x="1"/>', "<ut>", "</ut>", "&lt;b ", "a>\n"]),
            st.sampled_from(['<bpt i="1"\n>{<hi/>', "</bpt >", '<hi x="a>b/" y="">', "<hi />c"]),
            st.sampled_from(
                ["<hi>d</hi>", "<ph>e</ph>", "<it>f<ut/></it>", "<phx>g</phx>", "</x>"]
            ),
            st.sampled_from(["<ut>&nbsp;</ut>", "& ", "<!-- -->", "a]]>", "<i>&#65;</i>"]),
            st.sampled_from(["<seg>", "<tuv/>", "<tu >", "<segx/>", "<x", "<x1/>", "<x a='>'/>"]),
        ),
        max_size=5,
    ).map("".join)
)
def test_tmx_reader_extraction_of_inline_tags_is_exact(tmp_path: Path, segment: str) -> None:
    file = write(tmp_path, tmx(HELLO, unit(variant("en", segment), variant("de", "x")), HELLO))
    assert outcome(file, BLOCK_BYTES, extracts=True) == outcome(file, BLOCK_BYTES, extracts=False)


def test_tmx_reader_units_in_comment_have_no_language(tmp_path: Path) -> None:
    message = "FILE: expected segments in en and de, got no language"
    assert read_error(write(tmp_path, tmx(f"<!-- {HELLO} -->"))) == message


def test_tmx_reader_removes_codes_and_unwraps_other_tags(tmp_path: Path) -> None:
    segment = 'a<bpt i="1">&lt;b&gt;<sub>x</sub></bpt><hi>b &amp; </hi>c<ept i="1">/b</ept><ph/>d'
    segment += "<it pos='end'>e</it><ut>{\\f1}</ut><other>f</other>"
    file = write(tmp_path, tmx(unit(variant("en", segment), variant("de", "g"))))
    assert read(file) == [("ab & cdf", "g")]


def test_tmx_reader_line_breaks_become_one_space(tmp_path: Path) -> None:
    segments = variant("en", "\n    two\n\n    lines\n  "), variant("de", " a \r\n b&#13;c\td ")
    assert read(write(tmp_path, tmx(unit(*segments)))) == [("two lines", "a b c\td")]


def test_tmx_reader_spaces_without_line_break_are_kept(tmp_path: Path) -> None:
    file = write(tmp_path, tmx_of_pairs([("  a  b ", ""), ("", " ")]))
    assert read(file) == [("  a  b ", ""), ("", " ")]


def test_tmx_reader_comments_and_cdata_are_understood(tmp_path: Path) -> None:
    hidden = f"<!-- {HELLO} -->"
    cdata = unit(variant("en", "<![CDATA[<seg>&amp;</seg></tu>]]>"), variant("de", "<!-- x -->y"))
    file = write(tmp_path, tmx(HELLO, hidden, cdata, HELLO))
    assert read(file) == [("hello", "hallo"), ("<seg>&amp;</seg></tu>", "y"), ("hello", "hallo")]


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_tmx_reader_chunks_have_line_numbers_of_units(tmp_path: Path, size: int) -> None:
    plain = "".join(unit(variant("en", f"{i}"), variant("de", f"{i}")) for i in range(2000))
    marked = unit(variant("en", "<hi>a</hi>"), variant("de", "b"))
    file = write(tmp_path, tmx(plain, marked, plain))
    lines = file.read_text().split("\n")
    chunks = list(TextSetReader([(file,)], "tmx", ("en", "de")).chunks(size))
    numbers = [number for chunk in chunks for number in chunk.numbers]
    assert numbers == [i for i, line in enumerate(lines, 1) if line.startswith("<tu>")]
    assert {len(chunk) for chunk in chunks[:-1]} <= {size}
    assert chunks[0].location(0) == f"{file}:5"


def test_chunk_select_of_memory_returns_chosen_pairs(tmp_path: Path) -> None:
    file = write(tmp_path, tmx_of_pairs([(str(i), str(-i)) for i in range(5)]))
    chunk = next(TextSetReader([(file,)], "tmx", ("en", "de")).chunks())
    assert chunk.select([3, 1]).pairs() == [("1", "-1"), ("3", "-3")]
    assert list(chunk.select([1]).numbers) == [chunk.numbers[1]]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_tmx_reader_encodings_are_decoded(tmp_path: Path, encoding: str) -> None:
    content = tmx_of_pairs([("é<", "ü")]).replace("UTF-8", encoding.removesuffix("-sig"))
    assert read(write(tmp_path, content.encode(encoding))) == [("é<", "ü")]


def test_tmx_reader_compressed_file_is_read(tmp_path: Path) -> None:
    content = gzip.compress(tmx(HELLO).encode())
    assert read(write(tmp_path, content, "memory.tmx.gz")) == [("hello", "hallo")]
    message = read_error(write(tmp_path, content[:-20], "memory.tmx.gz"))
    assert message.startswith("FILE: expected a complete .gz file, got a damaged one")


# Languages


@pytest.mark.parametrize(
    ("codes", "segments"),
    [
        (("en-GB", "de-DE"), ("0", "1")),
        (("DE_de", "EN"), ("1", "0")),
        (("fr", "en-GB", "de", "en"), ("3", "2")),
        (("en-US", "en-GB", "de-AT", "de-CH"), ("0", "2")),
        (("en", "en", "de"), ("0", "2")),
        (("en-US", "en", "en", "de-DE", "de"), ("1", "4")),
    ],
)
def test_tmx_reader_chooses_exact_or_first_variant(
    tmp_path: Path, codes: tuple[str, ...], segments: tuple[str, str]
) -> None:
    variants = [variant(code, str(i)) for i, code in enumerate(codes)]
    assert read(write(tmp_path, tmx(unit(*variants)))) == [segments]


def test_tmx_reader_region_and_language_are_two_sides(tmp_path: Path) -> None:
    file = write(tmp_path, tmx(unit(variant("en-GB", "colour"), variant("en-US", "color"))))
    assert read(file, "en-GB", "en") == [("colour", "color")]
    assert read(file, "en", "en-gb") == [("color", "colour")]


def test_tmx_reader_old_attribute_lang_is_accepted(tmp_path: Path) -> None:
    assert read(write(tmp_path, tmx(HELLO.replace("xml:lang", "lang")))) == [("hello", "hallo")]


def test_tmx_reader_skips_units_without_a_side(tmp_path: Path) -> None:
    units = [unit(variant("en", "a")), unit(variant("de", "b")), HELLO, unit()]
    assert read(write(tmp_path, tmx(*units))) == [("hello", "hallo")]


@pytest.mark.parametrize(
    ("tgt", "message"),
    [
        ("fr", "FILE: expected segments in fr, got de, en"),
        ("e", "FILE: expected segments in e, got de, en"),
        ("de-AT", "FILE: expected segments in de-AT, got de, en"),
    ],
)
def test_tmx_reader_unknown_language_lists_those_of_file(
    tmp_path: Path, tgt: str, message: str
) -> None:
    assert read_error(write(tmp_path, tmx(HELLO)), tgt=tgt) == message


def test_tmx_reader_empty_memory_reports_languages(tmp_path: Path) -> None:
    message = "FILE: expected segments in en and de, got no language"
    assert read_error(write(tmp_path, tmx())) == message


def test_tmx_reader_variant_without_language_is_refused(tmp_path: Path) -> None:
    content = tmx(HELLO, unit(variant("en", "a"), "<tuv><seg>b</seg></tuv>"))
    assert read_error(write(tmp_path, content)) == "FILE:9: expected xml:lang in <tuv>, got none"


# Dates


def test_tmx_reader_since_keeps_recently_changed_units(tmp_path: Path) -> None:
    def dated(name: str, unit_dates: str, variant_dates: str = "") -> str:
        return unit(variant("en", name, variant_dates), variant("de", name), attributes=unit_dates)

    old, new = "20191231T235959Z", "20200101T000000Z"
    units = [
        dated("new", f' creationdate="{new}"'),
        dated("old", f' creationdate="{old}"'),
        dated("changed", f' creationdate="{old}" changedate="{new}"'),
        dated("variant", "", f' changedate="{new}"'),
        dated("none", ""),
    ]
    file = write(tmp_path, tmx(*units))
    assert [src for src, _ in read(file, since="2020-01-01")] == ["new", "changed", "variant"]
    assert len(read(file)) == 5
    assert read(file, since="2020-01-02") == []


def test_tmx_reader_invalid_date_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path, tmx(HELLO.replace("<tu>", '<tu creationdate="2020-01-01">')))
    message = "FILE:5: expected creationdate as YYYYMMDDThhmmssZ, got '2020-01-01'"
    assert read_error(file, since="2020-01-01") == message
    assert read(file) == [("hello", "hallo")]


# Damaged and hostile files

BOMB = '<!DOCTYPE tmx [<!ENTITY a "x"><!ENTITY b "&a;&a;">]>\n'
EXTERNAL = '<!DOCTYPE tmx [<!ENTITY a SYSTEM "file:///etc/passwd">]>\n'
PARAMETER = '<!DOCTYPE tmx [<!ENTITY % a SYSTEM "http://localhost/">%a;]>\n'


@pytest.mark.parametrize("declaration", [BOMB, EXTERNAL, PARAMETER])
def test_tmx_reader_entity_declaration_is_refused(tmp_path: Path, declaration: str) -> None:
    content = tmx(HELLO.replace("hello", "&a;")).replace("<tmx", f"{declaration}<tmx")
    message = "FILE:2: expected XML without entity declarations, got 'a'"
    assert read_error(write(tmp_path, content)) == message


def test_tmx_reader_external_dtd_is_not_read(tmp_path: Path) -> None:
    doctype = '<!DOCTYPE tmx SYSTEM "tmx14.dtd">\n'
    assert read(write(tmp_path, tmx(HELLO).replace("<tmx", f"{doctype}<tmx"))) == [
        ("hello", "hallo")
    ]
    content = tmx(HELLO.replace("hello", "&nbsp;")).replace("<tmx", f"{doctype}<tmx")
    message = "FILE:7: expected only entities that XML defines, got &nbsp;"
    assert read_error(write(tmp_path, content)) == message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "FILE:1: expected </tmx> at the end, got the end of the file"),
        ("<html></html>", "FILE:1: expected the root element <tmx>, got <html>"),
        ("plain text", "FILE:1: expected well-formed XML, got syntax error"),
        (f"{HEADER}<tu></body>", "FILE:5: expected well-formed XML, got mismatched tag"),
        (HEADER + HELLO, "FILE:8: expected </tmx> at the end, got the end of the file"),
        (f"{HEADER}{HELLO}<t", "FILE:8: expected </tmx> at the end, got the end of the file"),
        (tmx(HELLO) + "<a/>", "FILE:10: expected well-formed XML, got junk after document element"),
    ],
)
def test_tmx_reader_damaged_file_names_line(tmp_path: Path, content: str, message: str) -> None:
    assert read_error(write(tmp_path, content)) == message


@pytest.mark.parametrize("length", range(0, len(tmx(HELLO)) - 1, 7))
def test_tmx_reader_truncated_file_is_refused(tmp_path: Path, length: int) -> None:
    message = read_error(write(tmp_path, tmx(HELLO)[:length]))
    assert re.fullmatch(r"FILE:\d+: expected .+, got .+", message)


@pytest.mark.parametrize(
    ("segment", "message"),
    [
        ("\x01", "FILE:6: expected well-formed XML, got not well-formed (invalid token)"),
        ("\ufffe", "FILE:6: expected well-formed XML, got not well-formed (invalid token)"),
        ("a ]]>", "FILE:6: expected well-formed XML, got not well-formed (invalid token)"),
        ("a & b", "FILE:6: expected well-formed XML, got not well-formed (invalid token)"),
        ("&nbsp;", "FILE:6: expected well-formed XML, got undefined entity"),
        ("<tu></tu>", "FILE:6: expected only inline tags in <seg>, got <tu>"),
        ("a<seg>b</seg>", "FILE:6: expected only inline tags in <seg>, got <seg>"),
    ],
)
def test_tmx_reader_invalid_segment_is_refused(tmp_path: Path, segment: str, message: str) -> None:
    assert segment_error(tmp_path, segment) == message


def test_tmx_reader_invalid_utf8_is_refused(tmp_path: Path) -> None:
    content = tmx(HELLO).encode().replace(b"hallo", b"h\xfcllo")
    message = "FILE:6: expected well-formed XML, got not well-formed (invalid token)"
    assert read_error(write(tmp_path, content)) == message


@pytest.mark.parametrize("name", ["a", "tu", "tuv", "ph"])
def test_tmx_reader_deep_nesting_is_refused(tmp_path: Path, name: str) -> None:
    tag = '<tuv xml:lang="en">' if name == "tuv" else f"<{name}>"
    for content in (HEADER + tag * 300_000, HEADER.replace("<body>", "") + tag * 2000):
        message = read_error(write(tmp_path, content))
        assert message.endswith("expected at most 1000 nested elements, got more")


def test_tmx_reader_many_empty_elements_are_accepted(tmp_path: Path) -> None:
    file = write(tmp_path, tmx('<prop type="/"/>' * 120_000, HELLO))
    assert read(file) == [("hello", "hallo")]


def test_tmx_reader_huge_attribute_is_refused(tmp_path: Path) -> None:
    content = HEADER + f'<tu tuid="{"x" * 3_000_000}">'
    message = "FILE:5: expected tags of at most 1,048,576 bytes, got a longer one"
    assert read_error(write(tmp_path, content)) == message


def test_tmx_reader_many_names_are_refused(tmp_path: Path) -> None:
    content = HEADER + "".join(f"<a{i}/>" for i in range(20_000))
    message = read_error(write(tmp_path, content))
    assert message.endswith("expected at most 10,000 different names in tags, got more")


def test_tmx_reader_huge_segment_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nmt.data.translation_memory.xml_segments.MAX_LINE_BYTES", 2**18)
    message = segment_error(tmp_path, "x <b/>" * 2**17)
    assert message == "FILE:6: expected segments of at most 262,144 bytes, got a longer one"


def test_tmx_reader_memory_does_not_grow_with_file(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        pairs = [(f"source {i} & more" * 3, f"target {i}" * 3) for i in range(count)]
        file = write(tmp_path, tmx_of_pairs(pairs))
        del pairs
        reader = TextSetReader([(file,)], "tmx", ("en", "de"))
        tracemalloc.start()
        assert sum(len(chunk) for chunk in reader.chunks(1000)) == count
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    assert peak(40_000) < 1.2 * peak(10_000) + BLOCK_BYTES


def test_tmx_reader_escaped_text_of_any_plane_is_kept(tmp_path: Path) -> None:
    text = "".join(map(chr, [0x7F, 0x85, 0xA0, 0x2028, 0xFFFD, 0xFEFF, 0x1F600, 0x10FFFF]))
    assert read(write(tmp_path, tmx_of_pairs([(text, escape(text))]))) == [(text, escape(text))]
