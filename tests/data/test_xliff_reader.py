"""XLIFF 1.2 and 2.0 files as text sets."""

from __future__ import annotations

from pathlib import Path

import pytest

from nmt.data.corpus.text_set_reader import TextSetReader
from nmt.data.text.reader import Pair
from nmt.errors import DataError
from tests.support.translation_memories import read, write

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
