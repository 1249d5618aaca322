"""XLIFF 1.2 and 2.0 files as text sets."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nmt.data.corpus.text_set_reader import TextSetReader
from nmt.data.text.reader import Pair
from nmt.errors import DataError
from tests.support.translation_memories import outcome, read, write

V1 = """\
<?xml version="1.0"?>
<xliff version="1.2" xmlns="urn:oasis:names:tc:xliff:document:1.2">
<file source-language="en-US" target-language="de" datatype="x" original="x"><header/>
<body><group>
<trans-unit id="1"><source>Hello <g id="1">world</g><x id="2"/></source>
<seg-source><mrk mtype="seg">no</mrk></seg-source>
<target>Hallo <bpt id="1">&lt;b&gt;</bpt><mrk mtype="term">Welt</mrk></target>
<alt-trans><source>no</source><target>nein</target></alt-trans></trans-unit>
<trans-unit id="2"><source>untranslated</source></trans-unit>
<trans-unit id="3"><source>empty</source><target/></trans-unit>
<trans-unit id="4"><source>a &amp; b</source><target xml:lang="de-AT">c
 d</target></trans-unit>
</group></body></file></xliff>
"""
V2 = """\
<xliff version="2.0" srcLang="en" trgLang="de" xmlns="urn:oasis:names:tc:xliff:document:2.0">
<file id="f"><unit id="u">
<mtc:matches><mtc:match><source>no</source><target>nein</target></mtc:match></mtc:matches>
<segment state="final"><source>Hello <pc id="1">world</pc><ph id="2"/></source>
<target>Hallo <mrk id="m">Welt</mrk></target></segment>
<ignorable><source> </source><target> </target></ignorable>
<segment><source>untranslated</source></segment>
<segment><source>two</source><target>zwei</target></segment>
</unit></file></xliff>
"""


@pytest.mark.parametrize(
    ("content", "pairs"),
    [
        (V1, [("Hello world", "Hallo Welt"), ("a & b", "c d")]),
        (V2, [("Hello world", "Hallo Welt"), ("two", "zwei")]),
    ],
)
def test_xliff_reader_returns_translated_pairs(
    tmp_path: Path, content: str, pairs: list[Pair]
) -> None:
    file = write(tmp_path, content, "a.xlf")
    assert read(file, form="xliff") == pairs
    assert read(file, "de", "en", form="xliff") == [(tgt, src) for src, tgt in pairs]


PARTS = [
    "<source>a &lt;b</source>\n<target>c</target>\n",
    '<source>a<g id="1">b</g></source><target state="x"><x id="2"/>d</target>',
    "<source>a</source><target></target>",
    "<source>a</source><target><x/></target>",
    "<source xml:lang='en'>a</source><target xml:lang=\"de\">b</target>",
    "<source>a</source><note>x</note><target>b</target>",
    "<source>a<source>b</source></source><target>c</target>",
    "<source>a</source>",
]


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.booleans(),
    st.lists(st.sampled_from([*PARTS, *PARTS[:2], "<!-- -->", "&nbsp;", "<file>"]), max_size=6),
    st.sampled_from([("en", "de"), ("de-AT", "en"), ("en", "fr"), ("en-GB", "en")]),
    st.sampled_from([7, 100, 2**16]),
)
def test_xliff_reader_extraction_changes_no_result(
    tmp_path: Path, is_v2: bool, parts: list[str], codes: tuple[str, str], size: int
) -> None:
    """Units that are taken out of blocks give the pairs and line numbers of the XML parser."""
    name = "segment" if is_v2 else "trans-unit"
    head = '<xliff version="2.0" srcLang="{}" trgLang="{}">\n<file>\n'
    if not is_v2:
        head = '<xliff version="1.2">\n<file source-language="{}" target-language="{}">\n'
    units = (f"<{name} id='1'>{part}</{name}>\n" * 2 for part in parts)
    units = (unit.replace("'1'", '"1"') for unit in units)
    file = write(tmp_path, f"{head.format(*codes)}{''.join(units)}</file></xliff>\n", "a.xlf")
    expected = outcome(file, size, extracts=False, form="xliff")
    assert outcome(file, size, extracts=True, form="xliff") == expected


def test_xliff_reader_unit_in_text_is_refused(tmp_path: Path) -> None:
    unit = "<trans-unit><source>a</source><target>b</target></trans-unit>"
    content = V1.replace("Hello", unit)
    with pytest.raises(DataError, match=":5: expected only inline tags in a text, got <trans-unit"):
        read(write(tmp_path, content, "a.xlf"), form="xliff")


def test_xliff_reader_chunks_have_line_numbers(tmp_path: Path) -> None:
    file = write(tmp_path, V1, "a.xlf")
    [chunk] = TextSetReader([(file,)], "xliff", ("en", "de")).chunks()
    assert list(chunk.numbers) == [5, 11]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("de", "fr", "FILE: expected segments in de, got en-US, fr"),
        ("xliff", "tmx", "FILE:2: expected the root element <xliff>, got <tmx>"),
        (
            ' source-language="en-US"',
            "",
            "FILE:5: expected a source language in <file> or <xliff>, got none",
        ),
        (
            ' target-language="de"',
            "",
            "FILE:7: expected a target language in <file>, <xliff> or <target>, got none",
        ),
        ("</xliff>", "", "FILE:14: expected </xliff> at the end, got the end of the file"),
        ("<header/>", "<a>" * 1001, "FILE:3: expected at most 1000 nested elements, got more"),
    ],
)
def test_xliff_reader_invalid_file_names_line(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    file = write(tmp_path, V1.replace('"de-AT"', '"de"').replace(old, new), "a.xlf")
    with pytest.raises(DataError) as caught:
        read(file, form="xliff")
    assert str(caught.value).replace(str(file), "FILE") == message
