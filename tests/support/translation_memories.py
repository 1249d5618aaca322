"""Write TMX files, and read them as pairs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from xml.sax.saxutils import escape

import pytest

from nmt.data.corpus.text_set_reader import Form, TextSetReader
from nmt.data.text.reader import Pair
from nmt.data.translation_memory.unit_extraction import ExtractingReader
from nmt.errors import DataError

HEADER = '<?xml version="1.0" encoding="UTF-8"?>\n<tmx version="1.4">\n<header/>\n<body>\n'


def variant(code: str, segment: str, attributes: str = "") -> str:
    """Return a tuv with a segment in XML."""
    return f'<tuv xml:lang="{code}"{attributes}><seg>{segment}</seg></tuv>'


def unit(*variants: str, attributes: str = "") -> str:
    return f"<tu{attributes}>\n  {'  '.join(variants)}\n</tu>\n"


def tmx(*units: str) -> str:
    """Return a TMX document."""
    return f"{HEADER}{''.join(units)}</body>\n</tmx>\n"


def tmx_of_pairs(pairs: Iterable[Pair], src: str = "en", tgt: str = "de") -> str:
    """Return a TMX document with one unit per pair."""
    return tmx(*(unit(variant(src, escape(a)), variant(tgt, escape(b))) for a, b in pairs))


def write(folder: Path, content: str | bytes, name: str = "memory.tmx") -> Path:
    file = folder / name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def read(
    file: Path, src: str = "en", tgt: str = "de", since: str | None = None, form: Form = "tmx"
) -> list[Pair]:
    return list(TextSetReader([(file,)], form, (src, tgt), since).pairs())


def outcome(file: Path, size: int, extracts: bool, form: Form = "tmx") -> object:
    """Return the lines and pairs of a file in blocks of `size` bytes, or the error.

    `extracts` is False to parse the whole file by the XML parser.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nmt.data.translation_memory.xml_segments.BLOCK_BYTES", size)
        if not extracts:
            patch.setattr(ExtractingReader, "_may_extract", lambda reader: False)
        try:
            chunks = list(TextSetReader([(file,)], form, ("en", "de")).chunks())
            return [(chunk.numbers, chunk.pairs()) for chunk in chunks]
        except DataError as error:
            return str(error)
